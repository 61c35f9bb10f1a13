"""What limits a topic is named by any member, with the figure that shows it: real load on real nodes, virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from inaho import Cluster
from inaho.core.pubsub.bottlenecks import BEHIND, FULL, LOG, MOVED, NETWORK, PUBLISHER, SUBSCRIBER
from inaho.runtime.operators.topic_bottlenecks import MemberBottleneck
from inaho.testing import SimCluster, StorageFaults

Load = Callable[[SimCluster], Awaitable[None]]

PUBLISHES, SUBSCRIBES, ASKS = 0, 1, 2


async def publish_until_stopped(topic: Any, each_s: float = 0.01, value: Any = 1) -> None:
    while True:
        await topic.publish(value)
        await asyncio.sleep(each_s)


async def read(messages: Any) -> None:
    async for message in messages:
        await message.ack()


async def bottleneck(sim: SimCluster, topic: str, because: str) -> MemberBottleneck:
    """What limits the topic, asked until it is for that reason."""
    cluster: Cluster = sim.node(ASKS)
    async with asyncio.timeout(20.0):
        while True:
            told = await cluster.bottlenecks(topic)
            assert not told.silent
            if told.found and told.found[0].because == because:
                return told.found[0]
            await asyncio.sleep(0.1)


@pytest.fixture
def sim(request: pytest.FixtureRequest) -> Any:
    slow = StorageFaults(slow=1.0, slow_s=getattr(request, "param", 0.0))
    with SimCluster(nodes=3, seed=1, storage_faults=slow if slow.slow_s else None) as started:
        yield started


def test_a_publisher_that_others_wait_for_is_named_and_a_topic_that_rests_is_not(sim: SimCluster):
    async def history() -> None:
        topic = await sim.node(PUBLISHES).topic("numbers", int)
        async with (await sim.node(SUBSCRIBES).topic("numbers", int)).subscribe() as messages:
            reads = asyncio.ensure_future(read(messages))
            publishes = asyncio.ensure_future(publish_until_stopped(topic))
            found = await bottleneck(sim, "numbers", MOVED)
            assert found.stage == PUBLISHER
            await asyncio.sleep(2.0)
            told = await sim.node(ASKS).bottlenecks("numbers")
            assert [each.authority for each in told.found] == [sim.authority(PUBLISHES), sim.authority(SUBSCRIBES)]
            assert all(90 <= each.figure <= 110 for each in told.found), "messages in one second"
            assert told.found[0].text == f"{told.found[0].figure} published or delivered in 1 s"
            publishes.cancel()
            await asyncio.sleep(2.5)
            assert (await sim.node(ASKS).bottlenecks("numbers")).found == ()
            reads.cancel()

    sim.run(history())


def test_a_network_that_is_cut_or_not_read_is_named(sim: SimCluster):
    async def history() -> None:
        topic = await sim.node(PUBLISHES).topic("blobs", bytes)
        async with (await sim.node(SUBSCRIBES).topic("blobs", bytes)).subscribe() as messages:
            reads = asyncio.ensure_future(read(messages))
            [connection] = [
                each
                for each in sim.node(SUBSCRIBES).runtime.acceptor.connections
                if each.peer.authority == sim.authority(PUBLISHES)
            ]
            transport: Any = connection._transport
            transport.pause_reading()
            publishes = asyncio.ensure_future(publish_until_stopped(topic, 0.01, bytes(100_000)))
            found = await bottleneck(sim, "blobs", "slow_node")
            assert (found.stage, found.authority) == (NETWORK, sim.authority(PUBLISHES))
            assert 0 < found.figure <= 110
            transport.resume_reading()
            await bottleneck(sim, "blobs", MOVED)
            sim.partition({PUBLISHES, ASKS}, {SUBSCRIBES})
            found = await cut_off(sim)
            assert (found.stage, found.because, found.authority) == (NETWORK, "cut_off", sim.authority(PUBLISHES))
            publishes.cancel()
            reads.cancel()

    sim.run(history())


async def cut_off(sim: SimCluster) -> MemberBottleneck:
    """What limits the topic once a member is cut off; that one does not answer, and is named."""
    async with asyncio.timeout(60.0):
        while True:
            told = await sim.node(ASKS).bottlenecks("blobs")
            if told.found and told.found[0].because == "cut_off":
                return told.found[0]
            assert {each.authority for each in told.silent} <= {sim.authority(SUBSCRIBES)}
            await asyncio.sleep(0.5)


@pytest.mark.parametrize("sim", [0.2], indirect=True, ids=["slow storage"])
def test_a_log_that_publishers_wait_for_is_named(sim: SimCluster):
    async def history() -> None:
        topic = await sim.node(PUBLISHES).topic("orders", int, delivery="at_least_once", partitions=1)
        async with (await sim.node(SUBSCRIBES).topic("orders", int)).subscribe("readers") as messages:
            reads = asyncio.ensure_future(read(messages))
            publishes = [asyncio.ensure_future(publish_until_stopped(topic)) for _ in range(4)]
            found = await bottleneck(sim, "orders", FULL)
            assert (found.stage, found.authority) == (LOG, sim.authority(PUBLISHES))
            assert 50 <= found.figure <= 100
            assert found.text == f"messages wait for log {found.figure} % of 1 s"
            for each in (*publishes, reads):
                each.cancel()

    sim.run(history())


def test_a_subscriber_that_is_too_slow_is_named_with_what_it_lost(sim: SimCluster):
    async def history() -> None:
        topic = await sim.node(PUBLISHES).topic("numbers", int)
        async with (await sim.node(SUBSCRIBES).topic("numbers", int)).subscribe(window=2):
            publishes = asyncio.ensure_future(publish_until_stopped(topic))
            found = await bottleneck(sim, "numbers", "slow_subscriber")
            assert (found.stage, found.authority) == (SUBSCRIBER, sim.authority(SUBSCRIBES))
            assert 0 < found.figure <= 110
            publishes.cancel()

    sim.run(history())


def test_a_subscription_that_is_behind_is_named_with_its_lag(sim: SimCluster):
    async def history() -> None:
        topic = await sim.node(PUBLISHES).topic("orders", int, delivery="at_least_once", partitions=1)
        async with (await sim.node(SUBSCRIBES).topic("orders", int)).subscribe("readers"):
            await asyncio.gather(*(topic.publish(number) for number in range(1500)))
            found = await bottleneck(sim, "orders", BEHIND)
            assert (found.stage, found.figure) == (SUBSCRIBER, 1500)

    sim.run(history())
