"""A subscription is moved while its consumers hold messages: it continues there, with each message once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from inaho import Message
from inaho.errors import NoSuchSubscription, SubscriptionLost
from inaho.testing.cluster.sim_cluster import SimCluster
from support.durable_topics import Order, make, publish

KEYS = ["a", "b", "c", "d", "e", "f"]
PARTITIONS = 4
HALF = 10


class Consumers:
    """Two consumers of one group, which can be held while they work on a message.

    Attributes:
        taken: who has got which message, in this order.
        void: acknowledgements that came too late.
    """

    def __init__(self) -> None:
        self.taken: list[tuple[int, Message[Order]]] = []
        self.void = 0
        self.go_on = asyncio.Event()

    async def consume(self, who: int, topic: Any) -> None:
        async with topic.subscribe("group", start="earliest", window=40) as messages:
            async for message in messages:
                self.taken.append((who, message))
                await asyncio.sleep(0.01)
                await self.go_on.wait()
                try:
                    await message.ack()
                except SubscriptionLost:
                    self.void += 1


async def lag(topic: Any) -> int:
    partitions = [await topic.partition(number) for number in range(PARTITIONS)]
    return sum(each.lag for partition in partitions for each in partition.subscriptions)


def numbers(messages: list[Message[Order]]) -> list[tuple[int, int]]:
    return sorted((message.partition, message.sequence) for message in messages)


@pytest.mark.parametrize("place", ["earliest", "offsets", "time", "latest"])
def test_a_subscription_that_is_moved_gets_each_message_from_there_once(place: str):
    with SimCluster(nodes=3, seed=5) as sim:

        async def story() -> None:
            topics = [await make(sim.node(at), partitions=PARTITIONS, retention_s=1000.0) for at in (0, 1)]
            await publish(topics[0], KEYS, HALF)
            await asyncio.sleep(10.0)
            await publish(topics[0], KEYS, HALF, first=HALF)
            before = [message async for message in topics[0].replay()]
            between = min(each.published_at for each in before if each.value.number >= HALF) - 1.0
            group = Consumers()
            group.go_on.set()
            tasks = [asyncio.ensure_future(group.consume(who, topic)) for who, topic in enumerate(topics)]
            while len(group.taken) < HALF * len(KEYS):
                await asyncio.sleep(0.01)
            group.go_on.clear()
            await asyncio.sleep(1.0)  # both work on one message, and hold others
            parts = [await topics[1].partition(number) for number in range(PARTITIONS)]
            assert sum(each.in_flight for part in parts for each in part.subscriptions) > 2
            start: Any = {
                "offsets": dict.fromkeys(range(PARTITIONS), 5),
                "time": datetime.fromtimestamp(between, UTC),
            }.get(place, place)
            count = len(group.taken)
            await topics[1].seek("group", start)
            if place == "latest":
                await publish(topics[0], KEYS, 2, first=2 * HALF)
            everything = [message async for message in topics[0].replay()]
            wanted = {
                "earliest": everything,
                "offsets": [each for each in everything if each.sequence >= 5],
                "time": [each for each in everything if each.published_at >= between],
                "latest": [each for each in everything if each.value.number >= 2 * HALF],
            }[place]
            await asyncio.sleep(1.0)  # the consumers learn that what they hold is void
            group.go_on.set()
            while await lag(topics[0]):
                await asyncio.sleep(0.1)
            got = [message for _, message in group.taken[count:]]
            assert numbers(got) == numbers(wanted)
            assert {who for who, _ in group.taken[count:]} == {0, 1}
            for key in KEYS:
                of_key = [each.value.number for each in got if each.key == key]
                assert of_key == sorted(of_key)
            assert group.void == 2, "an acknowledgement of a void delivery succeeded"
            with pytest.raises(NoSuchSubscription, match="nobody"):
                await topics[0].seek("nobody", start)
            for task in tasks:
                task.cancel()

        sim.run(story(), within_s=200.0)
