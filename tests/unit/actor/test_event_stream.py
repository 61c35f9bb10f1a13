"""Publish and subscribe: classes, bounds, counting of what slow subscribers lose."""

from __future__ import annotations

import asyncio
from typing import assert_type

import pytest

from inaho.actor import EventStream, Subscription
from inaho.errors import IllegalTransition, InvalidConfig, Overloaded
from inaho.events import (
    CallSucceeded,
    ConnectionClosed,
    ConnectionOpened,
    DeadLetter,
    Event,
    IdentityEvent,
    MemberEvent,
    MemberRemoved,
    MemberUp,
)
from inaho.types import ClusterIdentity, Member, MemberStatus

ALICE = Member(authority="127.0.0.1:1", node_id="00", incarnation=1, status=MemberStatus.UP)


def opened(authority: str = "h:1") -> ConnectionOpened:
    return ConnectionOpened(authority=authority, node_id="00")


async def test_subclasses_match_and_others_do_not() -> None:
    stream = EventStream()
    members = stream.subscribe(MemberEvent)
    ups = stream.subscribe(MemberUp)
    both = stream.subscribe(MemberUp, ConnectionOpened)
    everything = stream.subscribe()
    stream.publish(MemberUp(member=ALICE))
    stream.publish(MemberRemoved(member=ALICE))
    stream.publish(opened())
    stream.publish("not even an Event")
    assert [type(event) for event in members.drain()] == [MemberUp, MemberRemoved]
    assert [event.authority for event in ups.drain()] == ["127.0.0.1:1"]
    assert [type(event) for event in both.drain()] == [MemberUp, ConnectionOpened]
    assert len(everything) == 4


async def test_what_nobody_wants_need_not_be_made() -> None:
    stream = EventStream()
    assert not stream.wants(MemberUp)
    with stream.subscribe(MemberEvent):
        assert stream.wants(MemberUp)
        assert not stream.wants(ConnectionOpened)
    assert not stream.wants(MemberUp)


async def test_what_is_told_by_name_only_does_not_reach_who_wants_everything() -> None:
    stream = EventStream()
    interest: list[bool] = []
    stream.watch_interest(CallSucceeded, interest.append)
    everything, bases = stream.subscribe(), stream.subscribe(Event, IdentityEvent)
    assert not stream.wants(CallSucceeded)
    with stream.subscribe(CallSucceeded, MemberUp) as named:
        stream.publish(CallSucceeded(identity=ClusterIdentity("Echo", "a"), method="echo", duration_s=0.1))
        assert interest[-1] and stream.wants(CallSucceeded)
    assert [type(event) for event in named.drain()] == [CallSucceeded]
    assert not len(everything) and not len(bases)
    assert interest[0] is interest[-1] is False
    stream.subscribe(CallSucceeded)
    assert interest[-1]
    stream.close()
    assert not interest[-1]


async def test_iteration_is_typed_and_waits_for_events() -> None:
    stream = EventStream()
    async with stream.subscribe(MemberUp) as subscription:
        assert_type(subscription, Subscription[MemberUp])

        async def first() -> str:
            async for event in subscription:
                assert_type(event, MemberUp)
                return event.member.authority
            return "none"

        task = asyncio.create_task(first())
        await asyncio.sleep(0)
        assert not task.done()
        stream.publish(MemberUp(member=ALICE))
        assert await task == "127.0.0.1:1"


async def test_the_time_is_stamped_once_by_the_injected_clock() -> None:
    stream = EventStream(clock=lambda: 1234.5)
    with stream.subscribe(Event) as subscription:
        original = opened()
        stream.publish(original)
        stream.publish(ConnectionOpened(authority="h:1", node_id="00", at=7.0))
        assert [event.at for event in subscription.drain()] == [1234.5, 7.0]
        assert original.at == 0.0


async def test_all_subscribers_get_the_same_stamped_object() -> None:
    stream = EventStream()
    one, two = stream.subscribe(Event), stream.subscribe(Event)
    stream.publish(opened())
    assert one.drain()[0] is two.drain()[0]


async def test_a_slow_subscriber_loses_the_oldest_and_the_loss_is_counted() -> None:
    stream = EventStream()
    slow, quick = stream.subscribe(int, capacity=3), stream.subscribe(int, capacity=100)
    for number in range(10):
        stream.publish(number)
    assert slow.dropped == 7
    assert slow.drain() == [7, 8, 9]
    assert quick.dropped == 0
    assert quick.drain() == list(range(10))


async def test_closing_ends_the_iteration_after_what_is_buffered() -> None:
    stream = EventStream()
    subscription = stream.subscribe(int)
    stream.publish(1)
    subscription.close()
    subscription.close()
    stream.publish(2)
    assert [number async for number in subscription] == [1]
    assert subscription.closed


async def test_closing_the_stream_wakes_who_waits() -> None:
    stream = EventStream()
    subscription = stream.subscribe(int)

    async def collect() -> list[int]:
        return [number async for number in subscription]

    task = asyncio.create_task(collect())
    await asyncio.sleep(0)
    stream.publish(1)
    stream.close()
    assert await task == [1]
    stream.publish(2)
    with pytest.raises(IllegalTransition):
        stream.subscribe(int)


async def test_a_cancelled_reader_loses_nothing() -> None:
    stream = EventStream()
    subscription = stream.subscribe(int)
    reader = asyncio.ensure_future(anext(subscription))
    await asyncio.sleep(0)
    stream.publish(1)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert await anext(subscription) == 1


async def test_only_one_task_iterates() -> None:
    stream = EventStream()
    subscription = stream.subscribe(int)
    reader = asyncio.ensure_future(anext(subscription))
    await asyncio.sleep(0)
    with pytest.raises(IllegalTransition):
        await anext(subscription)
    stream.publish(5)
    assert await reader == 5


async def test_callbacks_are_called_within_publish_until_unsubscribed() -> None:
    stream = EventStream()
    seen: list[object] = []
    unsubscribe = stream.subscribe_callback((ConnectionOpened, ConnectionClosed), seen.append)
    stream.publish(opened())
    stream.publish(MemberUp(member=ALICE))
    assert len(seen) == 1
    unsubscribe()
    unsubscribe()
    stream.publish(opened())
    assert len(seen) == 1


async def test_a_failing_callback_is_counted_logged_and_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    stream = EventStream()
    seen: list[int] = []

    def broken(number: int) -> None:
        raise RuntimeError(f"cannot take {number}")

    stream.subscribe_callback(int, broken)
    stream.subscribe_callback(int, seen.append)
    stream.publish(1)
    stream.publish(2)
    assert seen == [1, 2]
    assert stream.callback_errors == 2
    assert "cannot take 1" in caplog.text


async def test_a_callback_may_unsubscribe_itself_and_others_still_hear() -> None:
    stream = EventStream()
    seen: list[str] = []

    def once(_: int) -> None:
        seen.append("once")
        unsubscribe()

    unsubscribe = stream.subscribe_callback(int, once)
    stream.subscribe_callback(int, lambda _: seen.append("always"))
    stream.publish(1)
    stream.publish(2)
    assert seen == ["once", "always", "always"]


async def test_subscribers_are_bounded_and_leaving_makes_room() -> None:
    stream = EventStream(subscribers_max=2)
    first = stream.subscribe(int)
    stream.subscribe_callback(int, print)
    with pytest.raises(Overloaded):
        stream.subscribe(int)
    first.close()
    stream.subscribe(int).close()


async def test_capacity_must_be_above_zero() -> None:
    with pytest.raises(InvalidConfig):
        EventStream().subscribe(DeadLetter, capacity=0)
