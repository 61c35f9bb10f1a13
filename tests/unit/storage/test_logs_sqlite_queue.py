"""Logs of SqliteStorage: what is committed together, what waits for what, and what is told when the file fails."""

# The thread's side is observed from within.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from inaho.config import StorageConfig
from inaho.errors import LogConflict, StorageFailed, StorageLost
from inaho.storage import SqliteStorage, StoredState
from inaho.storage.log import LogBounds
from inaho.storage.log.chunks import ReadPortion
from inaho.testing.storage.log_reads import all_of
from inaho.types import ClusterIdentity
from support.sqlite_files import CART, PATIENT, begun, carts, locked

LOG = "orders/3"


async def fill(storage: SqliteStorage, appends: int, log: str = LOG, size: int = 10) -> None:
    end = (await storage.log.open_log(log, epoch=1)).end
    for offset in range(end, end + appends):
        await storage.log.append(log, [b"%d" % offset * size], offset=offset, epoch=1)


async def save(storage: SqliteStorage, name: ClusterIdentity) -> None:
    assert await storage.save(name, b"x", expected_version=0, epoch=1) == 1


def rows(path: Path, statement: str) -> list[tuple[int, ...]]:
    with closing(sqlite3.connect(path)) as other:
        return other.execute(statement).fetchall()


# Commits.


async def test_appends_and_saves_share_a_commit_and_an_append_is_one_row(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with SqliteStorage(path, config=PATIENT) as storage:
        for number in range(50):
            await storage.log.open_log(f"{LOG}.{number}", epoch=1)
        commits = storage.commits
        taken = begun(storage)
        with locked(path):
            tasks = [asyncio.ensure_future(storage.log.append(f"{LOG}.0", [b"x"] * 64, offset=0, epoch=1))]
            assert await asyncio.to_thread(taken.wait, 50)
            for number, name in enumerate(carts(50)):
                append = storage.log.append(f"{LOG}.{number}", [b"x"] * 64, offset=0 if number else 64, epoch=1)
                tasks.append(asyncio.ensure_future(append))
                tasks.append(asyncio.ensure_future(save(storage, name)))
            await asyncio.sleep(0)
            assert storage.queued == 101
        await asyncio.gather(*tasks)
        assert storage.commits == commits + 2, "the first one alone, and what gathered behind it"
        assert rows(path, "SELECT count(*), sum(records) FROM log_chunks") == [(51, 51 * 64)]


async def test_conflict_fails_only_its_own_append(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with SqliteStorage(path, config=PATIENT) as storage:
        await fill(storage, 1)
        commits = storage.commits
        with locked(path):
            append = asyncio.ensure_future(storage.log.append(LOG, [b"b"], offset=1, epoch=1))
            bad = asyncio.ensure_future(storage.log.append(LOG, [b"lost"], offset=1, epoch=1))
            stale = asyncio.ensure_future(storage.log.trim(LOG, 1, epoch=7))
            other = asyncio.ensure_future(save(storage, CART))
            await asyncio.sleep(0)
        await append
        await other
        for refused in (bad, stale):
            with pytest.raises(LogConflict):
                await refused
        assert storage.commits - commits <= 2
        assert (await storage.log.bounds(LOG)).end == 2


async def test_refused_and_needless_requests_commit_nothing(tmp_path: Path) -> None:
    async with SqliteStorage(tmp_path / "state.db") as storage:
        await fill(storage, 2)
        await storage.log.trim(LOG, 1, epoch=1)
        commits = storage.commits
        await storage.log.trim(LOG, 1, epoch=1)
        with pytest.raises(LogConflict):
            await storage.log.append(LOG, [b"lost"], offset=9, epoch=1)
        await storage.log.read(LOG, 1, records_max=1)
        await storage.log.bounds(LOG)
        assert storage.commits == commits


@pytest.mark.parametrize("commits", [True, False])
async def test_append_of_a_commit_that_failed_may_be_there_and_opening_tells(tmp_path: Path, commits: bool) -> None:
    async with SqliteStorage(tmp_path / "state.db") as storage:
        await fill(storage, 1)
        execute = storage._write_server._execute

        def failing(statement: str, *values: object) -> sqlite3.Cursor:
            if statement != "COMMIT":
                return execute(statement, *values)
            storage._write_server._execute = execute  # type: ignore[method-assign]
            if commits:
                execute(statement)
            raise sqlite3.OperationalError("disk I/O error")

        storage._write_server._execute = failing  # type: ignore[method-assign]
        with pytest.raises(StorageFailed, match="disk I/O error") as caught:
            await storage.log.append(LOG, [b"b", b"c"], offset=1, epoch=1)
        assert caught.value.maybe_executed
        assert (storage.log.appends, storage.log.failures) == (1, 1)
        end = (await storage.log.open_log(LOG, epoch=1)).end
        assert end == (3 if commits else 1)
        await storage.log.append(LOG, [b"d"], offset=end, epoch=1)
        assert len(await all_of(storage.log, LOG)) == end + 1


# The queue.


async def test_reads_wait_for_no_commit(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with SqliteStorage(path, config=PATIENT) as storage:
        await fill(storage, 3)
        taken = begun(storage)
        with locked(path):
            append = asyncio.ensure_future(storage.log.append(LOG, [b"x"], offset=3, epoch=1))
            assert await asyncio.to_thread(taken.wait, 50)
            assert len(await all_of(storage.log, LOG)) == 3
            assert (await storage.log.bounds(LOG)).end == 3
            assert not append.done()
        await append
        assert len(await all_of(storage.log, LOG)) == 4


async def test_read_takes_no_chunk_that_it_does_not_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    add = ReadPortion.add_encoded

    def counted(portion: ReadPortion, first: int, value: bytes) -> bool:
        taken.append(first)
        return add(portion, first, value)

    monkeypatch.setattr(ReadPortion, "add_encoded", counted)
    async with SqliteStorage(tmp_path / "state.db", synchronous="normal") as storage:
        await fill(storage, 100)
        assert len(await storage.log.read(LOG, 60, records_max=3)) == 3
        assert len(await storage.log.read(LOG, 99, records_max=3)) == 1
        assert await storage.log.read(LOG, 100, records_max=3) == []
    assert taken == [60, 61, 62, 99, 99]


async def test_opening_waits_for_an_abandoned_append(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with SqliteStorage(path, config=PATIENT) as storage:
        await fill(storage, 1)
        taken = begun(storage)
        with locked(path):
            append = asyncio.ensure_future(storage.log.append(LOG, [b"x"], offset=1, epoch=1))
            assert await asyncio.to_thread(taken.wait, 50)
            behind = asyncio.ensure_future(storage.log.append(LOG, [b"y"], offset=2, epoch=1))
            await asyncio.sleep(0)
            append.cancel()
            behind.cancel()
            await asyncio.wait([append, behind])
            opening = asyncio.ensure_future(storage.log.open_log(LOG, epoch=2))
            await asyncio.sleep(0)
            assert not opening.done()
        assert await opening == LogBounds(0, 2, 2, 11), "the first was begun, the second was not"
        assert storage.queued == 0


async def test_queue_is_bounded_by_the_bytes_of_appends(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    config = StorageConfig(data_bytes_max=200, queue_bytes_max=500, queue_requests_max=50, busy_timeout_s=50.0)
    async with SqliteStorage(path, config=config) as storage:
        for number in range(8):
            await storage.log.open_log(str(number), epoch=1)
        with locked(path):
            appends = [storage.log.append(str(number), [bytes(50)] * 4, offset=0, epoch=1) for number in range(8)]
            tasks = [asyncio.ensure_future(append) for append in appends]
            await asyncio.sleep(0)
            assert storage.queued == 2, "a third would exceed the bytes"
        await asyncio.gather(*tasks)
        assert storage.queued == 0


async def test_lock_held_too_long_refuses_the_append(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with SqliteStorage(path, config=StorageConfig(busy_timeout_s=0.05)) as storage:
        await fill(storage, 1)
        for work in (
            storage.log.append(LOG, [b"x"], offset=1, epoch=1),
            storage.log.open_log(LOG, epoch=2),
            storage.log.trim(LOG, 1, epoch=1),
        ):
            with locked(path), pytest.raises(StorageFailed, match="busy_timeout_s") as caught:
                await work
            assert not caught.value.maybe_executed
        assert await storage.log.bounds(LOG) == LogBounds(0, 1, 1, 10)
        await storage.log.append(LOG, [b"x"], offset=1, epoch=1)


async def test_long_trim_is_done_in_portions_and_frees_all(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with SqliteStorage(path, synchronous="normal") as storage:
        await fill(storage, 300)
        await fill(storage, 5, "other")
        commits = storage.commits
        await storage.log.trim(LOG, 299, epoch=1)
        assert storage.commits - commits == 3, "128 chunks in each"
        assert await storage.log.bounds(LOG) == LogBounds(299, 300, 1, 30)
        await storage.log.remove(LOG, epoch=1)
        assert rows(path, "SELECT count(*) FROM log_chunks") == [(5,)]


async def test_trim_that_was_cut_short_is_finished_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with SqliteStorage(path, config=PATIENT, synchronous="normal") as storage:
        await fill(storage, 300)
        taken = begun(storage)
        with locked(path):
            trim = asyncio.ensure_future(storage.log.trim(LOG, 300, epoch=1))
            assert await asyncio.to_thread(taken.wait, 50)
            trim.cancel()
            await asyncio.wait([trim])
        bounds = await storage.log.open_log(LOG, epoch=2)
        assert (bounds.first, bounds.end) == (300, 300), "what is removed was decided at once"
        assert rows(path, "SELECT count(*) FROM log_chunks") == [(172,)]
        await storage.log.trim(LOG, 300, epoch=2)
        assert await storage.log.bounds(LOG) == LogBounds(300, 300, 2, 0)
        assert rows(path, "SELECT count(*) FROM log_chunks") == [(0,)]


# The file.


async def test_file_from_before_there_were_logs_gets_them(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with SqliteStorage(path) as storage:
        await storage.save(CART, b"x", expected_version=0, epoch=1)
        assert rows(path, "SELECT count(*) FROM sqlite_master WHERE name LIKE 'log%'") == [(0,)]
        assert await storage.log.bounds(LOG) == LogBounds(0, 0, 0, 0)
        assert await storage.log.read(LOG, 0, records_max=1) == []
        for write in (storage.log.append(LOG, [b"x"], offset=0, epoch=1), storage.log.trim(LOG, 0, epoch=1)):
            with pytest.raises(LogConflict):
                await write
        await fill(storage, 2)
        assert len(await all_of(storage.log, LOG)) == 2
        assert await storage.load(CART) == StoredState(b"x", 1, 1)


async def test_logs_that_were_dropped_are_a_loss(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with SqliteStorage(path) as storage:
        await fill(storage, 2)
        with closing(sqlite3.connect(path)) as other, other:
            for table in ("storage_mark", "logs", "log_chunks"):
                other.execute(f"DROP TABLE {table}")
        with pytest.raises(StorageLost):
            await storage.log.read(LOG, 0, records_max=1)


async def test_damaged_chunk_fails_its_reads_and_names_the_log(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with SqliteStorage(path) as storage:
        await fill(storage, 3)
        with closing(sqlite3.connect(path)) as other, other:
            other.execute("UPDATE log_chunks SET data = x'ff' WHERE first_offset = 1")
        with pytest.raises(StorageFailed, match=f"'{LOG}' from offset 1 are damaged"):
            await storage.log.read(LOG, 0, records_max=3)
        assert len(await storage.log.read(LOG, 0, records_max=1)) == 1
        assert len(await storage.log.read(LOG, 2, records_max=1)) == 1
        with closing(sqlite3.connect(path)) as other, other:
            other.execute("DELETE FROM log_chunks WHERE first_offset = 1")
        with pytest.raises(StorageFailed, match="no records from offset 1 to 2"):
            await storage.log.read(LOG, 0, records_max=3)


async def test_no_room_fails_the_append_and_not_the_others(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with SqliteStorage(path, config=PATIENT) as storage:
        await fill(storage, 1)
        await storage.log.open_log("big", epoch=1)
        begun(storage, lambda: storage._write_server._execute("PRAGMA max_page_count = 20"))
        with locked(path):
            big = asyncio.ensure_future(storage.log.append("big", [bytes(200_000)], offset=0, epoch=1))
            small = asyncio.ensure_future(storage.log.append(LOG, [b"x"], offset=1, epoch=1))
            await asyncio.sleep(0)
        with pytest.raises(StorageFailed, match="no room") as caught:
            await big
        assert not caught.value.maybe_executed
        await small
        assert (await storage.log.bounds("big")).end == 0
        assert (await storage.log.bounds(LOG)).end == 2


async def test_nothing_is_appended_or_read_in_a_file_that_was_removed(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    storage = SqliteStorage(path)
    await storage.open()
    await fill(storage, 1)
    for each in path.parent.iterdir():
        each.unlink()
    for work in (
        storage.log.append(LOG, [b"x"], offset=1, epoch=1),
        storage.log.open_log(LOG, epoch=2),
        storage.log.trim(LOG, 1, epoch=1),
        storage.log.read(LOG, 0, records_max=1),
        storage.log.bounds(LOG),
    ):
        with pytest.raises(StorageFailed, match="removed or replaced") as caught:
            await work
        assert not caught.value.maybe_executed
    await storage.close()
