"""How storages that are servers lose their data, for the conformance suites."""

from __future__ import annotations

from typing import Any

import asyncpg  # type: ignore[import-untyped]
from redis.asyncio import Redis

from support.service_servers import PASSWORD, RedisServer

TABLES = ("inaho_grain_states", "inaho_grain_states_log", "inaho_grain_states_log_chunk")


class RedisDamage:
    def __init__(self, server: RedisServer) -> None:
        self.server = server

    def _client(self) -> Any:
        return Redis(port=self.server.port, password=PASSWORD)

    async def lose(self) -> None:
        async with self._client() as client:
            await client.flushall()

    async def snapshot(self) -> Any:
        async with self._client() as client:
            return {key: await client.dump(key) for key in await client.keys("inaho:*")}

    async def restore(self, snapshot: Any) -> None:
        await self.lose()
        async with self._client() as client:
            for key, value in snapshot.items():
                await client.restore(key, 0, value)


class PostgresDamage:
    def __init__(self, dsn: str) -> None:
        self.dsn = dsn

    async def lose(self) -> None:
        await self.restore({})

    async def snapshot(self) -> Any:
        connection = await asyncpg.connect(self.dsn)
        try:
            return {table: await connection.fetch(f"SELECT * FROM {table}") for table in await _present(connection)}
        finally:
            await connection.close()

    async def restore(self, snapshot: Any) -> None:
        connection = await asyncpg.connect(self.dsn)
        try:
            for table in await _present(connection):
                await connection.execute(f"TRUNCATE {table}")
                rows = [tuple(row) for row in snapshot.get(table, ())]
                if rows:
                    places = ", ".join(f"${number + 1}" for number in range(len(rows[0])))
                    await connection.executemany(f"INSERT INTO {table} VALUES ({places})", rows)
        finally:
            await connection.close()


async def _present(connection: Any) -> list[str]:
    """The tables that there are; the first use of a log makes its own."""
    return [table for table in TABLES if await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", table)]
