"""Methods of grains that are subscribed to topics at most once, in whole nodes."""

from __future__ import annotations

import asyncio
from typing import Any

from inaho import Cluster, Grain, Message, Struct, Topic, subscribe
from inaho.events import MessagesDropped, SubscriberFailed
from support.waiting import until

SEEN: list[tuple[str, Any]] = []
"""Key of the grain, and what it got."""


class Price(Struct, frozen=True):
    owner: str
    amount: float


class Portfolio(Grain):
    @subscribe("prices", key=lambda price: price.owner)
    async def on_price(self, price: Price) -> None:
        SEEN.append((self.key, price))
        if price.amount < 0:
            raise ValueError("negative")


class Journal(Grain):
    @subscribe("prices")
    async def on_message(self, message: Message[Price]) -> None:
        SEEN.append((self.key, message))


class Slow(Grain):
    gate: asyncio.Event

    @subscribe("prices")
    async def on_price(self, price: Price) -> None:
        await self.gate.wait()
        SEEN.append((self.key, price))


class BadKeys(Grain):
    @subscribe("prices", key=lambda price: price.nothing)
    async def on_price(self, price: Price) -> None:
        SEEN.append((self.key, price))

    @subscribe("prices", key=lambda price: "")
    async def on_empty(self, price: Price) -> None:
        SEEN.append((self.key, price))


def seen(key: str) -> list[Any]:
    return [value for each, value in SEEN if each == key]


async def prices_at(cluster: Cluster, **settings: Any) -> Topic[Price]:
    SEEN.clear()
    return await cluster.topic("prices", Price, **settings)


def joined(cluster: Cluster, groups: int) -> Any:
    """Whether that node has heard of so many groups of the topic, its own included."""
    direct = cluster.runtime.topics.at_most_once
    assert direct is not None
    own = set(direct.inlets.groups_of("prices"))
    return lambda: len(own | set(direct.announcer.remote.groups_of.get("prices", ()))) == groups


async def test_each_message_goes_to_the_grain_of_its_key_in_order(fleet: Any):
    members = await fleet.members(3, Portfolio)
    prices = await prices_at(members[0])
    for number in range(30):
        await prices.publish(Price(f"owner{number % 5}", float(number)))
    await until(lambda: len(SEEN) == 30)
    for owner in range(5):
        amounts = [price.amount for price in seen(f"owner{owner}")]
        assert amounts == [float(number) for number in range(30) if number % 5 == owner]
    assert fleet.activation(Portfolio, "owner0") is not None


async def test_a_message_keeps_its_key_sequence_and_publisher(fleet: Any):
    one, _ = await fleet.members(2, Journal)
    prices = await prices_at(one)
    await prices.publish(Price("a", 1.0), key="journal")
    await prices.publish(Price("b", 2.0), key="journal")
    await until(lambda: len(SEEN) == 2)
    first, second = seen("journal")
    assert (first.value, first.key, first.sequence, first.publisher) == (
        Price("a", 1.0),
        "journal",
        1,
        one.self.node_id,
    )
    assert second.sequence == 2
    await first.ack()  # without effect


async def test_a_publisher_that_does_not_host_the_kind_reaches_one_that_does(fleet: Any):
    publisher = await fleet.member()
    await fleet.member(Portfolio)
    await fleet.member(Portfolio)
    prices = await prices_at(publisher)
    for number in range(20):
        await prices.publish(Price("alice", float(number)))
    await until(lambda: len(SEEN) >= 20)
    assert [price.amount for price in seen("alice")] == [float(number) for number in range(20)], "each once, in order"


async def test_a_member_has_joined_when_all_others_publish_to_its_grains(fleet: Any):
    publisher = await fleet.member()
    prices = await prices_at(publisher)
    host = await fleet.member(Portfolio)
    await prices.publish(Price("alice", 1.0))
    await until(lambda: seen("alice") == [Price("alice", 1.0)])
    assert fleet.activation(Portfolio, "alice") is not None
    assert joined(host, 1)()


async def test_two_kinds_and_a_process_each_get_every_message(fleet: Any):
    members = await fleet.members(2, Portfolio, Journal)
    prices = await prices_at(members[0])
    async with prices.subscribe() as messages:
        await prices.publish(Price("alice", 1.0), key="journal")
        assert (await anext(messages)).value == Price("alice", 1.0)
    await until(lambda: len(SEEN) == 2)
    assert seen("alice") == [Price("alice", 1.0)]
    assert [message.value for message in seen("journal")] == [Price("alice", 1.0)]


async def test_a_handler_that_raises_loses_its_message_and_says_so(fleet: Any):
    members = await fleet.members(2, Portfolio)
    failures = members[0].events(SubscriberFailed)
    drops = members[0].events(MessagesDropped)
    prices = await prices_at(members[0])
    await prices.publish(Price("alice", -1.0), key="k")
    await prices.publish(Price("alice", 2.0))
    failed = await anext(failures)
    assert (failed.topic, failed.subscription, failed.key) == ("prices", "Portfolio.on_price", "k")
    assert "negative" in failed.reason
    dropped = await anext(drops)
    assert (dropped.reason, dropped.count, dropped.subscription) == ("handler_failed", 1, "Portfolio.on_price")
    await until(lambda: len(SEEN) == 2)
    assert seen("alice")[-1] == Price("alice", 2.0)


async def test_a_key_function_that_raises_and_a_message_without_a_key_are_failures(fleet: Any):
    [one] = await fleet.members(1, BadKeys, Journal)
    failures = one.events(SubscriberFailed)
    prices = await prices_at(one)
    await prices.publish(Price("alice", 1.0))
    failed = {event.subscription: event.reason for event in [await anext(failures) for _ in range(3)]}
    assert "nothing" in failed["BadKeys.on_price"]
    assert "returned an empty text" in failed["BadKeys.on_empty"]
    assert "has no key: publish it with one" in failed["Journal.on_message"]
    assert SEEN == []


async def test_grains_that_do_not_keep_up_are_bounded_and_delay_nobody(fleet: Any):
    Slow.gate = asyncio.Event()
    [one] = await fleet.members(1, Slow, Portfolio, pubsub={"window": 10})
    drops = one.events(MessagesDropped)
    prices = await prices_at(one)
    for number in range(30):
        await prices.publish(Price("alice", float(number)), key="slow")
        await until(lambda number=number: len(seen("alice")) == number + 1)
    dropped = [await anext(drops)]
    while sum(event.count for event in dropped) < 20:
        dropped.append(await anext(drops))
    assert {(event.reason, event.subscription) for event in dropped} == {("slow_subscriber", "Slow.on_price")}
    Slow.gate.set()
    await until(lambda: len(seen("slow")) == 10)
    assert [price.amount for price in seen("slow")] == [float(number) for number in range(10)]


async def test_a_member_that_leaves_hands_its_part_over(fleet: Any):
    publisher = await fleet.member()
    hosts = [await fleet.member(Portfolio) for _ in range(3)]
    prices = await prices_at(publisher)
    sent = 0
    for host in hosts[:2]:
        leaving = asyncio.ensure_future(host.close())
        while not leaving.done():
            await prices.publish(Price("alice", float(sent)))
            sent += 1
            await asyncio.sleep(0.001)
        await leaving
    await until(lambda: bool(SEEN) and seen("alice")[-1].amount == sent - 1)
    amounts = [price.amount for price in seen("alice")]
    assert amounts == sorted(set(amounts)), "in order, none twice"


async def test_a_topic_is_deleted_and_created_again_and_the_grains_stay_subscribed(fleet: Any):
    one, two = await fleet.members(2, Portfolio)
    prices = await prices_at(one)
    await prices.publish(Price("alice", 1.0))
    await two.delete_topic("prices")
    again = await one.topic("prices", Price)
    await again.publish(Price("alice", 2.0))
    await until(lambda: len(SEEN) == 2)


async def test_a_kind_whose_role_a_member_lacks_is_not_subscribed_there(fleet: Any):
    class Clock(Grain, role="clock"):
        @subscribe("prices")
        async def on_price(self, price: Price) -> None: ...

    one = await fleet.member(Clock, Portfolio)
    assert joined(one, 1)()
