"""Requests and their signals through the handle of an installed extension, beside the user's own actors (SPEC BS-4)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import inaho
from inaho import ActorSystem, ClusterExtension, Grain, MemoryStorage, Timeout, TopologyUnavailable, method
from inaho.events import (
    ActivationFailed,
    ActivationStarted,
    ActivationTerminated,
    BlockListApplied,
    Event,
    RetryThrottled,
)
from inaho.testing.simulation.memory_transport import MemoryNetwork, MemoryTransport
from support.waiting import Eventually

SIGNALS = (ActivationStarted, ActivationFailed, ActivationTerminated, BlockListApplied, RetryThrottled)


class Echo(Grain):
    async def echo(self, text: str) -> str:
        return text

    async def stop(self) -> None:
        self.deactivate()

    @method(idempotent=True, attempt_timeout=0.1)
    async def silent(self) -> None:
        await asyncio.Event().wait()


class Broken(Grain):
    async def on_activate(self) -> None:
        raise ValueError("no")

    async def echo(self, text: str) -> str:
        return text


class Elsewhere(Grain):
    async def echo(self, text: str) -> str:
        return text


class Two:
    """Two actor systems with the cluster installed; the second one leaves when it is told to."""

    def __init__(self, first: ClusterExtension, second: ClusterExtension, end_second: Callable[[], Any]) -> None:
        self.first = first.cluster
        self.second = second.cluster
        self.end_second = end_second

    def key_at(self, cluster: inaho.Cluster, kind: type[Grain[Any]] = Echo) -> str:
        """A key that `cluster` owns."""
        owns, name = cluster.runtime.leases.owns, kind.inaho_kind.name
        return next(key for number in range(10_000) if owns(name, key := f"key-{number}"))


def installed(network: MemoryNetwork, storage: MemoryStorage, port: int) -> ClusterExtension:
    config = inaho.ClusterConfig(
        authority=f"127.0.0.1:{port}",
        seeds=("127.0.0.1:7700",),
        membership=inaho.MembershipConfig(update_period_s=0.01, join_retry_s=0.02, found_after_s=0.02),
        gossip=inaho.GossipConfig(interval_s=0.02),
        rpc=inaho.RpcConfig(retry_base_s=0.01, retry_attempts=3, retry_warnings_max=1, retry_warnings_period_s=1.0),
    )
    return ClusterExtension(config, grains=[Echo, Broken], storage=storage, transport=MemoryTransport(network))


def settled(cluster: inaho.Cluster) -> bool:
    return [member.status for member in cluster.members()] == [inaho.MemberStatus.UP] * 2


@pytest.fixture
async def two(eventually: Eventually) -> AsyncIterator[Two]:
    network, storage = MemoryNetwork(), MemoryStorage()
    first, second = installed(network, storage, 7700), installed(network, storage, 7701)
    async with ActorSystem("shop", extensions=[first]), contextlib.AsyncExitStack() as end:
        await end.enter_async_context(ActorSystem("other", extensions=[second]))
        await eventually(lambda: all(settled(each.cluster) for each in (first, second)))
        yield Two(first, second, end.aclose)


def metric(cluster: inaho.Cluster, name: str, **labels: str) -> float:
    """A metric of the handle, summed over what has these labels."""
    wanted = {label.replace("_", "."): value for label, value in labels.items()}
    return sum(value for found, value in cluster.metrics()[name] if wanted.items() <= found.items())


async def test_a_request_asks_the_cache_first_and_resolves_on_a_miss(two: Two):
    key = two.key_at(two.second)
    grain = two.first.grain(Echo, key)
    assert await grain.echo("one") == "one"
    misses = metric(two.first, "inaho.pid_cache.misses")
    assert misses > 0 and metric(two.first, "inaho.pid_cache.entries") == 1
    hits = metric(two.first, "inaho.pid_cache.hits")
    assert await grain.echo("two") == "two"
    assert metric(two.first, "inaho.pid_cache.misses") == misses
    assert metric(two.first, "inaho.pid_cache.hits") == hits + 1
    assert metric(two.first, "inaho.rpc.client.call.duration.bucket", inaho_kind="Echo", le="+Inf") == 2
    assert metric(two.second, "inaho.activations", inaho_kind="Echo") == 1


async def test_a_time_out_is_retried_counted_and_told(two: Two):
    with two.first.system.events.subscribe(RetryThrottled) as throttled:
        with pytest.raises(Timeout):
            await two.first.grain(Echo, two.key_at(two.second)).silent()
        assert metric(two.first, "inaho.rpc.client.retries", inaho_kind="Echo") == 2
        assert metric(two.first, "inaho.rpc.client.timeouts", inaho_kind="Echo") == 1
        told = await asyncio.wait_for(anext(throttled), 10)
        assert (told.kind, told.suppressed) == ("Echo", 1)


async def test_a_resolution_that_fails_is_an_error_and_counted(two: Two):
    with pytest.raises(TopologyUnavailable):
        await two.first.grain(Elsewhere, "a", timeout=0.3).echo("text")
    assert metric(two.first, "inaho.rpc.client.unresolved") >= 1


async def test_a_departed_node_takes_its_entries_with_it(two: Two, eventually: Eventually):
    assert await two.first.grain(Echo, key := two.key_at(two.second)).echo("there") == "there"
    assert metric(two.first, "inaho.pid_cache.entries") == 1
    await two.end_second()
    await eventually(lambda: metric(two.first, "inaho.pid_cache.entries") == 0)
    assert await two.first.grain(Echo, key).echo("here") == "here"


async def test_signals_of_activations_reach_the_system_on_which_it_is_installed(two: Two, eventually: Eventually):
    seen: list[Event] = []
    two.first.system.events.subscribe_callback(SIGNALS, seen.append)

    def kinds() -> list[type[Event]]:
        return [type(event) for event in seen]

    here, there = two.key_at(two.first), two.key_at(two.second)
    await two.first.grain(Echo, here).echo("text")
    assert kinds() == [ActivationStarted]
    with pytest.raises(inaho.ActivationFailed):
        await two.first.grain(Broken, two.key_at(two.first, Broken)).echo("text")
    assert kinds() == [ActivationStarted, ActivationFailed]
    await eventually(lambda: len(two.second._terminations._listeners) == 1)
    await two.first.grain(Echo, there).stop()
    await eventually(lambda: kinds()[2:] == [ActivationTerminated])
    assert str(seen[2].identity) == f"Echo/{there}"  # type: ignore[attr-defined]
    await two.second.block(two.second.authority)
    await eventually(lambda: kinds()[3:] == [BlockListApplied])
    assert metric(two.first, "inaho.block_list.size") == 1
