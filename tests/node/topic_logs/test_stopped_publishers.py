"""A node that stops leaves nobody waiting who publishes at least once or sends durably."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from inaho.errors import ShuttingDown
from support.durable_sends import Cart, begin
from support.durable_topics import Order, logs, make

WAYS = ["publish", "send"]


async def store(cluster: Any, topic: Any, way: str, number: int) -> None:
    key = f"k{number}"
    if way == "publish":
        await topic.publish(Order(key, number), key=key)
    else:
        await cluster.send(cluster.grain(Cart, key).add, "apple", durable=True)


async def outcomes(waiting: list[Awaitable[Any]]) -> list[Any]:
    async with asyncio.timeout(60.0):
        return await asyncio.gather(*waiting, return_exceptions=True)


@pytest.mark.parametrize("way", WAYS)
def test_what_is_on_its_way_when_the_node_stops_fails_and_may_be_stored(way: str):
    sim = begin(3)

    async def story() -> None:
        cluster = sim.node(0)
        topic = await make(cluster, partitions=3, when_cut_off="queue")
        for number in range(20):
            await store(cluster, topic, way, number)
        sim.partition({0}, {1, 2})
        waiting = [asyncio.ensure_future(store(cluster, topic, way, number)) for number in range(20)]
        await asyncio.sleep(0.1)
        await cluster._node.lifecycle.stop()
        failed = [each for each in await outcomes(waiting) if each is not None]
        assert failed and {type(each) for each in failed} == {ShuttingDown}
        assert all(each.maybe_executed for each in failed)
        assert not logs(cluster).busy

    sim.run(story(), within_s=200.0)
    sim.__exit__(None, None, None)


@pytest.mark.parametrize("way", WAYS)
async def test_what_was_not_begun_when_the_node_stops_fails(fleet: Any, way: str):
    cluster = await fleet.member(Cart)
    topic = await make(cluster, partitions=1)
    cart = cluster.grain(Cart, "a")
    waiting: Any = topic.publish(Order("a", 1)) if way == "publish" else cluster.send(cart.add, "x", durable=True)
    [task] = [
        each
        for each in cluster._node.local.tasks.running
        if each.get_name() in ("inaho-publish", "inaho-durable-sends")
    ]
    task.cancel()  # before its first step, as when the node stops
    async with asyncio.timeout(5.0):
        for lane in list(logs(cluster).busy):
            await lane.sending()
    [error] = await outcomes([waiting])
    assert isinstance(error, ShuttingDown) and not error.maybe_executed
    assert not logs(cluster).busy
