"""What was published before a topic had a subscription is kept for the first one, within the quota."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import inaho
from inaho.errors import TopicFull
from inaho.events import BacklogFull, MessagesDropped
from inaho.testing.cluster.sim_cluster import SimCluster
from support.topic_logs import check_keepers, events

LONG_S = 30.0
"""Longer than any save or trim takes to begin."""


async def orders_at(sim: SimCluster, index: int, **settings: Any) -> inaho.Topic[int]:
    return await sim.node(index).topic("orders", int, delivery="at_least_once", partitions=1, dedup_s=0.0, **settings)


async def kill_the_keeper(sim: SimCluster, orders: inaho.Topic[int]) -> inaho.Topic[int]:
    """The topic at another node."""
    keeper = (await orders.partition(0)).authority
    [index] = [each for each in range(3) if sim.authority(each) == keeper]
    sim.crash(index)
    await asyncio.sleep(LONG_S)
    return await orders_at(sim, (index + 1) % 3)


async def read(topic: inaho.Topic[int], count: int, name: str = "table", start: Any = "earliest") -> list[int]:
    """Reads and acknowledges so many messages."""
    found: list[int] = []
    async with asyncio.timeout(60.0), topic.subscribe(name, start=start) as messages:
        while len(found) < count:
            message = await anext(messages)
            found.append(message.value)
            await message.ack()
    return found


@pytest.mark.parametrize("moves", [False, True])
def test_messages_wait_for_the_first_subscription(moves: bool):
    with SimCluster(nodes=3, seed=1) as sim:

        async def story() -> None:
            orders = await orders_at(sim, 0)
            for number in range(5):
                await orders.publish(number, key="k")
                await asyncio.sleep(LONG_S)
            if moves:
                orders = await kill_the_keeper(sim, orders)
                await orders.publish(5, key="k")
                await asyncio.sleep(LONG_S)
            expected = list(range(6 if moves else 5))
            assert ((await orders.partition(0)).first, (await orders.partition(0)).end) == (0, len(expected))
            assert await read(orders, len(expected)) == expected
            await asyncio.sleep(LONG_S)
            assert (await orders.partition(0)).first == len(expected), "what was acknowledged is not trimmed"

        sim.run(story())
        check_keepers(sim)


@pytest.mark.parametrize("moves", [False, True])
def test_when_the_last_subscription_is_deleted_nothing_is_kept_any_more(moves: bool):
    with SimCluster(nodes=3, seed=2) as sim:

        async def story() -> None:
            orders = await orders_at(sim, 0)
            await orders.publish(0)
            assert await read(orders, 1) == [0]
            assert await orders.delete_subscription("table")
            if moves:
                orders = await kill_the_keeper(sim, orders)
            for number in range(1, 4):
                await orders.publish(number)
            await asyncio.sleep(LONG_S)
            assert ((await orders.partition(0)).first, (await orders.partition(0)).end) == (4, 4)

        sim.run(story())
        check_keepers(sim)


def test_a_retention_says_how_long_messages_stay_without_a_subscription():
    with SimCluster(nodes=2, seed=3) as sim:

        async def story() -> None:
            orders = await orders_at(sim, 0, retention_s=100.0, backlog_max=3)
            for number in range(6):
                await orders.publish(number)
                await asyncio.sleep(LONG_S)
            await asyncio.sleep(10.0)
            kept = [message.value async for message in orders.replay("earliest")]
            assert kept == list(range(6))[-len(kept) :] and 3 <= len(kept) <= 4

        sim.run(story())
        check_keepers(sim)


def test_a_full_topic_without_a_subscription_refuses_and_says_why():
    with SimCluster(nodes=2, seed=4) as sim:

        async def story() -> None:
            orders = await orders_at(sim, 0, backlog_max=10)
            for number in range(10):
                await orders.publish(number)
            with pytest.raises(TopicFull, match="has never had a subscription"):
                await orders.publish(10)
            assert await read(orders, 10) == list(range(10))
            await orders.publish(11)
            assert await read(orders, 1) == [11]

        sim.run(story())
        assert [(each.policy, each.subscription) for each in events(sim, BacklogFull)] == [("reject", "")]
        check_keepers(sim)


def test_a_full_topic_without_a_subscription_drops_the_oldest_and_counts():
    with SimCluster(nodes=2, seed=5) as sim:

        async def story() -> None:
            orders = await orders_at(sim, 0, backlog_max=10, backlog_policy="drop_oldest")
            for number in range(25):
                await orders.publish(number)
            await asyncio.sleep(LONG_S)
            assert (await orders.partition(0)).first == 15
            assert (await orders.partition(0)).dropped == 15
            assert await read(orders, 10) == list(range(15, 25))

        sim.run(story())
        assert sum(each.count for each in events(sim, MessagesDropped)) == 15
        assert {each.reason for each in events(sim, MessagesDropped)} == {"backlog"}
        check_keepers(sim)


def test_a_first_subscription_that_begins_with_the_next_message_frees_the_rest():
    with SimCluster(nodes=2, seed=6) as sim:

        async def story() -> None:
            orders = await orders_at(sim, 0)
            for number in range(5):
                await orders.publish(number)
            async with orders.subscribe("table", start="latest") as messages:
                await orders.publish(5)
                message = await anext(messages)
                assert message.value == 5
                await message.ack()
                await asyncio.sleep(LONG_S)
                assert (await orders.partition(0)).first == 6

        sim.run(story())
        check_keepers(sim)
