"""A member that leaves while nobody keeps the logs of its topics, or none can be reached, ends all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from inaho.errors import InahoError, ShuttingDown
from inaho.testing.cluster.sim_cluster import SimCluster
from support.durable_topics import Order, make, publish

KEYS = [f"k{number}" for number in range(9)]


def leaving() -> list[str]:
    """The Tasks in which consumers say that they end."""
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name() == "inaho-consumer-leave"]


async def publish_on(topic: Any, key: str) -> None:
    """Publishes again and again, whatever happens to single messages."""
    number = 0
    while True:
        try:
            await topic.publish(Order(key, number), key=key)
        except ShuttingDown:
            return
        except InahoError:
            pass
        number += 1
        await asyncio.sleep(0.05)


async def consume(topic: Any, opened: asyncio.Event, handle: Callable[[Any], Awaitable[None]]) -> None:
    with suppress(InahoError):
        async with topic.subscribe("group", start="earliest") as messages:
            opened.set()
            async for message in messages:
                await handle(message)


def test_a_member_ends_in_time_though_its_program_publishes_to_a_log_that_is_cut_off():
    with SimCluster(nodes=3, seed=1) as sim:

        async def story() -> None:
            topic = await make(sim.node(0), partitions=3, when_cut_off="queue")
            tasks = [asyncio.ensure_future(publish_on(topic, key)) for key in KEYS]
            await asyncio.sleep(1.0)
            sim.partition({0}, {1, 2})
            await asyncio.sleep(0.1)
            leaving = asyncio.ensure_future(sim._nodes[0].stop())
            done, _ = await asyncio.wait([leaving], timeout=20.0)  # drain_s is 10, and each later step has 2 s
            for task in tasks:
                task.cancel()
            assert done, "the member waits for publishers that never end"

        sim.run(story(), within_s=200.0)


def test_the_last_member_waits_for_no_keeper():
    with SimCluster(nodes=1, seed=1) as sim:

        async def story() -> None:
            topic = await make(sim.node(0), partitions=3)
            opened = asyncio.Event()

            async def handle(message: Any) -> None:
                await asyncio.sleep(1000.0)

            consumer = asyncio.ensure_future(consume(topic, opened, handle))
            await opened.wait()
            await publish(topic, KEYS, 1)
            async with asyncio.timeout(1.0):
                await sim._nodes[0].stop()
            consumer.cancel()

        sim.run(story(), within_s=200.0)


def test_a_consumer_whose_end_is_cancelled_leaves_nothing_behind():
    with SimCluster(nodes=3, seed=1) as sim:

        async def story() -> None:
            topic = await make(sim.node(0), partitions=3)
            opened, working = asyncio.Event(), asyncio.Event()

            async def handle(message: Any) -> None:
                working.set()
                await asyncio.sleep(1000.0)

            consumer = asyncio.ensure_future(consume(topic, opened, handle))
            await opened.wait()
            await publish(topic, KEYS, 3)
            await working.wait()
            sim.partition({0}, {1, 2})
            consumer.cancel()  # the end of `async with` tells the keepers
            await asyncio.sleep(0.5)
            assert leaving(), "the consumer does not say that it ends"
            consumer.cancel()
            await sim._nodes[0].stop()
            await asyncio.sleep(5.0)
            assert not leaving(), "the consumer ends for ever"

        sim.run(story(), within_s=200.0)
