"""Keepers that move, and members that leave, are no failures of calls: nothing raises an alert."""

from __future__ import annotations

import asyncio
from typing import Any

from inaho import Cluster
from support.durable_topics import Order, make
from support.waiting import until


def failures(cluster: Cluster) -> dict[str, int]:
    """Failed calls by kind, of the kinds of the runtime."""
    hosts = cluster.runtime.hosts.values()
    return {host.name: host.failures for host in hosts if host.of_runtime and not host.system and host.failures}


async def test_keepers_that_move_to_new_members_and_from_leaving_ones_are_no_failures(fleet: Any):
    clusters = await fleet.members(3)
    handled: set[tuple[str, int]] = set()
    sent: set[tuple[str, int]] = set()
    await make(clusters[0], partitions=8)
    done = asyncio.Event()

    async def consume(cluster: Cluster) -> None:
        async with (await make(cluster)).subscribe("group", start="earliest") as messages:
            async for message in messages:
                await message.ack()
                handled.add((message.value.key, message.value.number))

    async def publish(cluster: Cluster) -> None:
        topic, number = await make(cluster), 0
        while not done.is_set():
            number += 1
            key = f"{cluster.authority}/{number % 10}"
            await topic.publish(Order(key, number), key=key)
            sent.add((key, number))
            await asyncio.sleep(0.001)

    async def handle_more(count: int) -> None:
        wanted = len(handled) + count
        await until(lambda: len(handled) >= wanted)

    consumers = [asyncio.ensure_future(consume(cluster)) for cluster in clusters[:2]]
    publishers = [asyncio.ensure_future(publish(cluster)) for cluster in clusters[:2]]
    for _ in range(2):
        await handle_more(20)
        joined = await fleet.member()
        await handle_more(20)
        await clusters.pop().close()
        clusters.append(joined)
    done.set()
    await asyncio.gather(*publishers)
    await until(lambda: handled == sent)
    for consumer in consumers:
        consumer.cancel()
    await asyncio.wait(consumers)
    assert [failures(cluster) for cluster in clusters] == [{}, {}, {}]
    assert any(cluster.runtime.hosts["inaho.topic-log"].calls for cluster in clusters)
