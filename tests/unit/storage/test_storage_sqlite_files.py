"""SqliteStorage tells what is wrong with its file: damaged, locked, full, newer, missing, or of another application."""

# The thread's side is observed from within.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from inaho.config import StorageConfig
from inaho.errors import StorageFailed, StorageLost
from inaho.storage import SqliteStorage, StoredState
from inaho.storage.sqlite.session import AnyRequest, Outcome
from inaho.types import ClusterIdentity
from support.sqlite_files import CART, PATIENT, begun, carts, locked


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

        def counted(batch: Sequence[AnyRequest]) -> list[Outcome]:
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
