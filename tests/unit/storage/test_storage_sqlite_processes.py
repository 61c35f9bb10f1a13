"""Several processes on one file: none loses an update, and a killed one loses nothing that it acknowledged."""

from __future__ import annotations

import asyncio
import signal
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import pytest

from inaho.config import StorageConfig
from inaho.storage import SqliteStorage, StoredState
from inaho.types import ClusterIdentity
from support.programs import command, environment

LIMIT_S = 50


async def start(mode: str, path: Path, number: int) -> Process:
    arguments = command("sqlite_process.py", mode, str(path), str(number))
    return await asyncio.create_subprocess_exec(*arguments, stdout=PIPE, stderr=PIPE, env=environment())


async def finish(process: Process) -> str:
    output, errors = await asyncio.wait_for(process.communicate(), LIMIT_S)
    assert process.returncode == 0, errors.decode()
    return output.decode()


async def test_processes_share_a_counter(tmp_path: Path) -> None:
    path = tmp_path / "made" / "by" / "both.db"  # they also race for making it
    processes = [await start("count", path, 30) for _ in range(3)]
    async with asyncio.timeout(LIMIT_S):
        await asyncio.gather(*(finish(process) for process in processes))
    async with SqliteStorage(path) as storage:
        assert await storage.load(ClusterIdentity("Counter", "shared")) == StoredState(b"90", 90, 1)


@pytest.mark.parametrize("acknowledged", [1, 200, 2000])
async def test_killed_writer_loses_no_acknowledged_save(tmp_path: Path, acknowledged: int) -> None:
    path = tmp_path / "state.db"
    process = await start("write", path, 16)
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), LIMIT_S) == b"open\n"
    lines: list[bytes] = []
    async with asyncio.timeout(LIMIT_S):
        while len(lines) < acknowledged:
            lines.append(await process.stdout.readline())
            assert lines[-1], "it ended by itself"
        process.kill()
        lines += (await process.stdout.read()).splitlines(keepends=True)
        await process.communicate()
    assert process.returncode == -signal.SIGKILL
    versions: dict[str, int] = {}
    for line in lines:
        if line.endswith(b"\n"):  # the kill may have cut the last one short
            key, number = line.decode().split()
            versions[key] = int(number)
    async with SqliteStorage(path) as storage:
        for key, version in versions.items():
            stored = await storage.load(ClusterIdentity("Written", key))
            assert stored is not None
            assert version <= stored.version <= version + 1, "at most the one that was on its way is there too"
            assert stored.data == f"{key}:{stored.version}".encode() * 20, "no half of a save"
            assert await storage.save(
                ClusterIdentity("Written", key), b"successor", expected_version=stored.version, epoch=2
            )


async def test_file_that_cannot_grow_fails_the_save_and_keeps_the_others(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    lines = (await finish(await start("fill", path, 200_000))).splitlines()
    assert lines[0] == "open"
    acknowledged, failure = lines[1:-1], lines[-1]
    assert failure.startswith("failed ")
    assert len(acknowledged) > 5
    async with SqliteStorage(path) as storage:
        for line in acknowledged:
            assert await storage.load(ClusterIdentity("Written", line.split()[0])) == StoredState(bytes(5000), 1, 1)


async def test_many_open_and_close_at_once(tmp_path: Path) -> None:
    path = tmp_path / "state.db"

    async def use(number: int) -> None:
        for turn in range(5):
            async with SqliteStorage(path, config=StorageConfig(busy_timeout_s=25.0)) as storage:
                await storage.save(ClusterIdentity("Used", f"{number}/{turn}"), b"x", expected_version=0, epoch=1)

    async with asyncio.timeout(LIMIT_S):
        await asyncio.gather(*(use(number) for number in range(8)))
    async with SqliteStorage(path) as storage:
        for number in range(8):
            for turn in range(5):
                assert await storage.load(ClusterIdentity("Used", f"{number}/{turn}")) == StoredState(b"x", 1, 1)
