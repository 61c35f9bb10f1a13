"""Local actors as subscribers: each message is told to the mailbox, and the subscription ends with the actor."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from inaho import Message
from inaho.actor import Actor, MailboxConfig, Props, Restart
from inaho.errors import InvalidTopic
from inaho.events import MessagesDropped, SubscriptionEnded
from support.waiting import until


class Collector(Actor):
    """Keeps what it is told; waits at each message while `gate` is closed."""

    def __init__(self, told: list[Message[Any]], gate: asyncio.Event) -> None:
        self._told = told
        self._gate = gate

    async def receive(self, message: Any) -> None:
        await self._gate.wait()
        if message.value == "fail":
            raise ValueError("told to fail")
        self._told.append(message)


def collector(
    cluster: Any, *, open_: bool = True, capacity: int = 1024
) -> tuple[Any, list[Message[Any]], asyncio.Event]:
    told: list[Message[Any]] = []
    gate = asyncio.Event()
    if open_:
        gate.set()
    props = Props(
        lambda: Collector(told, gate), mailbox=MailboxConfig(capacity=capacity), supervisor=Restart(back_off_s=0.0)
    )
    return cluster.system.spawn(props, "collector"), told, gate


async def test_an_actor_gets_each_message_in_order_until_it_ends(fleet: Any):
    one, two = await fleet.members(2)
    sender, receiver = await one.topic("words", str, allow_no_subscribers=True), await two.topic("words", str)
    ended = two.events(SubscriptionEnded)
    actor, told, _ = collector(two)
    subscription = await receiver.deliver_to(actor, name="mine")
    for number in range(100):
        await sender.publish(f"w{number}", key="k")
    await until(lambda: len(told) == 100)
    assert [each.value for each in told] == [f"w{number}" for number in range(100)]
    assert {(each.key, each.missed, each.publisher) for each in told} == {("k", 0, one.runtime.local.node_id)}
    with pytest.raises(InvalidTopic, match="collector"):
        await anext(subscription)
    actor.stop()
    event = await anext(ended)
    assert (event.subscription, event.kind, event.reason) == ("mine", "actor", "terminated")
    await until(lambda: not one.runtime.topics.at_most_once.announcer.remote.nodes_of)
    await sender.publish("late")
    assert subscription.received == 100


async def test_a_full_mailbox_drops_and_the_next_message_says_how_many(fleet: Any):
    one, two = await fleet.members(2)
    sender, receiver = await one.topic("words", str), await two.topic("words", str)
    dropped = two.events(MessagesDropped)
    actor, told, gate = collector(two, open_=False, capacity=5)
    subscription = await receiver.deliver_to(actor)
    async with receiver.subscribe() as other:
        for number in range(20):
            await sender.publish(f"w{number}")
        async with asyncio.timeout(10):
            assert [(await anext(other)).value for _ in range(20)] == [f"w{number}" for number in range(20)]
    event = await anext(dropped)
    assert (event.reason, event.count) == ("slow_subscriber", subscription.dropped)
    gate.set()
    await until(lambda: len(told) == 20 - subscription.dropped)
    await sender.publish("last")
    await until(lambda: told[-1].value == "last")
    assert told[-1].missed == subscription.dropped == subscription.missed
    await subscription.close()
    await subscription.close()


async def test_an_actor_that_fails_is_supervised_as_ever(fleet: Any):
    one, two = await fleet.members(2)
    sender, receiver = await one.topic("words", str), await two.topic("words", str)
    actor, told, _ = collector(two)
    await receiver.deliver_to(actor)
    for word in ("a", "fail", "b"):
        await sender.publish(word)
    await until(lambda: [each.value for each in told] == ["a", "b"])


async def test_an_actor_that_has_ended_gets_nothing(fleet: Any):
    [one] = await fleet.members(1)
    topic = await one.topic("words", str, allow_no_subscribers=True)
    actor, told, _ = collector(one)
    actor.stop()
    await actor.wait_terminated()
    ended = one.events(SubscriptionEnded)
    await topic.deliver_to(actor)
    assert (await anext(ended)).reason == "terminated"
    await topic.publish("a")
    assert told == []


async def test_an_actor_of_another_process_is_refused(fleet: Any):
    one, two = await fleet.members(2)
    actor, _, _ = collector(two)
    topic = await one.topic("words", str)
    with pytest.raises(InvalidTopic, match="not an actor of this process"):
        await topic.deliver_to(one.actor(two.pid(actor)))
    with pytest.raises(InvalidTopic, match="not to 'collector'"):
        await topic.deliver_to("collector")  # type: ignore[arg-type]
