"""Messages that fail for ever, and messages that are published twice, on whole nodes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from inaho import Message
from inaho.core.pubsub.definition import TopicDefinition
from inaho.core.pubsub.partitioning import partition_of_message
from inaho.errors import InvalidTopic
from inaho.events import MessageDeadLettered
from inaho.runtime.topic_logs import dead_letters
from inaho.runtime.topics.registry import TopicRegistry
from inaho.runtime.topics.shard import shard_of
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


async def test_names_of_dead_letter_topics_are_for_at_least_once(fleet: Any):
    [one] = await fleet.members(1)
    for settings in ({}, {"delivery": "at_most_once"}):
        with pytest.raises(InvalidTopic, match=r"dead letters.*'q\.dead-letters'"):
            await one.topic("q.dead-letters", int, **settings)
    with pytest.raises(InvalidTopic, match="1 to 187 characters"):
        await make(one, "q" * 188)
    assert await one.topics() == []
    await make(one, "q" * 187)
    letters = await make(one, "q.dead-letters", partitions=3)
    assert (await one.topic("q.dead-letters", Order)).definition == letters.definition


async def test_dead_letters_that_no_topic_takes_stay_and_their_key_waits(
    fleet: Any, caplog: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(dead_letters, "PAUSE_MAX_S", 0.05)
    [one] = await fleet.members(1)
    topic = await make(one, partitions=1, attempts_max=1)
    old = TopicDefinition(name="orders.dead-letters", created_at=1.0)  # made before such names were refused
    shard = one.runtime.topics.definitions._registry.shard(shard_of(old.name, one.config.pubsub.shards))
    await shard.listed("", 1)
    assert fleet.activation(TopicRegistry, shard._inaho_key)._table.bring_back(old)
    handled = Handled()

    async def handle(message: Message[Order]) -> None:
        if message.value == Order("a", 0):
            raise ValueError("never")
        handled.add(message)

    async with topic.subscribe("group", handler=handle):
        await publish(topic, ["a", "b"], 2)
        await until(lambda: "orders.dead-letters' is at_most_once and keeps nothing" in caplog.text)
        await until(lambda: len(handled.messages) == 2)
        assert handled.numbers("b") == [0, 1]
        await one.delete_topic(old.name)
        await until(lambda: handled.numbers("a") == [1])
    letters = await one.topic(old.name)
    async with letters.subscribe("people", start="earliest") as messages:
        assert (await anext(messages)).value["value"] == {"key": "a", "number": 0}


@pytest.mark.parametrize("key", ["a", ""])
async def test_a_message_with_a_known_id_is_stored_once(fleet: Any, key: str):
    one, two = await fleet.members(2)
    topic, there = await make(one, retention_s=60.0), await make(two)
    for handle in (topic, there, topic):
        await handle.publish(Order("a", 1), key=key, id="order-1")
    await topic.publish(Order("a", 2), key=key, id="order-9")
    assert sorted([message.value.number async for message in topic.replay()]) == [1, 2]


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
