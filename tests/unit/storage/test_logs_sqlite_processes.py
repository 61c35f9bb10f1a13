"""Several processes on the logs of one file: none loses or doubles a record, also when one of them is killed."""

from __future__ import annotations

import asyncio
import signal
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import pytest

from inaho.errors import LogConflict
from inaho.storage import SqliteStorage
from inaho.testing.storage.log_reads import all_of
from support.programs import command, environment

LIMIT_S = 50


async def start(mode: str, path: Path, number: int) -> Process:
    arguments = command("sqlite_log_process.py", mode, str(path), str(number))
    return await asyncio.create_subprocess_exec(*arguments, stdout=PIPE, stderr=PIPE, env=environment())


@pytest.mark.parametrize("acknowledged", [1, 200, 2000])
async def test_killed_keeper_loses_no_acknowledged_append(tmp_path: Path, acknowledged: int) -> None:
    path = tmp_path / "state.db"
    process = await start("append", path, 12)
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
    ends: dict[str, int] = {}
    for line in lines:
        if line.endswith(b"\n"):  # the kill may have cut the last one short
            log, end = line.decode().split()
            ends[log] = int(end)
    async with SqliteStorage(path) as storage:
        for log, acknowledged_end in ends.items():
            end = (await storage.log.open_log(log, epoch=2)).end
            on_its_way = acknowledged_end + 1 + acknowledged_end % 7
            assert end in (acknowledged_end, on_its_way), "at most the append that was on its way is there too"
            found = await all_of(storage.log, log, records_max=1000)
            assert found == [f"{log}:{offset}".encode() * 20 for offset in range(end)], "no half of an append"
            with pytest.raises(LogConflict):
                await storage.log.append(log, [b"zombie"], offset=end, epoch=1)
            await storage.log.append(log, [b"successor"], offset=end, epoch=2)


@pytest.mark.parametrize("kill", [False, True])
async def test_processes_that_take_a_log_from_one_another_lose_and_double_nothing(tmp_path: Path, kill: bool) -> None:
    path = tmp_path / "made" / "by" / "all.db"  # they also race for making it
    processes = [await start("share", path, 40) for _ in range(3)]
    killed = [await start("share", path, 1_000_000)] if kill else []
    lines: list[bytes] = []

    async def follow(process: Process) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        lines.extend((await process.stdout.read()).splitlines(keepends=True)[1:])
        assert await process.wait() == 0, (await process.stderr.read()).decode()

    async def follow_and_kill(process: Process) -> None:
        assert process.stdout is not None
        for _ in range(10):
            lines.append(await process.stdout.readline())
            assert lines[-1], "it ended by itself"
        lines.remove(b"open\n")
        process.kill()
        rest = (await process.stdout.read()).splitlines(keepends=True)
        lines.extend(line for line in rest if line.endswith(b"\n"))
        await process.communicate()

    async with asyncio.timeout(LIMIT_S):
        await asyncio.gather(*map(follow, processes), *map(follow_and_kill, killed))
    acknowledged: dict[int, bytes] = {}
    for line in lines:
        offset, record = line.split()
        assert int(offset) not in acknowledged, "one offset was acknowledged to two keepers"
        acknowledged[int(offset)] = record
    async with SqliteStorage(path) as storage:
        found = await all_of(storage.log, "shared")
    assert all(found[offset] == record for offset, record in acknowledged.items())
    assert len(found) - len(acknowledged) in ((0, 1) if kill else (0,))
    assert len(set(found)) == len(found)
    epochs = [record[:6] for record in found]
    assert epochs == sorted(epochs), "an older keeper appended after a newer one"
