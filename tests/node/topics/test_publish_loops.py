"""Programs that publish in a loop: other Tasks run meanwhile, and a subscriber that takes all loses nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from inaho import Cluster

PUBLISHERS, EACH = 8, 1024


@asynccontextmanager
async def turns() -> AsyncIterator[list[int]]:
    """Counts the iterations of the loop in which another Task runs."""
    count = [0]

    async def run() -> None:
        while True:
            await asyncio.sleep(0)
            count[0] += 1

    task = asyncio.ensure_future(run())
    await asyncio.sleep(0)
    yield count
    task.cancel()


async def open_topic(cluster: Cluster, name: str) -> Any:
    return await cluster.topic(name, int, allow_no_subscribers=True)


async def test_a_loop_that_publishes_slowly_lets_other_tasks_run(fleet: Any) -> None:
    [member] = await fleet.members(1)
    topic = await open_topic(member, "numbers")
    async with turns() as count:
        for number in range(160):
            await topic.publish(number)
            time.sleep(0.0001)  # noqa: ASYNC251  the program computes something
        assert count[0] >= 9


async def test_a_loop_over_many_topics_lets_other_tasks_run(fleet: Any) -> None:
    [member] = await fleet.members(1)
    topics = [await open_topic(member, f"numbers-{number}") for number in range(320)]
    async with turns() as count:
        for topic in topics:
            await topic.publish(1)
        assert count[0] >= 4


async def test_a_loop_that_computes_within_a_batch_lets_other_tasks_run(fleet: Any) -> None:
    [member] = await fleet.members(1)
    topic = await open_topic(member, "numbers")
    async with turns() as count:
        for number in range(640):
            await topic.publish(number)
            if number % 32 == 16:
                time.sleep(0.003)  # noqa: ASYNC251  the program computes something
        assert count[0] >= 9


async def test_publishers_of_one_iteration_do_not_overflow_a_subscriber_that_takes_all(fleet: Any) -> None:
    [member] = await fleet.members(1)
    topic = await open_topic(member, "numbers")

    async def publish() -> None:
        for number in range(EACH):
            await topic.publish(number)

    async with topic.subscribe() as messages:

        async def take() -> int:
            count = 0
            async for _ in messages:
                count += 1
                if count == PUBLISHERS * EACH:
                    break
            return count

        taking = asyncio.ensure_future(take())
        await asyncio.sleep(0)
        await asyncio.gather(*(publish() for _ in range(PUBLISHERS)))
        async with asyncio.timeout(10.0):
            assert await taking == PUBLISHERS * EACH
        assert messages.dropped == 0
