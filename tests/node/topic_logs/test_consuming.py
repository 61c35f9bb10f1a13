"""Consumers at least once on whole nodes: groups, order, failures, time to acknowledge, moves and ends."""

from __future__ import annotations

import asyncio
from copy import copy
from datetime import UTC, datetime
from typing import Any

import pytest

from inaho import Message
from inaho.errors import InvalidTopic, MessageTooLarge, NoSuchTopic, SubscriptionLost, WrongMessageType
from inaho.events import SubscriberFailed, SubscriptionEnded, SubscriptionStarted
from support.durable_topics import Handled, Order, logs, make, publish
from support.waiting import until

KEYS = [f"k{number}" for number in range(10)]


@pytest.mark.parametrize("over", ["memory", "tcp"])
async def test_a_group_shares_the_messages_and_each_key_keeps_its_order(fleet: Any, over: str):
    fleet.over = over
    one, two = await fleet.members(2)
    clusters = [one, two, await fleet.client()]
    topics = [await make(cluster) for cluster in clusters]
    handled, by = Handled(), [0, 0, 0]

    async def consume(index: int) -> None:
        async with topics[index].subscribe("group", window=40) as messages:
            async for message in messages:
                handled.add(message)
                by[index] += 1
                await asyncio.sleep(0)
                await message.ack()

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(consume(index)) for index in range(3)]
        await until(lambda: all(len(logs(cluster).subscriptions) == 1 for cluster in clusters))
        await asyncio.sleep(0.3)
        await publish(topics[2], KEYS, 30)
        await until(lambda: len(handled.messages) >= 300)
        for task in tasks:
            task.cancel()
    handled.check(KEYS, 30)
    assert len(handled.messages) == 300 and {each.attempt for each in handled.messages} == {1}
    assert sum(count > 0 for count in by) >= 2
    assert not any(logs(cluster).subscriptions for cluster in clusters)


async def test_a_message_that_fails_holds_back_its_key_only(fleet: Any):
    [one] = await fleet.members(1)
    topic = await make(one, partitions=1, retry_base_s=0.05)
    handled = Handled()
    failing = [Order("a", 1)] * 2
    failed = one.events(SubscriberFailed)

    async def handle(message: Message[Order]) -> None:
        if message.value in failing:
            failing.pop()
            raise ValueError("not yet")
        handled.add(message)

    async with topic.subscribe("group", handler=handle, concurrency=4):
        await publish(topic, ["a", "b"], 5)
        await until(lambda: len(handled.messages) == 10)
    handled.check(["a", "b"], 5)
    assert handled.attempts("a", 1) == [3] and handled.attempts("a", 2) == [1]
    last_of_b = next(i for i, each in enumerate(handled.messages) if each.value == Order("b", 4))
    assert last_of_b < next(i for i, each in enumerate(handled.messages) if each.value == Order("a", 1))
    events = [await anext(failed), await anext(failed)]
    assert all(each.key == "a" and "not yet" in each.reason and each.subscription == "group" for each in events)


@pytest.mark.parametrize("way", ["loop", "handler"])
async def test_a_slow_subscriber_gets_no_second_copy(fleet: Any, way: str):
    [one] = await fleet.members(1)
    topic = await make(one, partitions=1, ack_timeout_s=0.2)
    handled = Handled()

    async def handle(message: Message[Order]) -> None:
        await asyncio.sleep(0.7 if message.value.number == 0 else 0)
        handled.add(message)

    if way == "handler":
        async with topic.subscribe("group", handler=handle):
            await publish(topic, ["a"], 4)
            await until(lambda: len(handled.messages) == 4)
    else:
        async with topic.subscribe("group") as messages:
            await publish(topic, ["a"], 4)
            async for message in messages:
                await handle(message)
                await message.ack()
                if len(handled.messages) == 4:
                    break
    assert [each.attempt for each in handled.messages] == [1] * 4
    handled.check(["a"], 4)


async def test_what_a_loop_leaves_behind_is_delivered_again_unless_it_is_extended(fleet: Any):
    [one] = await fleet.members(1)
    topic = await make(one, partitions=1, ack_timeout_s=0.2, retry_base_s=0.01)
    async with topic.subscribe("group") as messages:
        await publish(topic, ["a", "b"], 1)
        first, other = await anext(messages), await anext(messages)
        await other.extend(60.0)
        again = await anext(messages)
        assert (again.value, again.attempt) == (first.value, 2)
        with pytest.raises(SubscriptionLost, match="has passed"):
            await first.ack()
        await again.ack()
        await again.ack()
        await other.ack()


async def test_a_message_given_back_comes_again_after_its_pause(fleet: Any):
    [one] = await fleet.members(1)
    topic = await make(one, partitions=1, retry_base_s=60.0, retry_max_s=60.0)
    async with topic.subscribe("group") as messages:
        await publish(topic, ["a"], 2)
        first = await anext(messages)
        await first.retry(after_s=0.05, reason="busy")
        again = await anext(messages)
        assert (again.value, again.attempt) == (first.value, 2)
        await again.ack()
        assert (await anext(messages)).value == Order("a", 1)


async def test_who_leaves_gives_everything_back_at_once(fleet: Any):
    [one] = await fleet.members(1)
    topic = await make(one)
    async with topic.subscribe("group", start="earliest") as messages:
        await publish(topic, KEYS, 3)
        taken = await anext(messages)
    with pytest.raises(SubscriptionLost, match="closed"):
        await taken.ack()
    handled = Handled()

    async def handle(message: Message[Order]) -> None:
        handled.add(message)

    async with topic.subscribe("group", handler=handle, concurrency=3):
        await until(lambda: len(handled.messages) == 30, limit_s=5.0)
    handled.check(KEYS, 3)
    assert {each.attempt for each in handled.messages} == {1}


async def test_an_exception_in_the_loop_fails_its_message(fleet: Any):
    [one] = await fleet.members(1)
    topic = await make(one, partitions=1, retry_base_s=0.01)
    failed = one.events(SubscriberFailed)

    async def fail() -> None:
        async with topic.subscribe("group") as messages:
            await publish(topic, ["a"], 2)
            async for _ in messages:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert "ZeroDivisionError" in (await anext(failed)).reason
    async with topic.subscribe("group") as messages:
        first = await anext(messages)
        assert (first.value, first.attempt) == (Order("a", 0), 2)
        await first.ack()
        second = await anext(messages)
        assert (second.value, second.attempt) == (Order("a", 1), 1)


async def test_a_subscription_goes_on_when_keepers_move(fleet: Any):
    _, two = await fleet.members(2)
    client = await fleet.client()
    topic = await make(client)
    handled = Handled()

    async def handle(message: Message[Order]) -> None:
        await asyncio.sleep(0.001)
        handled.add(message)

    async with topic.subscribe("group", handler=handle, concurrency=5):
        publishing = asyncio.create_task(publish(topic, KEYS, 100))
        await until(lambda: len(handled.messages) > 50)
        await fleet.member()
        await until(lambda: len(handled.messages) > 200)
        await two.leave()
        await publishing
        await until(lambda: all(len(handled.numbers(key)) == 100 for key in KEYS))
    handled.check(KEYS, 100)


async def test_where_a_new_subscription_begins(fleet: Any):
    [one] = await fleet.members(1)
    topic = await make(one, partitions=2, retention_s=600.0)
    await publish(topic, KEYS, 2)
    between = datetime.now(UTC)
    await publish(topic, KEYS, 2, first=2)

    async def read(start: Any, count: int) -> list[Message[Order]]:
        async with topic.subscribe(f"from {start}".replace(" ", "-"), start=start) as messages:
            return [await anext(messages) for _ in range(count)]

    async def read_each(start: Any, count: int) -> set[int]:
        handled = Handled()
        async with topic.subscribe(f"{start}".replace(" ", "-"), start=start) as messages:
            async for message in messages:
                handled.add(message)
                await message.ack()
                if len(handled.messages) == count:
                    break
        return {each.value.number for each in handled.messages}

    assert await read_each("earliest", 40) == {0, 1, 2, 3}
    assert await read_each(between, 20) == {2, 3}
    assert len(await read({0: 0}, 5)) == 5
    async with topic.subscribe("latest") as messages:
        await publish(topic, ["new"], 1)
        assert (await anext(messages)).key == "new"
    for wrong in ("yesterday", datetime(2026, 5, 1), {0: -1}, 3):
        with pytest.raises(InvalidTopic):
            topic.subscribe("wrong", start=wrong)  # type: ignore[arg-type]


async def test_a_replay_reads_without_a_trace(fleet: Any):
    one, _ = await fleet.members(2)
    topic = await make(one, retention_s=600.0)
    await publish(topic, KEYS, 20)
    handled = Handled()
    async for message in topic.replay():
        handled.add(message)
        await message.ack()
    handled.check(KEYS, 20)
    async with topic.replay("latest", follow=True) as messages:
        following = asyncio.ensure_future(anext(messages))
        await asyncio.sleep(0.1)
        await publish(topic, ["new"], 1)
        assert (await following).key == "new"
    assert not logs(one).replays
    with pytest.raises(StopAsyncIteration):
        await anext(messages)


async def test_the_end_of_a_topic_ends_its_subscriptions(fleet: Any):
    one, two = await fleet.members(2)
    topic = await make(one)
    there = await make(two)
    started, ended = two.events(SubscriptionStarted), two.events(SubscriptionEnded)
    async with there.subscribe("group") as messages:
        begun = await anext(started)
        assert (begun.topic, begun.subscription, begun.kind) == ("orders", "group", "process")
        taking = asyncio.ensure_future(anext(messages))
        await asyncio.sleep(0)
        await one.delete_topic("orders")
        with pytest.raises(SubscriptionLost):
            await taking
    assert (await anext(ended)).reason == "deleted"
    with pytest.raises(NoSuchTopic):
        await topic.publish(Order("a", 0))


async def test_a_node_that_leaves_gives_back_and_ends_its_subscriptions(fleet: Any):
    one, two = await fleet.members(2)
    topic, there = await make(one), await make(two)
    subscription = there.subscribe("group")
    await subscription.start()
    await publish(topic, KEYS, 2)
    await anext(subscription)
    await two.leave()
    with pytest.raises(SubscriptionLost, match="left the cluster"):
        await anext(subscription)
    handled = Handled()
    async with topic.subscribe("group") as messages:
        async for message in messages:
            handled.add(message)
            await message.ack()
            if len(handled.messages) == 20:
                break
    assert {each.attempt for each in handled.messages} == {1}


async def test_what_cannot_be_is_refused_with_the_reason(fleet: Any):
    [one] = await fleet.members(1, pubsub={"message_bytes_max": 200, "key_bytes_max": 16})
    topic = await make(one)
    with pytest.raises(InvalidTopic, match="needs a name"):
        topic.subscribe()
    with pytest.raises(InvalidTopic, match="concurrency"):
        topic.subscribe("group", handler=lambda message: message.ack(), concurrency=0)
    with pytest.raises(MessageTooLarge, match="message_bytes_max"):
        await topic.publish(Order("x" * 300, 1))
    with pytest.raises(InvalidTopic, match="key_bytes_max"):
        await topic.publish(Order("x", 1), key="ü" * 9)
    with pytest.raises(InvalidTopic, match="id"):
        await topic.publish(Order("x", 1), id="i" * 300)
    with pytest.raises(WrongMessageType):
        await topic.publish("text")  # type: ignore[arg-type]
    async with topic.subscribe("handled", handler=lambda message: message.ack()) as handled:
        with pytest.raises(InvalidTopic, match="has a handler"):
            await anext(handled)
    direct = await one.topic("direct", Order, delivery="at_most_once")
    with pytest.raises(InvalidTopic, match="at_most_once"):
        direct.replay()
    with pytest.raises(InvalidTopic, match="a handler needs"):
        direct.subscribe(handler=lambda message: message.ack())
    with pytest.raises(InvalidTopic, match="start is for topics at least once"):
        direct.subscribe(start="earliest")
    with pytest.raises(InvalidTopic, match="slow='disconnect' is for topics at most once"):
        topic.subscribe("group", slow="disconnect")
    with pytest.raises(InvalidTopic, match="no handler"):
        topic.subscribe("group", concurrency=2)
    with pytest.raises(InvalidTopic, match="window must be a whole number"):
        topic.subscribe("group", window="9")  # type: ignore[arg-type]
    with pytest.raises(InvalidTopic, match="name of a subscription"):
        topic.subscribe(9)  # type: ignore[arg-type]


async def test_a_subscriber_that_expects_another_type_fails_and_holds_up_nobody(
    fleet: Any, monkeypatch: pytest.MonkeyPatch
):
    [one] = await fleet.members(1)
    anything = await one.topic("things", delivery="at_least_once", partitions=1)
    numbers = await one.topic("things")
    kind = copy(numbers._kind)  # as a node with another class of that name; handles of one type share theirs
    kind.decode = int_only
    monkeypatch.setattr(numbers, "_kind", kind)
    failed = one.events(SubscriberFailed)
    await anything.publish(1)
    async with numbers.subscribe("group", start="earliest") as messages:
        await anything.publish("text")
        await anything.publish(2)
        values = [(await anext(messages)).value for _ in range(2)]
    assert values == [1, 2]
    assert "no number" in (await anext(failed)).reason


def int_only(data: bytes | memoryview) -> int:
    if len(data) != 1:
        raise ValueError("no number")
    return data[0]


async def test_subscriptions_that_come_and_go_leave_nothing(fleet: Any):
    [one] = await fleet.members(1)
    topic = await make(one, partitions=2)
    await publish(topic, ["a"], 1)

    def tasks() -> int:
        return len(one.runtime.local.tasks.running)

    await until(lambda: not logs(one).busy)
    before = tasks()
    for _ in range(20):
        async with topic.subscribe("group") as messages:
            await publish(topic, ["a"], 1)
            await (await anext(messages)).ack()
    await until(lambda: tasks() <= before)
    assert not logs(one).subscriptions and not logs(one).busy


async def test_readers_of_a_log_whose_keeper_leaves_count_no_failed_call(fleet: Any):
    one, two = await fleet.members(2)
    topic = await make(one, retention_s=60.0)
    async with asyncio.timeout(20), topic.subscribe("group", start="earliest") as messages:
        await publish(topic, KEYS, 1)
        left = set(KEYS)
        while left:
            message = await anext(messages)
            left.discard(message.key)
            await message.ack()
        await two.close()
        await publish(topic, KEYS, 1, first=1)
        left = set(KEYS)
        while left:  # messages may come again
            message = await anext(messages)
            if message.value.number:
                left.discard(message.key)
            await message.ack()
    failed = {(labels["inaho.kind"], value) for labels, value in one.metrics()["inaho.rpc.client.failures"]}
    assert {value for kind, value in failed if kind == "inaho.topic-log"} == {0}
