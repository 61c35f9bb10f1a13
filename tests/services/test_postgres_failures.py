"""What PostgreSQL refuses, and locks and connections that break a batch: each save is told the truth, in time."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from inaho.config import StorageConfig
from inaho.errors import StorageFailed
from inaho.storage import StoredState
from inaho.types import ClusterIdentity
from support.service_servers import PostgresServer
from support.storages import LIMIT_S, SHORT, names

pytestmark = pytest.mark.integration


def postgres(server: PostgresServer, table: str, config: StorageConfig = SHORT) -> Any:
    from inaho.storage.postgres import PostgresStorage

    return PostgresStorage(server.url, table=table, config=config)


async def execute(server: PostgresServer, *statements: str) -> None:
    asyncpg = pytest.importorskip("asyncpg")
    connection = await asyncpg.connect(server.url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def until_waiting(observer: Any, count: int) -> None:
    """Waits until so many statements wait for a lock. The observer must be in no transaction itself."""
    async with asyncio.timeout(LIMIT_S):
        statement = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        while await observer.fetchval(statement) < count:
            await asyncio.sleep(0.01)


def have_the_server_give_up_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """It gives a statement up after a quarter of the time that is left, so that what it says is here long before."""
    monkeypatch.setattr("inaho.storage.postgres.session._STATEMENT_SHARE", 0.25)


def save_all(storage: Any, versions: dict[ClusterIdentity, int], data: bytes = b"new") -> list[asyncio.Task[int]]:
    """Saves that one batch takes, where there is one connection: each name with the version that it expects."""
    return [
        asyncio.create_task(storage.save(name, data, expected_version=version, epoch=1))
        for name, version in versions.items()
    ]


async def test_postgres_many_open_at_once(postgres_server: PostgresServer) -> None:
    storages = [postgres(postgres_server, "opened_at_once", StorageConfig()) for _ in range(8)]
    await asyncio.gather(*(storage.open() for storage in storages))
    (name,) = names(1)
    for version, storage in enumerate(storages):
        assert await storage.save(name, b"x", expected_version=version, epoch=1) == version + 1, "all have one table"
    await asyncio.gather(*(storage.close() for storage in storages))


async def test_postgres_a_table_that_is_made_meanwhile_is_ours(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server may show a table whose creation ends during the question without its comment."""
    asyncpg = pytest.importorskip("asyncpg")
    async with postgres(postgres_server, "made_meanwhile"):
        pass
    real = asyncpg.Connection.fetchrow
    asked: list[str] = []

    async def fetchrow(self: Any, statement: str, *arguments: Any) -> Any:
        row = await real(self, statement, *arguments)
        if "obj_description" not in statement:
            return row
        asked.append(statement)
        return (row[0], None) if len(asked) == 1 else row

    monkeypatch.setattr(asyncpg.Connection, "fetchrow", fetchrow)
    async with postgres(postgres_server, "made_meanwhile") as storage:
        assert await storage.load(names(1)[0]) is None
    assert len(asked) == 2


async def test_postgres_foreign_tables_are_refused(postgres_server: PostgresServer) -> None:
    await execute(
        postgres_server,
        "CREATE TABLE theirs (x int)",
        "CREATE TABLE later (x int)",
        "COMMENT ON TABLE later IS 'inaho grain states, schema 2'",
    )
    with pytest.raises(StorageFailed, match="another application's"):
        await postgres(postgres_server, "theirs").open()
    with pytest.raises(StorageFailed, match="schema 2"):
        await postgres(postgres_server, "later").open()


async def test_postgres_schema_can_be_named(postgres_server: PostgresServer) -> None:
    await execute(postgres_server, "CREATE SCHEMA shop")
    async with postgres(postgres_server, "shop.states") as storage:
        (name,) = names(1)
        assert await storage.save(name, b"x", expected_version=0, epoch=1) == 1


async def test_postgres_lock_held_too_long_is_a_refusal(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncpg = pytest.importorskip("asyncpg")
    have_the_server_give_up_early(monkeypatch)
    async with postgres(postgres_server, "locked", StorageConfig(operation_timeout_s=6.0)) as storage:
        locked, free = names(2)
        await storage.save(locked, b"x", expected_version=0, epoch=1)
        connection = await asyncpg.connect(postgres_server.url)
        async with connection.transaction():
            await connection.execute("SELECT FROM locked FOR UPDATE")
            write = asyncio.ensure_future(storage.save(locked, b"y", expected_version=1, epoch=1))
            await asyncio.sleep(0)
            with pytest.raises(StorageFailed, match="statement timeout") as caught:
                await write
            assert not caught.value.maybe_executed
            assert await storage.save(free, b"z", expected_version=0, epoch=1) == 1
        await connection.close()
        assert await storage.load(locked) == StoredState(b"x", 1, 1)


async def test_postgres_refused_row_fails_alone(postgres_server: PostgresServer) -> None:
    async with postgres(postgres_server, "checked") as storage:
        await execute(postgres_server, "ALTER TABLE checked ADD CHECK (octet_length(data) < 100)")
        keys = names(10)
        writes = [storage.save(key, bytes(200 if key.key == "7" else 10), expected_version=0, epoch=1) for key in keys]
        outcomes = await asyncio.gather(*writes, return_exceptions=True)
        (failure,) = [each for each in outcomes if each != 1]
        assert outcomes.index(failure) == 7
        assert isinstance(failure, StorageFailed)
        assert "check constraint" in failure.reason
        assert not failure.maybe_executed
        assert await storage.load(keys[7]) is None


@pytest.mark.parametrize("limit", ["statement_timeout", "lock_timeout"])
async def test_postgres_saves_that_were_written_succeed_when_the_conflict_cannot_be_read(
    postgres_server: PostgresServer, limit: str
) -> None:
    asyncpg = pytest.importorskip("asyncpg")
    table = f"read_{limit}"
    config = StorageConfig(operation_timeout_s=6.0, connections_max=1)
    limits = {"statement_timeout": "", "lock_timeout": "&lock_timeout=4s"}
    from inaho.storage.postgres import PostgresStorage

    async with PostgresStorage(postgres_server.url + limits[limit], table=table, config=config) as storage:
        *good, bad = names(4)
        await asyncio.gather(*save_all(storage, dict.fromkeys((*good, bad), 0), b"old"))
        outsider, operator, observer = [await asyncpg.connect(postgres_server.url) for _ in range(3)]
        async with operator.transaction():
            async with outsider.transaction():
                await outsider.execute(f"SELECT FROM {table} WHERE key = '0' FOR UPDATE")  # holds our INSERT up
                saves = save_all(storage, {**dict.fromkeys(good, 1), bad: 7})
                await until_waiting(observer, 1)
                lock = asyncio.create_task(operator.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
                await until_waiting(observer, 2)
            await lock  # the INSERT has committed, and the SELECT of the stored numbers waits
            *written, refused = await asyncio.gather(*saves, return_exceptions=True)
        assert written == [2, 2, 2]
        assert isinstance(refused, StorageFailed)
        assert not refused.maybe_executed
        for name in good:
            assert await storage.load(name) == StoredState(b"new", 2, 1)
        assert await storage.load(bad) == StoredState(b"old", 1, 1)
        for connection in (outsider, operator, observer):
            await connection.close()


@pytest.mark.parametrize("error", [ConnectionResetError("cut"), TimeoutError()], ids=["broken", "late"])
async def test_postgres_saves_that_were_written_succeed_when_the_connection_breaks_behind_them(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    asyncpg = pytest.importorskip("asyncpg")
    fetch = asyncpg.Connection.fetch

    async def cut(connection: Any, statement: str, *values: Any) -> Any:
        if "NULL::bytea" in statement:
            raise error
        return await fetch(connection, statement, *values)

    config = StorageConfig(operation_timeout_s=5.0, connections_max=1)
    async with postgres(postgres_server, "cut_behind", config) as storage:
        *good, bad = names(4)
        monkeypatch.setattr(asyncpg.Connection, "fetch", cut)
        *written, refused = await asyncio.gather(
            *save_all(storage, {**dict.fromkeys(good, 0), bad: 7}), return_exceptions=True
        )
        assert written == [1, 1, 1]
        assert isinstance(refused, StorageFailed)
        assert not refused.maybe_executed, "the statement that would have written it has written nothing of it"
        assert [await storage.load(name) for name in (*good, bad)] == [StoredState(b"new", 1, 1)] * 3 + [None]


async def test_postgres_a_lock_that_is_not_to_be_had_is_waited_for_once(postgres_server: PostgresServer) -> None:
    asyncpg = pytest.importorskip("asyncpg")
    from inaho.storage.postgres import PostgresStorage

    config = StorageConfig(operation_timeout_s=10.0, connections_max=1)
    async with PostgresStorage(postgres_server.url + "&lock_timeout=500ms", table="waited", config=config) as storage:
        connection = await asyncpg.connect(postgres_server.url)
        async with connection.transaction():
            await connection.execute("LOCK TABLE waited IN SHARE MODE")  # as CREATE INDEX does
            begun = time.monotonic()
            saves = save_all(storage, dict.fromkeys(names(20), 0))
            outcomes = await asyncio.gather(*saves, return_exceptions=True)
            assert time.monotonic() - begun < 4.0
        await connection.close()
        for outcome in outcomes:
            assert isinstance(outcome, StorageFailed)
            assert "lock timeout" in outcome.reason
            assert not outcome.maybe_executed


async def test_postgres_one_by_one_takes_no_longer_than_a_batch_may(postgres_server: PostgresServer) -> None:
    async with postgres(
        postgres_server, "sleepy", StorageConfig(operation_timeout_s=2.0, connections_max=1)
    ) as storage:
        await execute(
            postgres_server,
            "CREATE FUNCTION refuse_late() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_sleep(0.25); RAISE 'not this one'; END $$",
            "CREATE TRIGGER refuse BEFORE INSERT ON sleepy FOR EACH ROW EXECUTE FUNCTION refuse_late()",
        )
        begun = time.monotonic()
        outcomes = await asyncio.gather(*save_all(storage, dict.fromkeys(names(20), 0)), return_exceptions=True)
        assert time.monotonic() - begun < 5.0, "0.25 s for each, and for all of them before, would be 5.25"
        refused = [each for each in outcomes if isinstance(each, StorageFailed)]
        assert len(refused) == 20
        assert "not this one" in refused[0].reason
        assert sum("not this one" in each.reason for each in refused) <= 2.0 / 0.25
        assert "operation_timeout_s" in refused[-1].reason
        assert sum(each.maybe_executed for each in refused) <= 1, "the one that was under way at the end"


async def test_postgres_loads_and_saves_of_one_batch_share_its_time(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncpg = pytest.importorskip("asyncpg")
    limits_ms: list[int] = []
    execute = asyncpg.Connection.execute

    async def noted(connection: Any, statement: str, *values: Any, **options: Any) -> Any:
        if "statement_timeout" in statement:
            limits_ms.append(int(statement.rpartition("=")[2]))
        return await execute(connection, statement, *values, **options)

    have_the_server_give_up_early(monkeypatch)
    async with postgres(
        postgres_server, "shared_time", StorageConfig(operation_timeout_s=6.0, connections_max=1)
    ) as storage:
        one, other = names(2)
        await storage.save(one, b"x", expected_version=0, epoch=1)
        assert await storage.load(one) == StoredState(b"x", 1, 1)  # the server has the whole limit, see above
        connection = await asyncpg.connect(postgres_server.url)
        async with connection.transaction():
            await connection.execute("LOCK TABLE shared_time IN ACCESS EXCLUSIVE MODE")
            monkeypatch.setattr(asyncpg.Connection, "execute", noted)
            both = (storage.load(one), storage.save(other, b"x", expected_version=0, epoch=1))
            outcomes = await asyncio.gather(*both, return_exceptions=True)
            assert len(limits_ms) == 1
            assert limits_ms[0] <= 1125, "the load took 1.5 of 6 s, and the save has a quarter of the rest"
        await connection.close()
        for outcome in outcomes:
            assert isinstance(outcome, StorageFailed)
            assert "statement timeout" in outcome.reason
            assert not outcome.maybe_executed, "the server was told to give up before us, also late in the batch"
        assert await storage.save(one, b"y", expected_version=1, epoch=1) == 2
