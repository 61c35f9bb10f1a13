"""A subscriber that hangs, raises, never reads or is stopped takes nothing from the others, at either delivery."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import inaho
from inaho.events import MessageDeadLettered, MessageRedelivered, MessagesDropped, TopicGap
from inaho.testing import SimCluster

COUNT = 200
KEYS = 5


async def topic_at(sim: SimCluster, index: int, delivery: str) -> inaho.Topic[int]:
    settings: dict[str, Any] = {"partitions": 1} if delivery == "at_least_once" else {}
    return await sim.node(index).topic("numbers", int, delivery=delivery, **settings)


async def misbehave(topic: inaho.Topic[int], how: str, began: asyncio.Event) -> None:
    """The bad one, of a group of its own; `stopped` hangs until its process is stopped."""
    name = "bad" if topic.definition.durable else ""
    while True:
        try:
            async with topic.subscribe(name, window=10) as messages:
                began.set()
                if how == "never reads":
                    await asyncio.Event().wait()
                async for _ in messages:
                    if how == "raises":
                        raise ArithmeticError("as a bad handler does")
                    await asyncio.Event().wait()
        except ArithmeticError:
            pass


@pytest.mark.parametrize("how", ["hangs", "raises", "never reads", "stopped"])
@pytest.mark.parametrize("delivery", ["at_most_once", "at_least_once"])
def test_a_bad_subscriber_disturbs_no_other(delivery: str, how: str):
    with SimCluster(nodes=3, seed=7) as sim:
        good: dict[int, list[inaho.Message[int]]] = {}

        async def read(index: int, began: asyncio.Event) -> None:
            topic = await topic_at(sim, index, delivery)
            taken = good[index] = []
            async with topic.subscribe(f"good-{index}" if topic.definition.durable else "") as messages:
                began.set()
                async for message in messages:
                    taken.append(message)
                    if topic.definition.durable:
                        await message.ack()

        async def story() -> None:
            topic = await topic_at(sim, 0, delivery)
            keeper = sim.authority(0)
            if delivery == "at_least_once":
                keeper = (await topic.partition(0)).authority
            [bad] = [index for index in (1, 2) if sim.authority(index) != keeper][:1]
            others = sorted({0, 1, 2} - ({bad} if how == "stopped" else set()))
            begun = [asyncio.Event() for _ in range(len(others) + 1)]
            tasks = [asyncio.ensure_future(read(index, begun[at])) for at, index in enumerate(others)]
            tasks.append(asyncio.ensure_future(misbehave(await topic_at(sim, bad, delivery), how, begun[-1])))
            await asyncio.gather(*(event.wait() for event in begun))
            if how == "stopped":
                sim.pause(bad, 8.0)
            for number in range(COUNT):
                await topic.publish(number, key=f"k{number % KEYS}")
                await asyncio.sleep(0.01)
            await sim.until(lambda: all(len(taken) == COUNT for taken in good.values()), within_s=3.0)
            for task in tasks:
                task.cancel()

        sim.run(story())
        for taken in good.values():
            assert len(taken) == COUNT
            assert {message.attempt for message in taken} == {1}
            assert not any(message.missed for message in taken)
            for key in range(KEYS):
                numbers = [message.value for message in taken if message.key == f"k{key}"]
                assert numbers == list(range(key, COUNT, KEYS))
        told = [each.event for each in sim.events]
        assert not [each for each in told if isinstance(each, TopicGap | MessageDeadLettered)]
        redelivered = {each.subscription for each in told if isinstance(each, MessageRedelivered)}
        assert redelivered <= {"bad"}
        dropped = sum(each.count for each in told if isinstance(each, MessagesDropped))
        assert dropped <= (COUNT if delivery == "at_most_once" else 0)
        sim.check()
