"""The stream of a provider in virtual time: reads, watch, registration, pauses after failures."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from inaho.config import ProvisioningConfig
from inaho.core.provisioning.snapshot import ProviderMember
from inaho.errors import ProviderStreamFailed, ProviderUnreachable
from inaho.providers.base import ProviderRead
from inaho.providers.memory import MemoryProvider, MemoryTopology
from inaho.providers.stream import ProviderStream
from inaho.testing.simulation.virtual_loop import VirtualLoop
from support.provider_streams import Observer

CONFIG = ProvisioningConfig()
ME = ProviderMember("10.0.0.1:7700", "a", cluster="shop")
OTHER = ProviderMember("10.0.0.2:7700", "b", cluster="shop")
UNJITTERED = 0.0
SOON_S = 1.0
"""Within which a watch that works reports a change: far below `read_period_s`."""


class Counting(MemoryProvider):
    """Counts requests; `refuses` makes reads raise what no provider should."""

    def __init__(self, topology: MemoryTopology) -> None:
        super().__init__("near", topology)
        self.reads: list[float] = []
        self.watches = 0
        self.registers = 0
        self.renewals: list[float] = []
        self.refuses: Exception | None = None

    async def read(self) -> ProviderRead:
        self.reads.append(now())
        if self.refuses is not None:
            raise self.refuses
        return await super().read()

    async def watch(self, position: str) -> AsyncGenerator[ProviderRead | None, None]:
        self.watches += 1
        async for each in super().watch(position):
            yield each

    async def register(self, member: ProviderMember, ttl_s: float) -> None:
        self.registers += 1
        await super().register(member, ttl_s)

    async def renew(self, member: ProviderMember, ttl_s: float) -> bool:
        self.renewals.append(now())
        return await super().renew(member, ttl_s)


class Unwatched(Counting):
    """A back end without a watch."""

    capabilities = Counting.capabilities.__class__(register=True, read_period_s=2.0)


class Node:
    """A stream with its parts."""

    def __init__(self, topology: MemoryTopology, kind: type[Counting]) -> None:
        self.topology = topology
        self.provider = kind(topology)
        self.observer = Observer()
        self.member: ProviderMember | None = ME
        self.stream = ProviderStream(self.provider, CONFIG, self.observer, lambda: UNJITTERED, lambda: self.member)

    async def reports(self, *authorities: str, limit_s: float = SOON_S) -> float:
        """How long it takes until these are the members of the newest read."""
        return await self.observer.until(lambda: self.observer.members == set(authorities), limit_s)


def now() -> float:
    return asyncio.get_running_loop().time()


def virtual(scenario: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Runs a test in virtual time."""

    def run() -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(scenario())

    run.__name__, run.__doc__ = scenario.__name__, scenario.__doc__
    return run


@asynccontextmanager
async def running(kind: type[Counting] = Counting) -> AsyncGenerator[Node]:
    node = Node(MemoryTopology(), kind)
    task = asyncio.ensure_future(node.stream.run())
    try:
        await node.reports(ME.authority)
        await asyncio.sleep(1.0)  # the reads of the beginning are over
        yield node
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait([task])


def steps(times: list[float]) -> list[float]:
    return [round(later - earlier, 3) for earlier, later in itertools.pairwise(times)]


@virtual
async def test_a_change_is_reported_at_once() -> None:
    async with running() as node:
        node.topology.write_member(OTHER.authority, '{"authority": "10.0.0.2:7700"}')
        await node.reports(ME.authority, OTHER.authority)
        node.topology.expire(OTHER.authority)
        await node.reports(ME.authority)


@virtual
async def test_all_is_read_each_period_and_the_registration_is_renewed_each_third_of_its_life() -> None:
    async with running() as node:
        await asyncio.sleep(3.0)
        node.provider.reads.clear()
        node.provider.renewals.clear()
        await asyncio.sleep(50.0)  # less than `silence_s`, after which a watch that had nothing to say is begun again
        assert set(steps(node.provider.reads)) == {CONFIG.read_period_s}
        assert set(steps(node.provider.renewals)) == {CONFIG.ttl_s / 3}
        assert node.provider.registers == 1
        assert node.observer.failures == []


@virtual
async def test_without_a_watch_the_back_end_says_how_often_it_is_read() -> None:
    async with running(Unwatched) as node:
        node.provider.reads.clear()
        await asyncio.sleep(30.0)
        assert set(steps(node.provider.reads)) == {2.0}
        assert node.provider.watches == 0


@virtual
async def test_a_watch_that_is_lost_without_a_sign_hides_nothing_for_longer_than_a_period() -> None:
    async with running() as node:
        node.topology.lose_watches()
        node.topology.write_member(OTHER.authority, '{"authority": "10.0.0.2:7700"}')
        assert await node.reports(ME.authority, OTHER.authority, limit_s=CONFIG.read_period_s + SOON_S) > SOON_S


@virtual
async def test_a_silent_watch_is_begun_again() -> None:
    async with running() as node:
        node.topology.lose_watches()
        await asyncio.sleep(CONFIG.silence_s + CONFIG.read_period_s + SOON_S)
        node.topology.write_member(OTHER.authority, '{"authority": "10.0.0.2:7700"}')
        await node.reports(ME.authority, OTHER.authority)
        assert node.observer.failures == []


@pytest.mark.parametrize("loss", ["drop_watches", "rewind"])
def test_a_watch_that_ends_is_reported_and_begun_again(loss: str) -> None:
    @virtual
    async def scenario() -> None:
        async with running() as node:
            await node.observer.until(lambda: node.topology.watches == 1, SOON_S)
            getattr(node.topology, loss)()
            await node.observer.until(lambda: node.observer.failures, SOON_S)
            ((_, error),) = node.observer.failures
            assert isinstance(error, ProviderStreamFailed)
            await node.observer.until(lambda: node.topology.watches == 1, 2 * CONFIG.back_off_min_s)
            node.topology.write_member(OTHER.authority, '{"authority": "10.0.0.2:7700"}')
            await node.reports(ME.authority, OTHER.authority)

    scenario()


@virtual
async def test_a_registration_that_is_gone_is_written_again() -> None:
    async with running() as node:
        for _ in range(3):
            node.topology.expire(ME.authority)
            await node.observer.until(lambda: node.topology.members() == (), SOON_S)
            await node.reports(ME.authority, limit_s=SOON_S)
            assert node.stream.registered.is_set()


@virtual
async def test_the_entry_of_another_process_is_not_overwritten() -> None:
    async with running() as node:
        await MemoryProvider("far", node.topology).register(ProviderMember(ME.authority, "newer"), 600.0)
        await node.observer.until(lambda: node.observer.others, CONFIG.ttl_s)
        assert node.observer.others[0].node_id == "newer"
        await asyncio.sleep(60.0)
        assert [text for _, text in node.topology.members() if '"newer"' in text]
        assert not node.stream.registered.is_set()
        # When that one is gone, this node is registered again.
        node.topology.expire(ME.authority)
        await node.observer.until(lambda: '"a"' in str(node.topology.members()), CONFIG.ttl_s)


@virtual
async def test_a_changed_entry_is_written_at_once() -> None:
    async with running() as node:
        node.member = ProviderMember(ME.authority, "a", cluster="shop", quarantined=("10.9.9.9:1",))
        node.stream.member_changed()
        await node.observer.until(lambda: "10.9.9.9:1" in str(node.topology.members()), SOON_S)


@virtual
async def test_a_node_that_is_no_member_does_not_register() -> None:
    async with running() as node:
        await node.stream.deregister()
        node.member = None
        assert node.topology.members() == ()
        await asyncio.sleep(60.0)
        assert node.topology.members() == ()


@virtual
async def test_failures_are_reported_with_pauses_that_double_and_all_goes_on_afterwards() -> None:
    async with running(Unwatched) as node:
        node.provider.refuses = ProviderUnreachable("away")
        node.provider.reads.clear()
        await asyncio.sleep(200.0)
        assert steps(node.provider.reads)[:7] == [2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
        assert {str(error) for _, error in node.observer.failures} == {str(ProviderUnreachable("away"))}
        node.provider.refuses = None
        node.observer.reads.clear()
        await node.reports(ME.authority, limit_s=CONFIG.back_off_max_s + SOON_S)


@virtual
async def test_a_server_that_stands_still_fails_requests_and_is_used_again() -> None:
    async with running() as node:
        node.topology.pause()
        await asyncio.sleep(60.0)
        assert node.observer.failures
        assert all(isinstance(error, ProviderUnreachable) for _, error in node.observer.failures)
        node.topology.resume()
        await node.reports(ME.authority, limit_s=CONFIG.back_off_max_s + SOON_S)
        await node.observer.until(node.stream.registered.is_set, CONFIG.back_off_max_s + SOON_S)
        node.topology.write_member(OTHER.authority, '{"authority": "10.0.0.2:7700"}')
        await node.reports(ME.authority, OTHER.authority, limit_s=CONFIG.read_period_s + SOON_S)


@virtual
async def test_what_no_provider_should_raise_is_a_failure_of_it() -> None:
    async with running() as node:
        node.provider.refuses = KeyError("a mistake in a provider")
        await node.observer.until(lambda: node.observer.failures, CONFIG.read_period_s + SOON_S)
        _, error = node.observer.failures[0]
        assert isinstance(error, ProviderStreamFailed)
        assert "provider near" in error.reason
        node.provider.refuses = None
        node.observer.reads.clear()
        await node.reports(ME.authority, limit_s=CONFIG.back_off_max_s + SOON_S)


@virtual
async def test_many_changes_cost_few_reads() -> None:
    async with running() as node:
        await asyncio.sleep(1.0)
        node.observer.reads.clear()
        node.provider.reads.clear()
        for number in range(1000):
            node.stream.read_soon()
            if not number % 100:
                await asyncio.sleep(0.01)
        await asyncio.sleep(1.0)
        assert len(node.provider.reads) <= 1.0 / CONFIG.read_pause_s + 1
