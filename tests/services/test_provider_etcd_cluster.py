"""etcd of several servers: the next one is asked, a lost leader is noticed at once, leases survive a new leader."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing

import pytest
import pytest_asyncio

from inaho.core.provisioning.founding import ClusterRecord
from inaho.core.provisioning.snapshot import ProviderMember
from inaho.errors import ProviderError, ProviderUnreachable
from inaho.providers.base import TopologyProvider
from support.etcd_server import EtcdServer, EtcdServers
from support.provider_back_ends.etcd import EtcdBackEnd

pytestmark = pytest.mark.integration

PREFIX = "shop"
LIFETIME_S = 60.0
LIMIT_S = 20.0
TIMEOUT_S = 3.0
ME = ProviderMember("10.7.0.1:7700", "00000000000000a1", 1, ("Cart",), cluster="shop")
FIRST = ClusterRecord("00c0ffee00c0ffee", 1, ME.authority, ME.node_id)


@pytest.fixture
def servers() -> Iterator[EtcdServers]:
    """Three servers of one etcd."""
    made = EtcdServers(3)
    try:
        made.start()
        yield made
    finally:
        made.end()


@pytest_asyncio.fixture
async def provider(servers: EtcdServers) -> AsyncIterator[TopologyProvider]:
    back_end = EtcdBackEnd(servers.servers[0], PREFIX)
    made = back_end.provider_of(f"{servers.url}/{PREFIX}", timeout_s=TIMEOUT_S)
    yield made
    await made.close()


async def eventually_renewed(provider: TopologyProvider) -> bool:
    """The outcome of a renewal, once the servers have a leader."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            try:
                return await provider.renew(ME, LIFETIME_S)
            except ProviderUnreachable:
                await asyncio.sleep(0.02)


@pytest.mark.parametrize("fault", ["kill", "pause"])
async def test_the_next_server_is_asked(servers: EtcdServers, provider: TopologyProvider, fault: str) -> None:
    await provider.register(ME, LIFETIME_S)
    first = servers.servers[0]
    getattr(first, fault)()
    assert await eventually_renewed(provider)
    for _ in range(3):  # the server that has answered is asked first from now on
        assert (await provider.read()).members == (ME,)
    assert await provider.write_record(FIRST, "")
    if fault == "pause":
        first.resume()
    else:
        first.start()
    assert await provider.renew(ME, LIFETIME_S)


async def test_a_lost_leader_ends_the_watch_and_refuses_requests(
    servers: EtcdServers, provider: TopologyProvider
) -> None:
    await provider.register(ME, LIFETIME_S)
    position = (await provider.read()).position

    async def drain() -> None:
        async with aclosing(provider.watch(position)) as watch:
            async for _ in watch:
                pass

    watching = asyncio.ensure_future(drain())
    for _ in range(3):
        await provider.check()
    for each in servers.servers[1:]:
        each.kill()
    async with asyncio.timeout(LIMIT_S):
        with pytest.raises(ProviderError, match="no leader"):
            await watching
    with pytest.raises(ProviderUnreachable, match="no leader"):
        await provider.read()
    for each in servers.servers[1:]:
        each.launch()
    assert await eventually_renewed(provider)
    assert (await provider.read()).members == (ME,)


async def test_a_record_is_of_the_majority(servers: EtcdServers, provider: TopologyProvider) -> None:
    """A server that is cut off from the others neither tells an old record nor takes a new one."""
    await provider.check()
    alone: EtcdServer = servers.servers[0]
    for each in servers.servers[1:]:
        each.pause()
    cut_off = EtcdBackEnd(alone, PREFIX).provider(timeout_s=1.0)
    try:
        for request in (cut_off.read_record(), cut_off.write_record(FIRST, "")):
            with pytest.raises(ProviderUnreachable):
                await request
    finally:
        for each in servers.servers[1:]:
            each.resume()
        await cut_off.close()
    assert await eventually_renewed(provider) is False  # nothing was registered
