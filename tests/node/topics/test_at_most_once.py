"""Messages at most once between members, over memory and over TCP on loopback: who gets what, and in which order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Literal

import pytest

from inaho import Cluster, Struct
from inaho.errors import (
    InvalidTopic,
    MessageTooLarge,
    NoSubscribers,
    NoSuchTopic,
    ShuttingDown,
    SubscriptionLost,
    WrongMessageType,
)
from inaho.events import MessagesDropped, SubscriptionEnded, SubscriptionStarted, TopicGap
from support.fleet import Fleet
from support.waiting import until


class Price(Struct, frozen=True):
    owner: str
    amount: float


class Basket(Struct):
    items: list[str]


@pytest.fixture(params=["memory", "tcp"])
async def wired(request: pytest.FixtureRequest) -> AsyncIterator[Fleet]:
    started = Fleet(request.param)
    yield started
    check_all(started)
    await started.close()


def check_all(started: Fleet) -> None:
    for cluster in started.clusters:
        if not cluster.runtime.local.closing and cluster.authority:
            direct(cluster).check()


def direct(cluster: Cluster) -> Any:
    return cluster.runtime.topics.at_most_once


async def take(subscription: Any, count: int) -> list[Any]:
    async with asyncio.timeout(10):
        return [await anext(subscription) for _ in range(count)]


async def test_every_subscriber_on_every_member_gets_every_message_in_order(wired: Fleet):
    members = await wired.members(3)
    topics = [await each.topic("prices", Price) for each in members]
    async with topics[0].subscribe() as one, topics[1].subscribe() as two, topics[1].subscribe() as three:
        for number in range(100):
            for index, topic in enumerate(topics):
                await topic.publish(Price(f"p{index}", number), key=f"k{number % 3}")
        for subscription in (one, two, three):
            messages = await take(subscription, 300)
            for index, member in enumerate(members):
                of_one = [each for each in messages if each.value.owner == f"p{index}"]
                assert [each.value.amount for each in of_one] == list(range(100))
                assert [each.sequence for each in of_one] == list(range(1, 101))
                assert [each.key for each in of_one] == [f"k{number % 3}" for number in range(100)]
                assert {each.publisher for each in of_one} == {member.runtime.local.node_id}
                assert all(not each.missed and each.published_at > 0 for each in of_one)


async def test_a_message_published_after_subscribe_returned_arrives_whoever_publishes(wired: Fleet):
    members = await wired.members(3)
    topics = [await each.topic("prices", int, allow_no_subscribers=True) for each in members]
    for number in range(20):
        subscriber = topics[number % 3]
        async with subscriber.subscribe() as messages:
            for topic in topics:
                await topic.publish(number)
            assert [each.value for each in await take(messages, 3)] == [number] * 3
    await until(lambda: not any(direct(each).announcer.remote.nodes_of for each in members))
    assert not any(len(direct(each).inlets) for each in members)


async def test_nobody_else_gets_a_message(wired: Fleet):
    members = await wired.members(3)
    topics = [await each.topic("prices", int) for each in members]
    async with topics[0].subscribe() as messages:
        await topics[1].publish(1)
        await take(messages, 1)
        frames = direct(members[2]).counts
        assert frames.of("prices").received == 0
        assert not direct(members[2]).announcer.own.version
    await until(lambda: not direct(members[1]).announcer.remote.nodes_of)
    with pytest.raises(NoSubscribers, match="'prices'"):
        await topics[1].publish(2)
    assert direct(members[1]).counts.of("prices").published == 1


async def test_what_cannot_be_published_is_refused_with_the_reason(fleet: Any):
    [one] = await fleet.members(1, pubsub={"message_bytes_max": 2000, "key_bytes_max": 10})
    topic = await one.topic("prices", Price)
    async with topic.subscribe() as messages:
        for wrong in (1, Price("a", "much"), object(), None):  # type: ignore[arg-type]
            with pytest.raises(WrongMessageType, match="prices"):
                await topic.publish(wrong)  # type: ignore[arg-type]
        with pytest.raises(MessageTooLarge, match="message_bytes_max"):
            await topic.publish(Price("a" * 2000, 1.0))
        with pytest.raises(InvalidTopic, match="key_bytes_max"):
            await topic.publish(Price("a", 1.0), key="k" * 11)
        with pytest.raises(InvalidTopic, match="UTF-8"):
            await topic.publish(Price("a", 1.0), key="\ud800")
        with pytest.raises(InvalidTopic, match="at most once"):
            await topic.publish(Price("a", 1.0), id="1")
        await topic.publish(Price("a", 1.0), key="k" * 10)
        assert (await take(messages, 1))[0].sequence == 1
    await one.delete_topic("prices")
    with pytest.raises(NoSuchTopic):
        await topic.publish(Price("a", 1.0))
    with pytest.raises(NoSuchTopic):
        async with topic.subscribe():
            pass


async def test_a_deleted_topic_ends_its_subscriptions_everywhere(wired: Fleet):
    members = await wired.members(2)
    topics = [await each.topic("prices", int) for each in members]
    async with topics[0].subscribe() as one, topics[1].subscribe() as two:
        await topics[0].publish(1)
        await members[0].delete_topic("prices")
        for messages in (one, two):
            with pytest.raises(SubscriptionLost, match="deleted"):
                await take(messages, 2)


async def test_values_are_shared_only_if_nobody_can_change_them(wired: Fleet):
    members = await wired.members(2)
    baskets = [await each.topic("baskets", Basket) for each in members]
    prices = [await each.topic("prices", Price) for each in members]
    for index in range(2):
        async with baskets[index].subscribe() as one, baskets[index].subscribe() as two:
            mine = Basket(["apple"])
            await baskets[0].publish(mine)
            mine.items.append("late")
            [first], [second] = await take(one, 1), await take(two, 1)
            first.value.items.append("pear")
            assert second.value.items == ["apple"]
        async with prices[index].subscribe() as one, prices[index].subscribe() as two:
            await prices[0].publish(Price("a", 1.0))
            [first], [second] = await take(one, 1), await take(two, 1)
            assert first is second


async def test_values_that_do_not_decode_are_dropped_and_the_others_arrive(wired: Fleet):
    class Price(Struct, frozen=True):  # as another release of a program may have it
        owner: Literal["a"]
        amount: float

    members = await wired.members(2)
    sender = await members[0].topic("prices", globals()["Price"])
    receiver = await members[1].topic("prices", Price)
    dropped = members[1].events(MessagesDropped)
    async with receiver.subscribe() as messages:
        for owner in "babbab":
            await sender.publish(globals()["Price"](owner, 1.0))
        found = await take(messages, 2)
        assert [(each.value.owner, each.sequence, each.missed) for each in found] == [("a", 2, 1), ("a", 5, 2)]
        await sender.publish(globals()["Price"]("a", 3.0))
        assert [(each.sequence, each.missed) for each in await take(messages, 1)] == [(7, 1)]
        assert messages.missed == 4
    event = await anext(dropped)
    assert (event.topic, event.reason, event.count) == ("prices", "undecodable", 4)


async def test_a_slow_subscriber_loses_by_its_policy_and_disturbs_nobody(wired: Fleet):
    members = await wired.members(2)
    topics = [await each.topic("numbers", int) for each in members]
    dropped = members[1].events(MessagesDropped)
    async with (
        topics[1].subscribe("all") as all_,
        topics[1].subscribe("old", window=10) as old,
        topics[1].subscribe("new", window=10, slow="drop_new") as new,
        topics[1].subscribe("off", window=10, slow="disconnect") as off,
    ):
        for number in range(1, 101):
            await topics[0].publish(number)
        assert [each.value for each in await take(all_, 100)] == list(range(1, 101))
        messages = await take(old, 10)
        assert [each.value for each in messages] == list(range(91, 101))
        assert [each.missed for each in messages] == [90, *[0] * 9]
        assert (old.dropped, old.missed, old.received) == (90, 90, 10)
        assert [each.value for each in await take(new, 10)] == list(range(1, 11))
        await topics[0].publish(101)
        assert [(each.value, each.missed) for each in await take(new, 1)] == [(101, 90)]
        assert [each.value for each in await take(off, 10)] == list(range(1, 11))
        with pytest.raises(SubscriptionLost, match="too slow"):
            await take(off, 1)
    told: dict[str, int] = {}
    async with asyncio.timeout(10):
        while sum(told.values()) < 270:
            event = await anext(dropped)
            assert event.reason == "slow_subscriber"
            told[event.subscription] = told.get(event.subscription, 0) + event.count
    assert told == {"old": 90, "new": 90, "off": 90}
    assert direct(members[1]).counts.of("numbers").dropped == {"slow_subscriber": 270}


async def test_a_subscription_begins_once_and_ends_once(wired: Fleet):
    members = await wired.members(2)
    topics = [await each.topic("numbers", int) for each in members]
    events = members[1].events(SubscriptionStarted, SubscriptionEnded)
    subscription = topics[1].subscribe("mine")
    await subscription.close()
    subscription = topics[1].subscribe("mine")
    async with subscription:
        with pytest.raises(SubscriptionLost, match="once"):
            await subscription.start()
        waiting = asyncio.create_task(anext(subscription, None))
        await asyncio.sleep(0)
    assert await waiting is None
    await subscription.close()
    started, ended = await anext(events), await anext(events)
    assert isinstance(started, SubscriptionStarted)
    assert (started.topic, started.subscription, started.kind) == ("numbers", "mine", "process")
    assert isinstance(ended, SubscriptionEnded)
    assert (ended.subscription, ended.reason) == ("mine", "closed")
    with pytest.raises(StopAsyncIteration):
        await anext(subscription)


async def test_subscribers_are_released_when_their_member_leaves(wired: Fleet):
    members = await wired.members(2)
    topics = [await each.topic("numbers", int) for each in members]
    gaps = members[1].events(TopicGap)
    async with topics[1].subscribe() as messages:
        for number in range(1000):
            await topics[0].publish(number)
        await members[0].close()
        assert [each.value for each in await take(messages, 1000)] == list(range(1000))
        await members[1].close()
        with pytest.raises(SubscriptionLost, match="left"):
            await take(messages, 1)
    assert [each async for each in gaps] == []


async def test_messages_of_one_moment_are_one_batch_and_a_full_batch_leaves_at_once(fleet: Any):
    one, two = await fleet.members(2, pubsub={"batch_bytes_max": 1000, "linger_s": 0.02})
    topic, far = await one.topic("blobs", bytes), await two.topic("blobs", bytes)
    numbers = direct(one).outlets.outlet(one.runtime.topics.definitions.known("blobs"))._numbers
    async with far.subscribe() as messages:
        for number in range(9):
            await topic.publish(bytes([number]) * 10)
            await asyncio.sleep(0)
        assert numbers.batches == 0
        assert [each.value[0] for each in await take(messages, 9)] == list(range(9))
        assert (numbers.batches, numbers.published) == (1, 9)
        before = numbers.batches
        for number in range(30):
            await topic.publish(bytes([number]) * 100)
        assert numbers.batches - before >= 2  # without waiting for the linger time
        assert [each.value[0] for each in await take(messages, 30)] == list(range(30))
        assert numbers.published_bytes > 3000


async def test_a_member_of_an_older_release_is_not_told_and_not_waited_for(wired: Fleet):
    members = await wired.members(3)
    old = members[2].runtime.local.node_id
    for member in members[:2]:
        for connection in member.runtime.peers.connections.values():
            if connection.peer.node_id == old:
                connection.peer.features.pop("topics")  # as the handshake with an older release leaves it
    topics = [await each.topic("numbers", int) for each in members[:2]]
    async with topics[0].subscribe() as messages:
        await topics[1].publish(1)
        await take(messages, 1)
        assert not direct(members[2]).announcer.remote.nodes_of


@pytest.mark.parametrize("when_cut_off", ["queue", "drop"])
async def test_a_broken_connection_loses_nothing_that_is_queued_and_tells_what_is_lost(wired: Fleet, when_cut_off: str):
    one, two = await wired.members(2)
    topic = await one.topic("numbers", int, when_cut_off=when_cut_off)
    far = await two.topic("numbers", int)
    async with far.subscribe(window=100_000) as messages:
        for number in range(1, 20_001):
            await topic.publish(number)
            if number % 4000 == 0:
                await break_connection(one, two)
            if number % 10 == 0:
                await asyncio.sleep(0)
        await until(lambda: len(messages._waiting) + messages.missed == 20_000)
        found = [each async for each in _until_empty(messages)]
        assert [each.value for each in found] == [each.sequence for each in found]
        assert [each.value for each in found] == sorted({each.value for each in found})
        assert len(found) + messages.missed == 20_000
        if when_cut_off == "queue":
            assert messages.missed == 0
        else:
            told = sum(each.missed for each in found)
            assert told + (20_000 - found[-1].value) == messages.missed
            assert direct(two).counts.of("numbers").missed == messages.missed


async def break_connection(one: Cluster, two: Cluster) -> None:
    """Aborts the connection from `one` to `two`, and returns when there is another one."""
    connections = one.runtime.peers.connections
    broken = connections[two.authority]
    broken.abort("cut by the test")
    await until(lambda: connections.get(two.authority) not in (None, broken))


async def _until_empty(messages: Any) -> AsyncIterator[Any]:
    while messages._waiting:
        yield await anext(messages)


async def test_a_message_on_its_way_when_a_node_subscribes_is_not_missed_there(fleet: Fleet):
    one, two = await fleet.members(2)
    topic, there = await one.topic("prices", Price, allow_no_subscribers=True), await two.topic("prices", Price)
    async with topic.subscribe():
        for turn in range(20):
            subscription = there.subscribe()
            begun = asyncio.ensure_future(subscription.start())
            while two.runtime.local.node_id not in direct(one).announcer.remote.nodes_of.get("prices", ()):
                for _ in range(2):  # the first one leaves at once, the second one at the end of the iteration
                    await topic.publish(Price("before", turn))
                await asyncio.sleep(0)
            await begun
            await topic.publish(Price("after", turn))
            while (message := (await take(subscription, 1))[0]).value.owner == "before":
                assert not message.missed
            assert (message.missed, subscription.missed) == (0, 0)
            await subscription.close()
            await until(lambda: not direct(one).announcer.remote.nodes_of.get("prices"))


async def test_a_node_that_has_left_tells_its_publishers_and_subscribers(fleet: Fleet):
    one, two = await fleet.members(2)
    topic, there = [await each.topic("prices", Price, allow_no_subscribers=True) for each in (one, two)]
    async with topic.subscribe() as stays:
        subscription = there.subscribe()
        await subscription.start()
        await there.publish(Price("last", 1.0))
        await two.leave()
        assert [each.value.owner for each in await take(stays, 1)] == ["last"]
        assert [each.value.owner for each in await take(subscription, 1)] == ["last"]
        with pytest.raises(SubscriptionLost, match="has left"):
            await take(subscription, 1)
        with pytest.raises(ShuttingDown):
            await there.publish(Price("lost", 1.0))
        with pytest.raises(ShuttingDown):
            await there.subscribe().start()
        await topic.publish(Price("goes on", 1.0))
        assert [each.value.owner for each in await take(stays, 1)] == ["goes on"]
