"""SqliteStorage shares commits, bounds its queue, leaves the event loop free, and ends its threads."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest
import uvloop

from inaho.config import StorageConfig
from inaho.errors import StateConflict, StorageFailed
from inaho.storage import SqliteStorage, StoredState
from inaho.types import ClusterIdentity
from support.sqlite_files import CART, PATIENT, begun, carts, locked

# Commits.


async def test_saves_share_commits(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with SqliteStorage(path, config=PATIENT) as storage:
        taken = begun(storage)
        with locked(path):
            saves = [storage.save(name, b"x", expected_version=0, epoch=1) for name in carts(400)]
            tasks = [asyncio.ensure_future(saves[0])]
            assert await asyncio.to_thread(taken.wait, 50)
            tasks += [asyncio.ensure_future(save) for save in saves[1:]]
            await asyncio.sleep(0)
            assert storage.queued == 400
        await asyncio.gather(*tasks)
        assert storage.saves == 400
        assert storage.commits == 2, "the first one alone, and what gathered behind it"
        commits = storage.commits
        for version in range(1, 6):
            await storage.save(carts(1)[0], b"x", expected_version=version, epoch=1)
        assert storage.commits == commits + 5, "nothing to share: each is committed at once"


async def test_conflict_fails_only_its_own_save(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with SqliteStorage(path, config=PATIENT) as storage:
        await storage.save(CART, b"x", expected_version=0, epoch=1)
        commits = storage.commits
        with locked(path):  # so that what follows gathers behind the first
            names = carts(9)
            writes = [storage.save(name, b"y", expected_version=0, epoch=1) for name in names]
            tasks = [asyncio.ensure_future(write) for write in writes]
            bad = asyncio.ensure_future(storage.save(CART, b"z", expected_version=0, epoch=1))
            await asyncio.sleep(0)
            assert storage.queued == 10
        assert await asyncio.gather(*tasks) == [1] * 9
        with pytest.raises(StateConflict):
            await bad
        assert storage.commits - commits <= 2
        assert await storage.load(CART) == StoredState(b"x", 1, 1)


# The event loop and the queue.


async def test_loads_and_the_loop_go_on_while_another_process_holds_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with SqliteStorage(path, config=PATIENT) as storage:
        await storage.save(CART, b"x", expected_version=0, epoch=1)
        other = ClusterIdentity("Cart", "bob")
        with locked(path):
            write = asyncio.ensure_future(storage.save(other, b"y", expected_version=0, epoch=1))
            for _ in range(20):
                assert await storage.load(CART) == StoredState(b"x", 1, 1)
            assert not write.done()
        assert await write == 1


async def test_load_waits_for_an_abandoned_save_of_the_same_identity(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with SqliteStorage(path, config=PATIENT) as storage:
        taken = begun(storage)
        with locked(path):
            first = asyncio.ensure_future(storage.save(CART, b"x", expected_version=0, epoch=1))
            assert await asyncio.to_thread(taken.wait, 50)
            first.cancel()
            await asyncio.wait([first])
            load = asyncio.ensure_future(storage.load(CART))
            assert await storage.load(ClusterIdentity("Cart", "bob")) is None
            assert not load.done()
        assert await load == StoredState(b"x", 1, 1)
        assert storage.queued == 0


async def test_save_cancelled_before_its_turn_does_not_run(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with SqliteStorage(path, config=PATIENT) as storage:
        taken = begun(storage)
        with locked(path):
            first = asyncio.ensure_future(storage.save(CART, b"x", expected_version=0, epoch=1))
            assert await asyncio.to_thread(taken.wait, 50)
            second = asyncio.ensure_future(storage.save(CART, b"y", expected_version=1, epoch=1))
            await asyncio.sleep(0)
            second.cancel()
            await asyncio.wait([second])  # before the lock is free: a task is told of its cancellation one turn later
        assert second.cancelled()
        assert await first == 1
        assert await storage.load(CART) == StoredState(b"x", 1, 1)


async def test_queue_is_bounded_and_first_come_is_first_served(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    config = StorageConfig(
        data_bytes_max=100, queue_bytes_max=250, queue_requests_max=10, batch_requests_max=1, busy_timeout_s=50.0
    )
    async with SqliteStorage(path, config=config) as storage:
        done: list[str] = []

        async def save(name: ClusterIdentity) -> None:
            await storage.save(name, bytes(100), expected_version=0, epoch=1)
            done.append(name.key)

        with locked(path):
            tasks = [asyncio.ensure_future(save(name)) for name in carts(12)]
            await asyncio.sleep(0)
            assert storage.queued == 2, "a third would exceed the bytes"
            tasks[5].cancel()
            await asyncio.wait([tasks[5]])
        await asyncio.gather(*tasks, return_exceptions=True)
        assert done == [name.key for name in carts(12) if name.key != "5"]
        assert await storage.load(carts(6)[5]) is None
        assert storage.queued == 0


async def test_a_lock_is_not_waited_for_by_each_batch_of_the_queue(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    config = StorageConfig(busy_timeout_s=0.3, batch_requests_max=2, queue_requests_max=20)
    async with SqliteStorage(path, config=config) as storage:
        served: list[int] = []
        gathered = threading.Event()
        begun(storage, lambda: served.append(1) or gathered.wait(50))
        with locked(path):
            saves = [storage.save(name, b"x", expected_version=0, epoch=1) for name in carts(30)]
            tasks = [asyncio.ensure_future(save) for save in saves]
            await asyncio.sleep(0)
            gathered.set()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            assert len(served) <= 2, "15 batches, and each of them would wait for the lock"
            for outcome in outcomes:
                assert isinstance(outcome, StorageFailed)
                assert "busy_timeout_s" in outcome.reason
                assert not outcome.maybe_executed
        assert storage.queued == 0
        assert await storage.load(CART) is None
        assert (
            await asyncio.gather(*(storage.save(name, b"x", expected_version=0, epoch=1) for name in carts(9)))
            == [1] * 9
        )


async def test_a_slow_disk_is_waited_for_however_long_the_queue(tmp_path: Path) -> None:
    config = StorageConfig(busy_timeout_s=0.05, batch_requests_max=1)
    async with SqliteStorage(tmp_path / "state.db", config=config) as storage:
        begun(storage, lambda: time.sleep(0.06))
        saves = [storage.save(name, b"x", expected_version=0, epoch=1) for name in carts(8)]
        conflict = storage.save(carts(1)[0], b"x", expected_version=0, epoch=1)
        later = storage.save(carts(1)[0], b"x", expected_version=1, epoch=1)
        *versions, refused, last = await asyncio.gather(*saves, conflict, later, return_exceptions=True)
        assert versions == [1] * 8
        assert isinstance(refused, StateConflict)
        assert last == 2, "a conflict is an answer: the queue moves"


async def test_close_refuses_those_who_wait_for_room(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    storage = SqliteStorage(path, config=StorageConfig(queue_requests_max=3, busy_timeout_s=50.0))
    await storage.open()
    with locked(path):
        tasks = [asyncio.ensure_future(storage.save(name, b"x", expected_version=0, epoch=1)) for name in carts(5)]
        await asyncio.sleep(0)
        closing_it = asyncio.ensure_future(storage.close())
        await asyncio.wait(tasks[3:])
    await closing_it
    assert await asyncio.gather(*tasks[:3]) == [1, 1, 1]
    for task in tasks[3:]:
        with pytest.raises(StorageFailed, match="closed") as caught:
            await task
        assert not caught.value.maybe_executed


async def test_threads_end_with_the_storage(tmp_path: Path) -> None:
    def ours() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if "ends.db" in thread.name]

    async with SqliteStorage(tmp_path / "ends.db"):
        assert len(ours()) == 2
    for thread in ours():
        thread.join(timeout=5)
    assert not ours()


def test_on_uvloop_and_on_one_loop_after_another(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path / "state.db")

    async def count() -> int:
        async with storage:
            stored = await storage.load(CART)
            return await storage.save(CART, b"x", expected_version=stored.version if stored else 0, epoch=1)

    assert uvloop.run(count()) == 1
    assert asyncio.run(count()) == 2
    assert uvloop.run(count()) == 3


def test_loop_that_ends_without_close_ends_the_thread_too(tmp_path: Path) -> None:
    path = tmp_path / "forgotten.db"

    async def make() -> None:
        async with SqliteStorage(path):
            pass

    async def forget() -> None:
        storage = SqliteStorage(path, config=PATIENT)
        await storage.open()
        taken = begun(storage)
        write = asyncio.ensure_future(storage.save(CART, b"x", expected_version=0, epoch=1))
        assert await asyncio.to_thread(taken.wait, 50)
        write.cancel()

    asyncio.run(make())
    with locked(path):
        asyncio.run(forget())
    for thread in threading.enumerate():
        if thread.name == "inaho-save-forgotten.db":
            thread.join(timeout=50)
            assert not thread.is_alive()
