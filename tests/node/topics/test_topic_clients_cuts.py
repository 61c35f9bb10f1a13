"""Clients that read a topic at most once through crashes and cuts: nothing comes twice or late, and ends are told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from inaho import Cluster
from inaho.events import MessagesDropped, TailUnknown
from inaho.testing import SimCluster


@pytest.fixture
def sim() -> Iterator[SimCluster]:
    with SimCluster(nodes=3, seed=1) as started:
        yield started
        started.check()


def told(sim: SimCluster, kind: Any) -> list[Any]:
    """Events of the client."""
    return [each.event for each in sim.events if isinstance(each.event, kind) and each.node < 0]


def place(sim: SimCluster, client: Cluster) -> int | None:
    """Index of the member through which the client reads."""
    delivery: Any = client.runtime.topics._direct
    member = delivery._place
    return None if member is None else [sim.authority(index) for index in range(3)].index(member.authority)


async def read(messages: Any, values: list[int]) -> None:
    async for message in messages:
        values.append(message.value)


async def publish(topic: Any, numbers: range) -> None:
    for number in numbers:
        await topic.publish(number)
        await asyncio.sleep(0.1)


def test_a_client_is_told_that_a_publisher_has_ended_unless_it_left_in_order(sim: SimCluster):
    client = sim.client()

    async def history() -> None:
        async with (await client.topic("numbers", int)).subscribe() as messages:
            others = [index for index in range(3) if index != place(sim, client)]
            for index in others:
                await (await sim.node(index).topic("numbers", int)).publish(1)
                await anext(messages)
            gone = sim.node(others[0]).runtime.local.node_id
            sim.crash(others[0])
            await sim.until(lambda: told(sim, TailUnknown), within_s=60.0)
            sim.leave(others[1])
            await sim.until(lambda: len(client.members()) == 1, within_s=60.0)
            await asyncio.sleep(5.0)
            [lost] = told(sim, TailUnknown)
            assert (lost.topic, lost.publisher) == ("numbers", gone)

    sim.run(history())


def test_what_another_member_still_has_under_way_does_not_reach_a_client_after_later_messages(sim: SimCluster):
    """The client has got it through its first member. It would come twice, and in another order."""
    client = sim.client()
    address = sim._clients[-1].address
    values: list[int] = []
    near: list[int] = []

    async def history() -> None:
        async with (await client.topic("numbers", int)).subscribe() as messages:
            readings = [asyncio.ensure_future(read(messages, values))]
            first = place(sim, client)
            publisher, second = [index for index in range(3) if index != first]
            own = (await sim.node(second).topic("numbers", int)).subscribe()
            await own.start()
            readings.append(asyncio.ensure_future(read(own, near)))
            topic = await sim.node(publisher).topic("numbers", int)
            sim.network.cut(address, sim.authority(publisher))
            sim.network.cut(sim.authority(publisher), address)
            sim.cut(publisher, second)
            await publish(topic, range(10))
            assert (values, near) == (list(range(10)), [])
            assert first is not None
            sim.crash(first)
            await sim.until(lambda: place(sim, client) == second, within_s=5.0)
            await asyncio.sleep(0.1)
            sim.heal(publisher, second)
            await publish(topic, range(10, 20))
            await sim.until(lambda: near == list(range(20)) and values[-1] == 19, within_s=5.0)
            assert values == list(range(20))
            for reading in readings:
                reading.cancel()

    sim.run(history())
    assert sum(each.count for each in told(sim, MessagesDropped) if each.reason == "out_of_order") == 10
