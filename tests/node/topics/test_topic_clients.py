"""Topics at most once from clients: they publish and subscribe through a member, and go on when that is lost."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from inaho import Actor, Cluster, Message, PoisonPill, Props, Struct, Topic
from inaho.errors import (
    InvalidTopic,
    MessageTooLarge,
    NoSubscribers,
    NoSuchTopic,
    ShuttingDown,
    SubscriptionLost,
    Timeout,
    WrongMessageType,
)
from inaho.events import MessagesDropped, SubscriptionEnded, SubscriptionStarted, TailUnknown
from support.waiting import until


class Price(Struct, frozen=True):
    owner: str
    amount: float


async def prices_at(cluster: Cluster, **settings: Any) -> Topic[Price]:
    return await cluster.topic("prices", Price, **settings)


async def test_a_client_publishes_to_members_and_clients_in_order(fleet: Any):
    members = await fleet.members(2)
    publisher, subscriber = await fleet.client(), await fleet.client()
    prices = await prices_at(publisher)
    theirs = [await prices_at(cluster) for cluster in (*members, subscriber)]
    subscriptions = [topic.subscribe() for topic in theirs]
    for subscription in subscriptions:
        await subscription.start()
    await asyncio.gather(*(prices.publish(Price("a", float(number)), key=f"k{number}") for number in range(500)))
    for subscription in subscriptions:
        got = [await anext(subscription) for _ in range(500)]
        assert [message.value for message in got] == [Price("a", float(number)) for number in range(500)]
        assert [message.key for message in got] == [f"k{number}" for number in range(500)]
        assert [message.sequence for message in got] == list(range(1, 501))
        assert {message.missed for message in got} == {0}
        await subscription.close()


async def test_a_client_gets_what_members_publish_from_the_moment_it_is_subscribed(fleet: Any):
    one, two = await fleet.members(2)
    client = await fleet.client()
    events = client.events(SubscriptionStarted, SubscriptionEnded)
    prices, theirs = await prices_at(one), await prices_at(client)
    other = await prices_at(two)
    async with theirs.subscribe("mine") as messages:
        for number in range(5):
            await (prices if number % 2 else other).publish(Price("a", float(number)))
        got = [await anext(messages) for _ in range(5)]
        assert sorted(message.value.amount for message in got) == [0.0, 1.0, 2.0, 3.0, 4.0]
        assert {message.publisher for message in got} == {one.self.node_id, two.self.node_id}
        assert messages.received == 5
    direct = one.runtime.topics.at_most_once
    assert direct is not None
    await until(lambda: "prices" not in direct.inlets._channels)
    await until(lambda: "prices" not in direct.announcer.remote.nodes_of)
    with pytest.raises(NoSubscribers):
        await prices.publish(Price("a", 1.0))
    started, ended = await anext(events), await anext(events)
    assert isinstance(started, SubscriptionStarted)
    assert isinstance(ended, SubscriptionEnded)
    assert (started.subscription, started.kind, ended.reason) == ("mine", "client", "closed")


async def test_what_a_client_may_not_publish_is_refused_with_the_reason(fleet: Any):
    [one] = await fleet.members(1)
    client = await fleet.client()
    prices = await prices_at(client)
    with pytest.raises(NoSubscribers, match="topic 'prices' has no subscribers") as refused:
        await prices.publish(Price("a", 1.0))
    assert not refused.value.maybe_executed
    with pytest.raises(WrongMessageType):
        await prices.publish("text")  # type: ignore[arg-type]
    with pytest.raises(MessageTooLarge):
        await prices.publish(Price("a" * (256 << 10), 1.0))
    for key in ("k" * 1025, 3, "\ud800"):
        with pytest.raises(InvalidTopic):
            await prices.publish(Price("a", 1.0), key=key)  # type: ignore[arg-type]
    with pytest.raises(InvalidTopic, match="at least once"):
        await prices.publish(Price("a", 1.0), id="x")
    await one.delete_topic("prices")
    with pytest.raises(NoSuchTopic):
        await prices.publish(Price("a", 1.0))
    with pytest.raises(NoSuchTopic):
        await client.topic("prices")
    quiet = await client.topic("quiet", Price, allow_no_subscribers=True)
    await quiet.publish(Price("a", 1.0))


async def test_a_client_that_is_slow_drops_by_its_own_policy_and_delays_nobody(fleet: Any):
    [one] = await fleet.members(1)
    client = await fleet.client()
    prices, theirs = await prices_at(one), await prices_at(client)
    drops = client.events(MessagesDropped)
    slow, fast = theirs.subscribe(window=3), theirs.subscribe()
    await slow.start()
    await fast.start()
    for number in range(10):
        await prices.publish(Price("a", float(number)))
        assert (await anext(fast)).value.amount == number
    await until(lambda: slow.dropped == 7)
    first = await anext(slow)
    assert (first.value.amount, first.missed) == (7.0, 7)
    dropped = await anext(drops)
    assert (dropped.topic, dropped.reason) == ("prices", "slow_subscriber")
    strict = theirs.subscribe(window=1, slow="disconnect")
    await strict.start()
    for number in range(3):
        await prices.publish(Price("a", float(number)))
    with pytest.raises(SubscriptionLost, match="too slow"):
        await take(strict, [])
    await slow.close()
    await fast.close()


async def test_a_client_goes_on_with_another_member_and_says_that_it_may_have_missed_some(fleet: Any):
    members = await fleet.members(3)
    client = await fleet.client()
    prices = await prices_at(client)
    events = client.events(TailUnknown)
    async with prices.subscribe() as messages:
        await prices.publish(Price("a", 1.0))
        first = await anext(messages)
        used = next(member for member in members if member.self.node_id == first.publisher)
        await used.close()
        lost = await anext(events)
        assert (lost.topic, lost.authority) == ("prices", used.authority)
        got: list[Message[Price]] = []
        taking = asyncio.ensure_future(take(messages, got))
        for number in range(10_000):
            with suppress(NoSubscribers):  # until the client is subscribed at another member
                await prices.publish(Price("a", float(number)))
            if got:
                break
            await asyncio.sleep(0.001)
        await until(lambda: got)
        taking.cancel()
        assert got[0].publisher != first.publisher


async def take(messages: Any, got: list[Message[Price]]) -> None:
    async for message in messages:
        got.append(message)


async def test_the_end_of_the_topic_and_of_the_client_end_its_subscriptions(fleet: Any):
    [one] = await fleet.members(1)
    client = await fleet.client()
    prices = await prices_at(client)
    subscription = prices.subscribe()
    await subscription.start()
    await one.delete_topic("prices")
    with pytest.raises(SubscriptionLost, match="deleted"):
        await anext(subscription)
    again = await prices_at(client)
    last = again.subscribe()
    await last.start()
    await client.close()
    with pytest.raises(SubscriptionLost, match="left"):
        await anext(last)
    with pytest.raises(ShuttingDown):
        await again.publish(Price("a", 1.0))
    relay = one.runtime.topics.relay
    assert relay is not None
    await until(lambda: not relay._subscriptions)


async def test_a_subscription_without_a_member_ends_in_time(fleet: Any):
    [one] = await fleet.members(1)
    client = await fleet.client(pubsub={"subscribe_timeout_s": 0.2})
    prices = await prices_at(client)
    await one.close()
    with pytest.raises(Timeout, match="no member"):
        await prices.subscribe().start()


async def test_values_that_do_not_decode_are_dropped_and_the_others_arrive(fleet: Any):
    [one] = await fleet.members(1)
    client = await fleet.client()
    anything = await one.topic("anything", allow_no_subscribers=False)
    numbers = await client.topic("anything")
    numbers = type(numbers)(numbers._known, type(numbers._kind)(int), numbers._delivery)
    async with numbers.subscribe() as messages:
        for value in (1, "text", 2):
            await anything.publish(value)
        first, second = await anext(messages), await anext(messages)
        assert (first.value, first.missed, second.value, second.missed) == (1, 0, 2, 1)
        assert messages.missed == 1


class Listener(Actor):
    def __init__(self, got: list[Any]) -> None:
        self.got = got

    async def receive(self, message: Any) -> None:
        self.got.append(message)


async def test_a_local_actor_of_a_client_gets_the_messages(fleet: Any):
    [one] = await fleet.members(1)
    client = await fleet.client()
    prices, theirs = await prices_at(one), await prices_at(client)
    got: list[Any] = []
    actor = client.system.spawn(Props(lambda: Listener(got)))
    await theirs.deliver_to(actor)
    await prices.publish(Price("a", 1.0))
    await until(lambda: got)
    assert got[0].value == Price("a", 1.0)
    events = client.events(SubscriptionEnded)
    actor.tell(PoisonPill())
    ended = await anext(events)
    assert (ended.kind, ended.reason) == ("actor", "terminated")
