"""The provider in PostgreSQL passes the conformance suite."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from inaho.providers.base import TopologyProvider
from inaho.testing.provider_conformance import BackEnd, ProviderConformance
from support.topology_servers import PostgresTopologyServer, TopologyProviders

pytestmark = pytest.mark.integration


class _Postgres(BackEnd):
    """An operator, who notifies of what is changed."""

    def __init__(self, connection: Any, prefix: str) -> None:
        self._connection = connection
        self._prefix = prefix

    async def write_member(self, authority: str, text: str) -> None:
        await self._write(f"members/{authority}", text)

    async def remove_member(self, authority: str) -> None:
        await self._remove(f"members/{authority}")

    async def block(self, authority: str) -> None:
        await self._write(f"blocked/{authority}", "by us")

    async def unblock(self, authority: str) -> None:
        await self._remove(f"blocked/{authority}")

    async def _write(self, key: str, value: str) -> None:
        await self._notify("INSERT INTO inaho_topology (prefix, key, value) VALUES ($1, $2, $3)", key, value)

    async def _remove(self, key: str) -> None:
        await self._notify("DELETE FROM inaho_topology WHERE prefix = $1 AND key = $2", key)

    async def _notify(self, statement: str, *values: str) -> None:
        async with self._connection.transaction():
            await self._connection.execute(statement, self._prefix, *values)
            await self._connection.execute("SELECT pg_notify('inaho_topology', $1)", self._prefix)


class TestPostgresProvider(ProviderConformance):
    ttl_s = 0.2

    @pytest.fixture
    async def back_end(
        self, postgres_topology: PostgresTopologyServer, make_provider: Callable[[int], TopologyProvider], prefix: str
    ) -> AsyncIterator[BackEnd]:
        asyncpg = pytest.importorskip("asyncpg")
        postgres_topology.create_table()
        connection = await asyncpg.connect(
            host=str(postgres_topology.folder), port=postgres_topology.port, user="inaho", database="postgres"
        )
        yield _Postgres(connection, prefix)
        await connection.close()

    @pytest.fixture
    def make_provider(
        self, postgres_topology: PostgresTopologyServer, providers: TopologyProviders, prefix: str
    ) -> Callable[[int], TopologyProvider]:
        return lambda host: providers.make(f"?prefix={prefix}", timeout_s=5.0, cluster="conformance")
