"""Methods of grains that are subscribed to topics at least once, in whole nodes; what is left of a deleted topic."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from inaho import Cluster, Grain, Message, Struct, Topic, subscribe
from inaho.errors import SubscriptionLost
from inaho.events import MessageDeadLettered, MessageRedelivered, SubscriptionStarted
from support.waiting import until

SEEN: list[tuple[str, Any]] = []
"""Key of the grain, and what it got."""


class Order(Struct, frozen=True):
    customer: str
    number: int


class Ledger(Grain):
    """Fails for a while where it is told to."""

    failing: dict[int, int] = {}  # noqa: RUF012
    running: set[str] = set()  # noqa: RUF012

    @subscribe("orders", key=lambda order: order.customer)
    async def on_order(self, order: Order) -> None:
        assert self.key not in self.running, "two at a time"
        self.running.add(self.key)
        try:
            await asyncio.sleep(0)
            if self.failing.get(order.number):
                self.failing[order.number] -= 1
                raise ValueError("not yet")
            SEEN.append((self.key, order.number))
        finally:
            self.running.discard(self.key)


class Audit(Grain):
    @subscribe("orders")
    async def _on_message(self, message: Message[Order]) -> None:
        SEEN.append((self.key, (message.value.number, message.attempt, message.partition, message.sequence)))


@pytest.fixture(autouse=True)
def empty(fleet: Any) -> None:
    fleet.settle = False  # the streams of subscriptions stay open
    SEEN.clear()
    Ledger.failing.clear()
    Ledger.running.clear()


async def orders_at(cluster: Cluster, **settings: Any) -> Topic[Order]:
    settings = {"retry_base_s": 0.02, "retry_max_s": 0.05, "partitions": 4, **settings}
    return await cluster.topic("orders", Order, delivery="at_least_once", **settings)


def seen(key: str) -> list[Any]:
    return [value for each, value in SEEN if each == key]


async def test_every_order_reaches_the_grain_of_its_customer_in_order(fleet: Any):
    members = await fleet.members(3, Ledger)
    client = await fleet.client()
    orders = await orders_at(client)
    for number in range(60):
        customer = f"c{number % 5}"
        await orders.publish(Order(customer, number), key=customer)
    await until(lambda: len(SEEN) >= 60)
    for customer in range(5):
        assert seen(f"c{customer}") == [number for number in range(60) if number % 5 == customer]
    described = [await (await orders_at(members[0])).partition(number) for number in range(4)]
    assert {each.name for partition in described for each in partition.subscriptions} == {"Ledger.on_order"}
    for partition in described:
        assert all(len(each.consumers) <= 3 for each in partition.subscriptions)


async def test_what_was_published_before_the_kind_was_hosted_is_delivered_if_it_is_kept(fleet: Any):
    one = await fleet.member()
    orders = await orders_at(one, retention_s=3600.0)
    for number in range(5):
        await orders.publish(Order("c", number), key="c")
    await fleet.member(Ledger)
    await until(lambda: len(SEEN) >= 5)
    assert seen("c") == [0, 1, 2, 3, 4]


async def test_a_message_that_fails_is_delivered_again_and_holds_back_its_key_only(fleet: Any):
    [one] = await fleet.members(1, Ledger)
    events = one.events(MessageRedelivered)
    Ledger.failing[0] = 2
    orders = await orders_at(one)
    for number in range(6):
        customer = "sick" if number % 2 == 0 else "well"
        await orders.publish(Order(customer, number), key=customer)
    await until(lambda: len(SEEN) >= 6)
    assert (seen("sick"), seen("well")) == ([0, 2, 4], [1, 3, 5])
    redelivered = await anext(events)
    assert (redelivered.topic, redelivered.subscription, redelivered.key) == ("orders", "Ledger.on_order", "sick")
    assert "not yet" in redelivered.reason


async def test_a_message_that_fails_too_often_is_a_dead_letter(fleet: Any):
    [one] = await fleet.members(1, Ledger)
    events = one.events(MessageDeadLettered)
    Ledger.failing[0] = 100
    orders = await orders_at(one, attempts_max=3)
    for number in range(2):
        await orders.publish(Order("c", number), key="c")
    dead = await anext(events)
    assert (dead.subscription, dead.key, dead.attempts) == ("Ledger.on_order", "c", 3)
    await until(lambda: SEEN)
    assert seen("c") == [1]
    assert Ledger.failing[0] == 97


async def test_a_method_that_takes_the_message_gets_its_place_in_the_log(fleet: Any):
    [one] = await fleet.members(1, Audit)
    orders = await orders_at(one, partitions=1)
    for number in range(3):
        await orders.publish(Order("c", number), key="audit")
    await until(lambda: len(SEEN) >= 3)
    assert seen("audit") == [(0, 1, 0, 0), (1, 1, 0, 1), (2, 1, 0, 2)]


async def test_orders_of_different_keys_for_one_grain_run_one_at_a_time(fleet: Any):
    [one] = await fleet.members(1, Ledger)
    orders = await orders_at(one, partitions=1)
    await asyncio.gather(*(orders.publish(Order("c", number), key=f"k{number}") for number in range(50)))
    await until(lambda: len(SEEN) >= 50)
    assert sorted(seen("c")) == list(range(50))


async def test_members_come_and_go_and_no_order_is_lost(fleet: Any):
    members = await fleet.members(3, Ledger)
    orders = await orders_at(members[0])
    published = 0

    async def publish_for(ending: asyncio.Future[Any]) -> None:
        nonlocal published
        while not ending.done():
            await orders.publish(Order(f"c{published % 7}", published), key=f"c{published % 7}")
            published += 1
        await ending

    await publish_for(asyncio.ensure_future(members[2].close()))
    await publish_for(asyncio.ensure_future(fleet.member(Ledger)))
    await publish_for(asyncio.ensure_future(members[1].close()))
    assert published > 10
    await until(lambda: {number for _, number in SEEN} == set(range(published)))


async def test_a_topic_is_deleted_and_created_again_with_new_messages_only(fleet: Any):
    one, two = await fleet.members(2, Ledger)
    orders = await orders_at(one)
    await orders.publish(Order("c", 1), key="c")
    await until(lambda: SEEN == [("c", 1)])
    started = one.events(SubscriptionStarted)
    lost = orders.subscribe("other")
    await lost.start()
    await anext(started)
    Ledger.failing[2] = 10_000
    await orders.publish(Order("c", 2), key="c")
    await two.delete_topic("orders")
    with pytest.raises(SubscriptionLost):
        await take(lost)
    again = await orders_at(one)
    assert again.definition.created_at > orders.definition.created_at
    await again.publish(Order("c", 3), key="c")
    await until(lambda: ("c", 3) in SEEN)
    assert SEEN == [("c", 1), ("c", 3)]


async def take(subscription: Any) -> None:
    async for _ in subscription:
        pass


async def test_the_logs_of_a_deleted_topic_are_removed(fleet: Any):
    one, two = await fleet.members(2)
    orders = await orders_at(one, retention_s=3600.0)
    for number in range(20):
        await orders.publish(Order("c", number), key=f"k{number}")
    logs = fleet.storage.log
    assert logs is not None

    async def sizes() -> list[int]:
        bounds = [await logs.bounds(f"orders/{number}") for number in range(4)]
        return [each.end - each.first for each in bounds]

    assert sum(await sizes()) == 20
    await two.delete_topic("orders")
    deadline = asyncio.get_running_loop().time() + 20.0
    while sum(await sizes()):
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0)
