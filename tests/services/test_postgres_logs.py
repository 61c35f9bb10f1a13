"""The tables of logs in PostgreSQL: made once by many, refused when they are not ours, or made by an administrator."""

from __future__ import annotations

import asyncio
from itertools import count

import asyncpg  # type: ignore[import-untyped]
import pytest

from inaho.errors import StorageFailed
from inaho.storage.log import LogBounds
from inaho.storage.postgres import PostgresStorage
from support.service_servers import PostgresServer
from support.storages import SHORT, names

pytestmark = pytest.mark.integration

_users = count(1)


def postgres(server: PostgresServer, table: str, user: str = "inaho") -> PostgresStorage:
    return PostgresStorage(server.url.replace("inaho", user, 1), table=table, config=SHORT)


async def execute(server: PostgresServer, *statements: str) -> None:
    connection = await asyncpg.connect(server.url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def test_many_nodes_that_make_the_tables_at_once_have_one_log(postgres_server: PostgresServer) -> None:
    storages = [postgres(postgres_server, "logs_at_once") for _ in range(8)]
    await asyncio.gather(*(storage.open() for storage in storages))
    opened = await asyncio.gather(*(storage.log.open_log("a/0", epoch=3) for storage in storages))
    assert opened == [LogBounds(0, 0, 3, 0)] * 8
    for offset, storage in enumerate(storages):
        await storage.log.append("a/0", [b"x"], offset=offset, epoch=3)
    await asyncio.gather(*(storage.close() for storage in storages))


async def test_tables_of_another_application_are_refused_for_logs_only(postgres_server: PostgresServer) -> None:
    await execute(
        postgres_server,
        "CREATE TABLE taken_log (x int)",
        "CREATE TABLE newer_log (x int)",
        "COMMENT ON TABLE newer_log IS 'inaho logs, schema 2'",
    )
    for table, reason in (("taken", "another application's"), ("newer", "schema 2")):
        async with postgres(postgres_server, table) as storage:
            with pytest.raises(StorageFailed, match=reason) as caught:
                await storage.log.open_log("a/0", epoch=1)
            assert caught.value.maybe_executed is False
            (name,) = names(1)
            assert await storage.save(name, b"x", expected_version=0, epoch=1) == 1


async def test_a_user_who_may_not_make_tables_is_told_and_can_use_those_that_are_there(
    postgres_server: PostgresServer,
) -> None:
    user = f"writer{next(_users)}"
    async with postgres(postgres_server, "granted"):
        await execute(
            postgres_server,
            f"CREATE USER {user}",
            f"GRANT SELECT, INSERT, UPDATE ON granted TO {user}",
        )
        async with postgres(postgres_server, "granted", user) as storage:
            with pytest.raises(StorageFailed, match="permission denied") as caught:
                await storage.log.open_log("a/0", epoch=1)
            assert caught.value.maybe_executed is False
            async with postgres(postgres_server, "granted") as owner:
                await owner.log.bounds("a/0")
            await execute(
                postgres_server, f"GRANT SELECT, INSERT, UPDATE, DELETE ON granted_log, granted_log_chunk TO {user}"
            )
            await storage.log.open_log("a/0", epoch=1)
            await storage.log.append("a/0", [b"x", b"y"], offset=0, epoch=1)
            await storage.log.trim("a/0", 2, epoch=1)
            assert (await storage.log.bounds("a/0")).first == 2


async def test_long_names_of_tables_keep_their_logs_apart(postgres_server: PostgresServer) -> None:
    for table in ("t" * 63, "t" * 62 + "u"):
        async with postgres(postgres_server, table) as storage:
            assert await storage.log.open_log("a/0", epoch=1) == LogBounds(0, 0, 1, 0)
            await storage.log.append("a/0", [b"x"], offset=0, epoch=1)


async def test_logs_whose_tables_were_dropped_work_again_once_the_content_is_accepted(
    postgres_server: PostgresServer,
) -> None:
    async with postgres(postgres_server, "dropped") as storage:
        await storage.log.open_log("a/0", epoch=1)
        await execute(postgres_server, "DROP TABLE dropped, dropped_log, dropped_log_chunk")
        with pytest.raises(StorageFailed, match="does not exist") as caught:
            await storage.log.append("a/0", [b"x"], offset=0, epoch=1)
        assert caught.value.maybe_executed is False
        await storage.accept()
        assert await storage.log.open_log("a/0", epoch=2) == LogBounds(0, 0, 2, 0)
