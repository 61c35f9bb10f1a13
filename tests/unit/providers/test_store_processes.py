"""The file of added providers with several processes: killed at each step, limited, at the same time (SPEC PR-1.5)."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import pytest

from inaho.config import ProviderDescriptor
from inaho.errors import ProviderStoreFailed
from inaho.providers import store as store_module
from inaho.providers.store import FileProviderStore
from support.waiting import POLL_LIMIT_S

PROGRAM = Path(__file__).resolve().parents[2] / "support/programs/provider_store_process.py"

FIRST = ProviderDescriptor(name="first", url="etcd://10.0.0.9:2379/shop")
SECOND = ProviderDescriptor(name="second", url="dns://shop.example")
ADDED = ProviderDescriptor(name="added", url="seeds://10.0.0.3:7700")
OLD, NEW = (FIRST, SECOND), (SECOND, ADDED)


@pytest.fixture
async def store(tmp_path: Path) -> FileProviderStore:
    store = FileProviderStore(tmp_path / "providers.jsonl")
    await store.change(add=OLD)
    return store


async def start(mode: str, folder: Path, *more: object) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, str(PROGRAM), mode, str(folder), *map(str, more), stdout=PIPE
    )


async def lines_of(process: Process) -> list[str]:
    async with asyncio.timeout(POLL_LIMIT_S):
        output, _ = await process.communicate()
    return output.decode().splitlines()


@pytest.mark.parametrize(("mode", "outcome"), [("kill", "killed"), ("limit", "failed")])
async def test_pr_1_5_a_change_that_is_disturbed_at_any_step_leaves_the_old_or_the_new_set(
    mode: str, outcome: str, store: FileProviderStore, tmp_path: Path
):
    lines = await lines_of(await start(mode, tmp_path))
    outcomes = [line.split()[1] for line in lines]
    assert outcomes == [outcome] * (len(lines) - 1) + ["done"]
    assert len(lines) > 10
    found: list[tuple[ProviderDescriptor, ...]] = []
    for number in range(len(lines)):
        left = FileProviderStore(tmp_path / str(number) / "providers.jsonl")
        found.append(await left.load())
        await left.change(remove=["first"], add=[ADDED])  # nothing that was left behind hinders the next change
        assert await left.load() == NEW
    replaced = found.index(NEW)
    assert found == [OLD] * replaced + [NEW] * (len(lines) - replaced)
    assert outcomes[replaced] == "done" or mode == "kill"  # a change that has failed is not in the file
    assert replaced > 0


async def test_processes_that_add_at_once_lose_and_invent_nothing(store: FileProviderStore, tmp_path: Path):
    processes = [await start("add", tmp_path, name, 25) for name in ("a", "b", "c")]
    accepted = [line for lines in await asyncio.gather(*map(lines_of, processes)) for line in lines if line != "ready"]
    assert len(accepted) == 75
    assert {each.name for each in await store.load()} == {*accepted, "first", "second"}


async def test_a_process_that_is_killed_keeps_what_it_has_accepted(store: FileProviderStore, tmp_path: Path):
    for number in range(5):
        process = await start("add", tmp_path, f"run{number}", 1000)
        assert process.stdout is not None
        async with asyncio.timeout(POLL_LIMIT_S):
            accepted = [(await process.stdout.readline()).decode().strip() for _ in range(3 + number)][1:]
        process.kill()
        accepted += await lines_of(process)
        names = [each.name for each in await store.load()]
        added = [name for name in names if name.startswith(f"run{number}-")]
        assert added[: len(accepted)] == accepted
        assert len(added) <= len(accepted) + 1  # the one that it was adding


async def test_a_lock_that_is_held_too_long_is_an_error_and_ends_with_its_process(
    store: FileProviderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    process = await start("hold", tmp_path)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"held\n"
    monkeypatch.setattr(store_module, "LOCK_S", 0.05)
    with pytest.raises(ProviderStoreFailed, match=r"another process has held the lock .*providers\.lock for 0\.05 s"):
        await store.change(add=[ADDED])
    process.kill()
    await process.wait()
    await store.change(add=[ADDED])
    assert await store.load() == (*OLD, ADDED)
