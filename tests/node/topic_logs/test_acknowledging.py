"""How consumers tell keepers what they have handled: acknowledgements share calls, and none is waited for. Virtual."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from inaho.runtime.topic_logs.keeper_messages import DeliveryNumber, Settlement
from inaho.runtime.topic_logs.partition_group import PartitionGroup
from inaho.testing.cluster.sim_cluster import SimCluster
from support.durable_topics import Order, make


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Acknowledgements of each call that has reached a keeper."""
    counts: list[int] = []
    right: Callable[[PartitionGroup, Settlement], list[DeliveryNumber]] = PartitionGroup.settle

    def settle(self: PartitionGroup, settlement: Settlement) -> list[DeliveryNumber]:
        counts.append(len(settlement.acked))
        return right(self, settlement)

    monkeypatch.setattr(PartitionGroup, "settle", settle)
    return counts


async def handle(sim: SimCluster, window: int, count: int, work_s: float) -> float:
    """Publishes messages at once, and works on each before it acknowledges it. Returns the seconds that it took."""
    topic = await make(sim.node(0), partitions=1)
    async with topic.subscribe("group", window=window) as messages:
        await asyncio.gather(*(topic.publish(Order("", number)) for number in range(count)))
        began = sim.time
        for _ in range(count):
            message = await anext(messages)
            await asyncio.sleep(work_s)
            await message.ack()
        return sim.time - began


def test_acknowledgements_that_come_one_by_one_share_calls(settled: list[int]):
    with SimCluster(nodes=1, seed=1) as sim:
        sim.run(handle(sim, 100, 40, 0.0005))
    assert sum(settled) == 40
    assert len(settled) <= 20


def test_a_consumer_that_needs_new_messages_acknowledges_at_once(settled: list[int]):
    with SimCluster(nodes=1, seed=1) as sim:
        took_s = sim.run(handle(sim, 1, 40, 0.0))
    assert settled.count(1) == 40
    assert took_s < 40 * 0.003
