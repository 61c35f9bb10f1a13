"""Messages that fail for ever, and messages that are published twice, on whole nodes."""

from __future__ import annotations

import asyncio
from typing import Any

from inaho import Message
from inaho.core.pubsub.partitioning import partition_of_message
from inaho.events import MessageDeadLettered
from support.durable_topics import Handled, Order, make, publish
from support.waiting import until


async def test_a_message_that_always_fails_becomes_a_dead_letter_and_its_key_goes_on(fleet: Any):
    [one] = await fleet.members(1)
    topic = await make(one, partitions=1, attempts_max=3, retry_base_s=0.01, retry_max_s=0.01)
    handled, attempts = Handled(), []
    buried = one.events(MessageDeadLettered)

    async def handle(message: Message[Order]) -> None:
        if message.value == Order("a", 1):
            attempts.append(message.attempt)
            raise ValueError("never")
        handled.add(message)

    async with topic.subscribe("group", handler=handle, concurrency=2):
        await publish(topic, ["a"], 4)
        await until(lambda: len(handled.messages) == 3)
    assert attempts == [1, 2, 3]
    assert handled.numbers("a") == [0, 2, 3]
    event = await anext(buried)
    assert (event.subscription, event.key, event.attempts) == ("group", "a", 3)
    assert "never" in event.reason
    letters = await one.topic(event.dead_letters)
    async with letters.subscribe("people", start="earliest") as messages:
        letter = await anext(messages)
    assert letter.key == "a"


async def test_a_message_with_a_known_id_is_stored_once(fleet: Any):
    one, two = await fleet.members(2)
    topic, there = await make(one, retention_s=60.0), await make(two)
    for handle in (topic, there, topic):
        await handle.publish(Order("a", 1), key="a", id="order-1")
    await topic.publish(Order("a", 2), key="a", id="order-2")
    assert [message.value.number async for message in topic.replay()] == [1, 2]


async def test_large_dead_letters_that_are_given_up_together_do_not_have_to_fit_into_one_frame(fleet: Any):
    [one] = await fleet.members(1)
    topic = await one.topic("large", bytes, delivery="at_least_once", partitions=1, attempts_max=1)
    count, dead_letter_partitions = 6, 8
    keys = [key for key in map(str, range(1000)) if partition_of_message(key, dead_letter_partitions) == 0][:count]
    begun, all_begun = [], asyncio.Event()
    buried = one.events(MessageDeadLettered)

    async def handle(message: Message[bytes]) -> None:
        begun.append(message.key)
        if len(begun) == count:
            all_begun.set()
        await all_begun.wait()
        raise ValueError("never")

    async with topic.subscribe("group", handler=handle, concurrency=count):
        for key in keys:
            await topic.publish(bytes(250_000), key=key)
        async with asyncio.timeout(30.0):
            assert {(await anext(buried)).key for _ in keys} == set(keys)
