"""The memory back end: topologies by name, faults that a test turns on, and time of the event loop."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator

import pytest

from inaho.core.provisioning.descriptor import parse_url
from inaho.core.provisioning.snapshot import ProviderMember
from inaho.errors import InvalidSnapshot, ProviderInvalid, ProviderStreamFailed, ProviderUnreachable
from inaho.providers.base import ProviderRead, TopologyProvider
from inaho.providers.memory import MemoryProvider, MemoryTopology
from inaho.providers.setup import ProviderSetup, Secrets
from support.waiting import until

WAIT_S = 5.0


def member(number: int = 1, node_id: str = "a") -> ProviderMember:
    return ProviderMember(f"10.0.0.{number}:7700", node_id, cluster="shop")


def provider(url: str = "memory://shop", timeout_s: float = WAIT_S) -> MemoryProvider:
    return MemoryProvider(ProviderSetup("near", parse_url(url), "shop", Secrets({}), timeout_s))


async def following(watch: AsyncIterator[ProviderRead | None]) -> ProviderRead:
    async with asyncio.timeout(WAIT_S):
        found = await anext(watch)
    assert found is not None
    return found


async def test_a_name_means_one_topology_while_somebody_holds_it() -> None:
    first, second, other = provider(), provider(), provider("memory://other")
    await first.register(member(), 60.0)
    assert (await second.read()).members == (member(),)
    assert (await other.read()).members == ()
    assert MemoryTopology.named("shop") is first.topology
    del first, second
    gc.collect()
    assert (await provider().read()).members == ()


async def test_a_url_without_name_means_the_topology_of_the_cluster() -> None:
    assert provider("memory://").topology is MemoryTopology.named("inaho/shop")


@pytest.mark.parametrize("url", ["memory://a,b", "memory://a/b", "memory://a?ttl=5"])
async def test_a_url_that_says_more_is_refused(url: str) -> None:
    with pytest.raises(ProviderInvalid, match="provider near"):
        provider(url)


async def test_requests_raise_the_error_that_is_set_and_work_again_without_it() -> None:
    one: TopologyProvider = MemoryProvider("near", topology := MemoryTopology())
    watch = one.watch((await one.read()).position)
    await one.register(member(), 60.0)
    await following(watch)
    topology.fail(ProviderUnreachable("the server is away"))
    with pytest.raises(ProviderUnreachable, match="away"):
        await one.read()
    with pytest.raises(ProviderUnreachable, match="away"):
        await following(watch)
    topology.fail(None)
    assert (await one.read()).members == (member(),)


async def test_a_pause_holds_requests_and_watches_back() -> None:
    one = MemoryProvider("near", topology := MemoryTopology())
    two = MemoryProvider("far", topology)
    watch = one.watch((await one.read()).position)
    await two.register(member(1), 60.0)
    await following(watch)
    topology.pause()
    reading = asyncio.ensure_future(one.read())
    watching = asyncio.ensure_future(anext(watch))
    registering = asyncio.ensure_future(two.register(member(2), 60.0))
    done, _ = await asyncio.wait([reading, watching, registering], timeout=0.05)
    assert not done
    topology.resume()
    async with asyncio.timeout(WAIT_S):
        await asyncio.gather(reading, registering)
        found = await watching
    assert found is not None
    assert found.members == (member(1), member(2))


async def test_a_paused_topology_does_not_answer_in_time() -> None:
    one = provider("memory://paused", timeout_s=0.01)
    one.topology.pause()
    with pytest.raises(ProviderUnreachable, match="not answered"):
        await one.check()


async def test_dropped_watches_end_and_lost_ones_stay_silent() -> None:
    one = MemoryProvider("near", topology := MemoryTopology())
    dropped = one.watch("1.0")
    waiting = asyncio.ensure_future(anext(dropped))
    await until(lambda: topology.watches == 1)
    topology.drop_watches()
    with pytest.raises(ProviderStreamFailed):
        await waiting
    lost = asyncio.ensure_future(anext(one.watch("1.0")))
    await until(lambda: topology.watches == 1)
    topology.lose_watches()
    fresh = one.watch("1.0")
    await one.register(member(), 60.0)
    assert (await following(fresh)).members == (member(),)
    assert not lost.done()
    await one.close()
    with pytest.raises(ProviderUnreachable, match="closed"):
        await lost


async def test_a_position_before_a_rewind_is_unknown() -> None:
    one = MemoryProvider("near", topology := MemoryTopology())
    position = (await one.read()).position
    waiting = asyncio.ensure_future(anext(one.watch(position)))
    await until(lambda: topology.watches == 1)
    topology.rewind()
    with pytest.raises(ProviderStreamFailed, match="history"):
        await waiting
    with pytest.raises(ProviderStreamFailed, match="history"):
        await anext(one.watch(position))
    await one.register(member(), 60.0)
    assert (await one.read()).members == (member(),)


async def test_an_expiry_is_a_change() -> None:
    one = MemoryProvider("near", MemoryTopology())
    await one.register(member(1), 60.0)
    await one.register(member(2), 0.02)
    watch = one.watch((await one.read()).position)
    assert (await following(watch)).members == (member(1),)


async def test_a_renewal_that_shortens_is_seen_by_an_open_watch() -> None:
    one = MemoryProvider("near", topology := MemoryTopology())
    await one.register(member(1), 60.0)
    waiting = asyncio.ensure_future(anext(one.watch((await one.read()).position)))
    await until(lambda: topology.watches == 1)
    assert await one.renew(member(1), 0.02)
    async with asyncio.timeout(WAIT_S):
        found = await waiting
    assert found is not None
    assert found.members == ()


async def test_a_damaged_entry_is_refused_and_is_nobodys_own() -> None:
    one = MemoryProvider("near", topology := MemoryTopology())
    topology.write_member("10.0.0.1:7700", "{")
    with pytest.raises(InvalidSnapshot, match=r"10\.0\.0\.1"):
        await one.read()
    assert not await one.renew(member(1), 60.0)
    await one.register(member(1), 60.0)
    assert (await one.read()).members == (member(1),)
