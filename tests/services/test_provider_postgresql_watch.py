"""The one connection of the provider in PostgreSQL: requests, notifications, and how a watch ends."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from inaho.core.provisioning.founding import ClusterRecord
from inaho.errors import ProviderStreamFailed, ProviderUnreachable
from inaho.providers.base import TopologyProvider
from support.topology_servers import PostgresTopologyServer, TopologyProviders, member

pytestmark = pytest.mark.integration

GUIDE = Path(__file__).parents[2] / "docs" / "providers" / "postgresql.md"
LIMIT_S = 20.0
TTL_S = 60.0
RECORD = ClusterRecord("0123456789abcdef", 1, "127.0.0.1:1", "node1")
USER = PostgresTopologyServer.USER


async def begun(provider: TopologyProvider, watch: AsyncIterator[Any]) -> asyncio.Future[Any]:
    """The next item of a watch, which has done its first read: requests are served in the order of their beginning."""
    hint = asyncio.ensure_future(anext(watch))
    for _ in range(2):
        await provider.check()
    return hint


async def test_the_table_of_the_guide_is_the_one_that_a_node_makes(
    postgres_topology: PostgresTopologyServer, providers: TopologyProviders
) -> None:
    shape = (
        "SELECT attname, format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid), "
        "obj_description(attrelid) FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum "
        "WHERE attrelid = 'inaho_topology'::regclass AND attnum > 0 ORDER BY attnum"
    )
    provider = providers.make()
    await provider.register(member(1), TTL_S)
    made = postgres_topology.execute(shape)
    postgres_topology.clear()
    create, block = re.findall(r"```sql\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
    postgres_topology.execute(create, f"GRANT SELECT, INSERT, UPDATE, DELETE ON inaho_topology TO {USER}")
    assert postgres_topology.execute(shape) == made
    await provider.check()
    await provider.register(member(1), TTL_S)
    position = (await provider.read()).position
    async with aclosing(provider.watch(position)) as watch:
        hint = await begun(provider, watch)
        postgres_topology.execute(block)
        async with asyncio.timeout(LIMIT_S):
            assert await hint is None
    assert (await provider.read()).blocked_nodes == ("10.0.0.7:7700",)


async def test_a_connection_that_is_made_after_the_end_is_ended(
    postgres_topology: PostgresTopologyServer, providers: TopologyProviders
) -> None:
    provider = providers.make(timeout_s=LIMIT_S)
    postgres_topology.pause()
    try:
        read = asyncio.create_task(provider.read())
        for _ in range(50):
            await asyncio.sleep(0)  # it connects: the system accepts for the server
        assert not read.done()
        await provider.close()
    finally:
        postgres_topology.resume()
    with pytest.raises(ProviderUnreachable, match="closed"):
        await read
    async with asyncio.timeout(LIMIT_S):
        count = f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{USER}'"
        while postgres_topology.execute(count) != "0\n":
            await asyncio.sleep(0.02)


async def test_a_provider_has_one_connection(
    postgres_topology: PostgresTopologyServer, providers: TopologyProviders
) -> None:
    provider = providers.make()
    found = await provider.read()
    async with aclosing(provider.watch(found.position)) as watch:
        waiting = asyncio.ensure_future(anext(watch))
        await asyncio.gather(*(provider.read() for _ in range(5)), provider.check(), provider.read_record())
        count = f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{USER}'"
        assert postgres_topology.execute(count) == "1\n"
        waiting.cancel()
        await asyncio.wait([waiting])


async def test_changes_of_others_are_notified_and_renewals_are_not(
    postgres_topology: PostgresTopologyServer, providers: TopologyProviders
) -> None:
    provider, other, neighbour = providers.make(), providers.make(), providers.make(cluster="bakery")
    await other.register(member(2), TTL_S)
    position = (await provider.read()).position
    async with aclosing(provider.watch(position)) as watch:
        hint = await begun(provider, watch)
        await other.renew(member(2), TTL_S)
        await neighbour.register(member(3, cluster="bakery"), TTL_S)
        await other.write_record(RECORD, "")
        for _ in range(5):  # a notification arrives with or before the answer to a later request
            await provider.check()
        assert not hint.done()
        await other.deregister()
        async with asyncio.timeout(LIMIT_S):
            assert await hint is None
        assert (await provider.read()).members == ()


async def test_a_watch_ends_with_its_connection(
    postgres_topology: PostgresTopologyServer, providers: TopologyProviders
) -> None:
    provider = providers.make()
    position = (await provider.read()).position
    async with aclosing(provider.watch(position)) as watch:
        hint = await begun(provider, watch)
        postgres_topology.kill()
        try:
            async with asyncio.timeout(LIMIT_S):
                with pytest.raises(ProviderStreamFailed, match="ended the connection"):
                    await hint
        finally:
            postgres_topology.start()
    assert (await provider.read()).position == position


async def test_a_watch_of_a_silent_server_ends_with_the_next_request(
    postgres_topology: PostgresTopologyServer, providers: TopologyProviders
) -> None:
    provider = providers.make(timeout_s=0.5)
    position = (await provider.read()).position
    async with aclosing(provider.watch(position)) as watch:
        hint = await begun(provider, watch)
        postgres_topology.pause()
        try:
            with pytest.raises(ProviderUnreachable):
                await provider.read()
            with pytest.raises(ProviderStreamFailed):
                await hint
        finally:
            postgres_topology.resume()
