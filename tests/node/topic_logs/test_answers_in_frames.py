"""What keepers and the registry answer fits into a frame, however much there is and however long its texts are."""

from __future__ import annotations

import asyncio
from typing import Any

from inaho import Cluster, Grain, Message
from support.durable_topics import make
from support.waiting import until

FRAME_BYTES = 16 << 10
SMALL = {"transport": {"frame_bytes_max": FRAME_BYTES}, "pubsub": {"message_bytes_max": 8 << 10}}
KEYS = [f"k{number}" for number in range(100)]
LONG = "x" * 1000


class Never(Grain):
    """Fails with a long reason."""

    async def go(self) -> None:
        raise ValueError(LONG)


async def elsewhere(fleet: Any, *grains: Any, **pubsub: Any) -> Cluster:
    """A client: all keepers are on another node."""
    settings: dict[str, Any] = {**SMALL, "pubsub": {**SMALL["pubsub"], **pubsub}}
    await fleet.member(*grains, **settings)
    client: Cluster = await fleet.client(**settings)
    return client


async def test_lists_of_durable_sends(fleet: Any):
    cluster = await elsewhere(fleet, Never, send_attempts_max=1, send_partitions=2)
    calls = [cluster.grain(Never, f"{number}{'k' * 300}").go for number in range(100)]
    await asyncio.gather(*(cluster.send(call, durable=True, id=f"{'i' * 190}") for call in calls))
    await until(lambda: sum(each.dead for each in keepers(fleet)) == 100)
    dead = await cluster.dead_sends()
    assert 2 <= len(dead) < 100
    while dead := await cluster.dead_sends():
        assert len(await cluster.durable_sends()) >= 2
        assert len(await cluster.durable_sends(Never, dead[0].key)) == 1
        assert all(await asyncio.gather(*map(cluster.cancel_send, dead)))
    assert await cluster.durable_sends(Never) == []


def keepers(fleet: Any) -> list[Any]:
    node = fleet.clusters[0]._node
    return [each._sends for each in node.hosts["inaho.sends"].activations.values()]


async def test_the_list_of_topics(fleet: Any):
    cluster = await elsewhere(fleet, shards=1)
    names = sorted(f"{number:02}{'t' * 180}" for number in range(60))
    await asyncio.gather(*(cluster.topic(name, allow_no_subscribers=True) for name in names))
    assert [each.name for each in await cluster.topics()] == names


async def test_a_partition_with_many_subscriptions_and_consumers(fleet: Any):
    cluster = await elsewhere(fleet)
    topic = await make(cluster, partitions=1)
    names = sorted(f"{number:02}{'s' * 190}" for number in range(40))
    for name in names:
        async with topic.subscribe(name):
            pass
    crowd = [topic.subscribe(names[0]) for _ in range(200)]
    await asyncio.gather(*(each.start() for each in crowd))
    described = await topic.partition(0)
    assert [each.name for each in described.subscriptions] == names
    assert 10 < len(described.subscriptions[0].consumers) <= 200
    await asyncio.gather(*(each.close() for each in crowd))


async def test_messages_that_are_published_and_fail_together(fleet: Any):
    cluster = await elsewhere(fleet)
    topic = await cluster.topic("texts", str, delivery="at_least_once", partitions=1, retry_base_s=0.01)
    failing = dict.fromkeys(KEYS)
    handled: list[str] = []

    async def handle(message: Message[str]) -> None:
        if message.key in failing:
            del failing[message.key]
            await asyncio.sleep(0)
            raise ValueError(LONG)
        handled.append(message.key)

    async with topic.subscribe("group", handler=handle, concurrency=100):
        await asyncio.gather(*(topic.publish(LONG, key=key) for key in KEYS))
        await until(lambda: len(handled) == len(KEYS))
    assert sorted(handled) == sorted(KEYS) and not failing


async def test_a_replay(fleet: Any):
    cluster = await elsewhere(fleet)
    topic = await cluster.topic("texts", str, delivery="at_least_once", partitions=1)
    await asyncio.gather(*(topic.publish(LONG, key=key) for key in KEYS))
    async with topic.subscribe("follower", start="earliest"):
        assert sorted([message.key async for message in topic.replay()]) == sorted(KEYS)
