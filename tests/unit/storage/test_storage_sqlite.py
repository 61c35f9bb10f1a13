"""SqliteStorage keeps the contract, shares commits, bounds its queue and tells what is wrong with a file."""

# The thread's side is observed from within.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from inaho.config import StorageConfig
from inaho.errors import InvalidConfig, StateConflict, StorageFailed, StorageLost
from inaho.storage import SqliteStorage, Storage, StoredState
from inaho.storage.sqlite.session import Outcome, Request
from inaho.testing.storage.loss import Damage
from inaho.testing.storage_conformance import StorageConformance
from inaho.types import ClusterIdentity

CART = ClusterIdentity("Cart", "alice")
PATIENT = StorageConfig(busy_timeout_s=50.0)
"""For saves that wait for a lock of the test."""


def carts(count: int) -> list[ClusterIdentity]:
    return [ClusterIdentity("Cart", str(number)) for number in range(count)]


@contextmanager
def locked(path: Path) -> Generator[None]:
    """Holds the write lock of the file, as another process would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def begun(storage: SqliteStorage, first: Callable[[], object] = lambda: None) -> threading.Event:
    """Set when the writing thread has taken a batch; runs `first` there, then serves the batch as ever."""
    event = threading.Event()
    serve = storage._write_server.serve

    def observed(batch: Sequence[Request]) -> list[Outcome]:
        first()
        event.set()
        return serve(batch)

    storage._write_server.serve = observed  # type: ignore[method-assign]
    return event


class FileDamage:
    """Changes the rows of the file behind the back of who has it open, as a restored backup would."""

    TABLES = ("grain_states", "storage_mark")

    def __init__(self, path: Path) -> None:
        self.path = path

    async def lose(self) -> None:
        await self.restore({})

    async def snapshot(self) -> Any:
        with closing(sqlite3.connect(self.path)) as other:
            return {table: other.execute(f"SELECT * FROM {table}").fetchall() for table in self.TABLES}

    async def restore(self, snapshot: Any) -> None:
        with closing(sqlite3.connect(self.path)) as other, other:
            for table in self.TABLES:
                other.execute(f"DELETE FROM {table}")
                for row in snapshot.get(table, ()):
                    other.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)


class TestSqliteStorage(StorageConformance):
    @pytest.fixture
    def damage(self, tmp_path: Path) -> Damage:
        return FileDamage(tmp_path / "state.db")

    @pytest.fixture
    def make_storage(self, tmp_path: Path) -> Callable[[], Storage]:
        config = StorageConfig(data_bytes_max=1 << 20)
        return lambda: SqliteStorage(tmp_path / "state.db", config=config)


class TestSmallQueue(StorageConformance):
    """The same with a queue and batches so small that everything waits for room."""

    histories = 10

    @pytest.fixture
    def make_storage(self, tmp_path: Path) -> Callable[[], Storage]:
        config = StorageConfig(
            data_bytes_max=1 << 20, queue_bytes_max=1 << 20, queue_requests_max=60, batch_requests_max=2
        )
        return lambda: SqliteStorage(tmp_path / "state.db", synchronous="normal", config=config)


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


async def test_commit_of_conflicts_alone_is_not_counted(tmp_path: Path) -> None:
    async with SqliteStorage(tmp_path / "state.db") as storage:
        with pytest.raises(StateConflict):
            await storage.save(CART, b"x", expected_version=3, epoch=1)
        assert (storage.commits, storage.saves, storage.conflicts) == (0, 0, 1)


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


# Files.


async def test_folder_is_created_and_the_file_is_marked(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "state.db"
    async with SqliteStorage(path) as storage:
        await storage.save(CART, b"x", expected_version=0, epoch=1)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (0x696E6168,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        rows = connection.execute("SELECT kind, key, version, epoch, data FROM grain_states").fetchall()
        assert rows == [("Cart", "alice", 1, 1, b"x")]
    assert [each.name for each in path.parent.iterdir()] == ["state.db"], "the log was folded in"


async def test_file_that_is_no_database_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(b"my notes, not a database\n" * 100)
    with pytest.raises(StorageFailed, match="move it away") as caught:
        await SqliteStorage(path).open()
    assert str(path) in caught.value.reason
    assert not caught.value.maybe_executed
    assert path.read_bytes() == b"my notes, not a database\n" * 100


async def test_database_of_another_application_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
        connection.commit()
    before = path.read_bytes()
    with pytest.raises(StorageFailed, match="another application"):
        await SqliteStorage(path).open()
    assert path.read_bytes() == before


async def test_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with SqliteStorage(path):
        pass
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 2")
    with pytest.raises(StorageFailed, match="schema 2"):
        await SqliteStorage(path).open()


async def test_damaged_page_fails_its_records_and_not_the_others(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    names = [ClusterIdentity("Cart", f"{number:03}") for number in range(200)]
    async with SqliteStorage(path) as storage:
        await asyncio.gather(*(storage.save(name, bytes(500), expected_version=0, epoch=1) for name in names))
    content = bytearray(path.read_bytes())
    content[-4096:] = b"\xa5" * 4096
    path.write_bytes(content)
    async with SqliteStorage(path) as storage:
        states = await asyncio.gather(*(storage.load(name) for name in names), return_exceptions=True)
        failed = [state for state in states if isinstance(state, StorageFailed)]
        assert 0 < len(failed) < 100
        assert all("damaged" in each.reason and str(path) in each.reason for each in failed)
        assert storage.failures == len(failed)
        writes = [storage.save(name, b"new", expected_version=1, epoch=1) for name in names]
        versions = await asyncio.gather(*writes, return_exceptions=True)
        assert sum(version == 2 for version in versions) > 100
        refused = [version for version in versions if isinstance(version, StorageFailed)]
        assert refused
        assert not any(each.maybe_executed for each in refused)


async def test_no_room_is_told_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with SqliteStorage(path, config=PATIENT) as storage:
        await storage.save(CART, b"x", expected_version=0, epoch=1)
        # SQLite's own limit stands for the end of the disk. It belongs to the connection, hence to its thread.
        begun(storage, lambda: storage._write_server._execute("PRAGMA max_page_count = 8"))
        big, small = ClusterIdentity("Cart", "big"), ClusterIdentity("Cart", "small")
        with locked(path):
            writes = [
                asyncio.ensure_future(storage.save(big, bytes(100_000), expected_version=0, epoch=1)),
                asyncio.ensure_future(storage.save(small, b"fits", expected_version=0, epoch=1)),
            ]
            await asyncio.sleep(0)
        with pytest.raises(StorageFailed, match="no room") as caught:
            await writes[0]
        assert not caught.value.maybe_executed
        assert await writes[1] == 1
        assert await storage.load(big) is None
        assert await storage.load(CART) == StoredState(b"x", 1, 1)


async def test_lock_held_too_long_is_told_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with SqliteStorage(path, config=StorageConfig(busy_timeout_s=0.05)) as storage:
        with locked(path), pytest.raises(StorageFailed, match="busy_timeout_s") as caught:
            await storage.save(CART, b"x", expected_version=0, epoch=1)
        assert not caught.value.maybe_executed
        assert await storage.load(CART) is None
        assert await storage.save(CART, b"x", expected_version=0, epoch=1) == 1


def remove_with_its_log(path: Path) -> None:
    for each in path.parent.iterdir():
        each.unlink()


def remove_with_its_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


def replace(path: Path) -> None:
    copy = path.with_name("copy.db")
    shutil.copy(path, copy)
    copy.replace(path)


@pytest.mark.skipif(sys.platform == "win32", reason="there an open file cannot be removed")
@pytest.mark.parametrize("lose", [remove_with_its_log, remove_with_its_folder, replace])
async def test_nothing_is_saved_or_read_in_a_file_that_is_no_longer_at_its_path(
    tmp_path: Path, lose: Callable[[Path], None]
) -> None:
    path = tmp_path / "folder" / "state.db"
    storage = SqliteStorage(path)
    await storage.open()
    await storage.save(CART, b"x", expected_version=0, epoch=1)
    lose(path)
    for _ in range(2):
        with pytest.raises(StorageFailed, match="removed or replaced") as caught:
            await storage.save(CART, b"y", expected_version=1, epoch=1)
        assert not caught.value.maybe_executed
        assert str(path) in caught.value.reason
        with pytest.raises(StorageFailed, match="removed or replaced"):
            await storage.load(CART)
    async with SqliteStorage(path) as successor:
        stored = await successor.load(CART)
        version = await successor.save(CART, b"z", expected_version=stored.version if stored else 0, epoch=1)
        with pytest.raises(StorageFailed, match="removed or replaced"):
            await storage.save(CART, b"y", expected_version=1, epoch=1)
        await storage.close()  # must not take the log of the other file with it
        assert await successor.load(CART) == StoredState(b"z", version, 1)
        async with storage:
            assert await storage.load(CART) == StoredState(b"z", version, 1), "opened again, it is the new file"


@pytest.mark.skipif(sys.platform == "win32", reason="there an open file cannot be moved")
async def test_file_that_is_put_back_goes_on(tmp_path: Path) -> None:
    path, elsewhere = tmp_path / "state.db", tmp_path / "elsewhere.db"
    async with SqliteStorage(path) as storage:
        await storage.save(CART, b"x", expected_version=0, epoch=1)
        path.rename(elsewhere)
        with pytest.raises(StorageFailed, match="removed or replaced"):
            await storage.save(CART, b"y", expected_version=1, epoch=1)
        elsewhere.rename(path)
        assert await storage.load(CART) == StoredState(b"x", 1, 1)
        assert await storage.save(CART, b"z", expected_version=1, epoch=1) == 2
    async with SqliteStorage(path) as storage:
        assert await storage.load(CART) == StoredState(b"z", 2, 1)


async def test_file_behind_a_link_is_used_and_missed(tmp_path: Path) -> None:
    path, link = tmp_path / "state.db", tmp_path / "link.db"
    try:
        link.symlink_to(path)
    except OSError:
        pytest.skip("this user may make no links")
    async with SqliteStorage(link) as storage:
        assert await storage.save(CART, b"x", expected_version=0, epoch=1) == 1
        link.unlink()
        link.symlink_to(tmp_path / "other.db")
        with pytest.raises(StorageFailed, match="removed or replaced"):
            await storage.save(CART, b"y", expected_version=1, epoch=1)


async def test_lock_that_another_takes_before_the_second_attempts_is_waited_for_once(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with SqliteStorage(path, config=StorageConfig(busy_timeout_s=0.3)) as storage:
        server = storage._write_server
        transact, undo = server._transact, server._undo
        taken, gathered = threading.Event(), threading.Event()
        attempts: list[int] = []

        def hold_up() -> None:
            taken.set()
            gathered.wait(50)
            server._execute("PRAGMA max_page_count = 8")

        def counted(batch: Sequence[Request]) -> list[Outcome]:
            attempts.append(len(batch))
            return transact(batch)

        begun(storage, hold_up)
        server._transact = counted  # type: ignore[method-assign]
        with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:

            def undo_and_lock() -> None:
                undo()
                other.execute("BEGIN IMMEDIATE")

            server._undo = undo_and_lock  # type: ignore[method-assign]
            ahead = asyncio.ensure_future(
                storage.save(ClusterIdentity("Cart", "bob"), b"x", expected_version=0, epoch=1)
            )
            assert await asyncio.to_thread(taken.wait, 50)
            writes = [asyncio.ensure_future(storage.save(CART, bytes(100_000), expected_version=0, epoch=1))]
            writes += [
                asyncio.ensure_future(storage.save(name, b"x", expected_version=0, epoch=1)) for name in carts(20)
            ]
            await asyncio.sleep(0)
            gathered.set()
            assert await ahead == 1
            outcomes = await asyncio.gather(*writes, return_exceptions=True)
            assert attempts == [1, 21, 1], "after the batch one attempt has waited for the lock"
            other.execute("ROLLBACK")
        for outcome in outcomes:
            assert isinstance(outcome, StorageFailed)
            assert "busy_timeout_s" in outcome.reason
            assert not outcome.maybe_executed


async def test_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageFailed, match="check that its folder"):
        await SqliteStorage(tmp_path / "file" / "state.db").open()


async def test_failed_open_can_be_repeated(tmp_path: Path) -> None:
    obstacle = tmp_path / "folder"
    obstacle.write_bytes(b"")
    storage = SqliteStorage(obstacle / "state.db")
    with pytest.raises(StorageFailed):
        await storage.open()
    obstacle.unlink()
    async with storage:
        assert await storage.load(CART) is None


async def test_cancelled_open_can_be_repeated(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path / "state.db")
    for turns in range(6):
        opening = asyncio.ensure_future(storage.open())
        for _ in range(turns):
            await asyncio.sleep(0)
        opening.cancel()
        await asyncio.wait([opening])
        assert opening.cancelled()
    async with storage:
        assert await storage.save(CART, b"x", expected_version=0, epoch=1) == 1


async def test_commits_are_counted_across_openings(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path / "state.db")
    for version in range(3):
        async with storage:
            await storage.save(CART, b"x", expected_version=version, epoch=1)
    assert (storage.commits, storage.saves) == (3, 3)


@pytest.mark.parametrize("path", ["", ":memory:"])
def test_path_that_is_no_file_is_refused(path: str) -> None:
    with pytest.raises(InvalidConfig, match="MemoryStorage"):
        SqliteStorage(path)


@pytest.mark.parametrize("path", ["a\0b", Path("a\0b")])
def test_path_that_no_file_can_have_is_refused(path: str | Path) -> None:
    with pytest.raises(InvalidConfig, match="NUL"):
        SqliteStorage(path)


def test_impossible_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="synchronous"):
        SqliteStorage(tmp_path / "x", synchronous="off")  # type: ignore[arg-type]
    config = StorageConfig(data_bytes_max=1_000_000_000, queue_bytes_max=1_000_000_000)
    with pytest.raises(InvalidConfig, match="data_bytes_max"):
        SqliteStorage(tmp_path / "x", config=config)


async def test_a_file_from_before_there_were_marks_is_adopted(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with SqliteStorage(path) as storage:
        await storage.save(CART, b"x", expected_version=0, epoch=1)
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("DROP TABLE storage_mark")
    async with SqliteStorage(path) as storage:
        assert await storage.load(CART) == StoredState(b"x", 1, 1)
        assert await storage.save(CART, b"y", expected_version=1, epoch=1) == 2
        with closing(sqlite3.connect(path)) as other, other:
            other.execute("DROP TABLE storage_mark")
        with pytest.raises(StorageLost):
            await storage.load(CART)
