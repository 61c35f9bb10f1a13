"""Messages at most once through cuts, crashes and nodes that do not read, in the simulator: what is lost is told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from inaho import ClusterConfig, PubSubConfig
from inaho.errors import NoSubscribers, Timeout
from inaho.events import (
    CutOffQueueDelivered,
    MessagesDropped,
    SubscriptionEnded,
    SubscriptionStarted,
    TailUnknown,
    TopicGap,
)
from inaho.testing import SimCluster
from inaho.types import MemberStatus


def direct(sim: SimCluster, index: int) -> Any:
    return sim.node(index).runtime.topics.at_most_once


class Listener:
    """Subscribes on one node, and collects what arrives."""

    def __init__(self, sim: SimCluster, index: int, name: str, **options: Any) -> None:
        self.messages: list[Any] = []
        self.subscription: Any = None
        self.task: Any = None
        self._sim, self._index, self._name, self._options = sim, index, name, options

    async def start(self) -> Listener:
        topic = await self._sim.node(self._index).topic(self._name)
        self.subscription = topic.subscribe(**self._options)
        await self.subscription.start()
        self.task = asyncio.ensure_future(self._collect())
        return self

    async def _collect(self) -> None:
        async for message in self.subscription:
            self.messages.append(message)

    @property
    def values(self) -> list[Any]:
        return [message.value for message in self.messages]


@pytest.fixture
def sim(request: pytest.FixtureRequest) -> Iterator[SimCluster]:
    with SimCluster(nodes=3, seed=request.param if hasattr(request, "param") else 1) as started:
        yield started
        for index in range(3):
            if started.is_member(index):
                direct(started, index).check()
        started.check()


def of(sim: SimCluster, kind: Any, node: int | None = None) -> list[Any]:
    return [each.event for each in sim.events if isinstance(each.event, kind) and node in (None, each.node)]


async def publish_for(topic: Any, seconds: float, each_s: float, first: int = 0) -> list[int]:
    """Publishes numbers at an interval; returns those that were accepted."""
    accepted: list[int] = []
    for number in range(first, first + round(seconds / each_s)):
        try:
            await topic.publish(number)
            accepted.append(number)
        except NoSubscribers:
            pass
        await asyncio.sleep(each_s)
    return accepted


@pytest.mark.parametrize("sim", range(5), indirect=True)
def test_a_queue_loses_nothing_through_a_split_and_keeps_the_order(sim: SimCluster):
    async def history() -> None:
        topic = await sim.node(0).topic("numbers", int, when_cut_off="queue")
        far = await Listener(sim, 2, "numbers").start()
        near = await Listener(sim, 1, "numbers").start()
        accepted = await publish_for(topic, 2.0, 0.1)
        sim.partition({0, 1}, {2})
        accepted += await publish_for(topic, 60.0, 0.1, 1000)
        assert len(far.messages) < 30
        assert direct(sim, 0).links.get(far_id).queue.messages > 500
        sim.heal()
        accepted += await publish_for(topic, 10.0, 0.1, 2000)
        await sim.until(lambda: len(far.messages) == len(accepted), within_s=60.0)
        for listener in (near, far):
            assert listener.values == accepted
            assert [each.sequence for each in listener.messages] == list(range(1, len(accepted) + 1))
            assert not any(each.missed for each in listener.messages)

    far_id = sim.node(2).runtime.local.node_id
    sim.run(history())
    assert not of(sim, TopicGap)
    assert not of(sim, MessagesDropped)
    assert sum(each.count for each in of(sim, CutOffQueueDelivered, 0)) > 500


@pytest.mark.parametrize("sim", range(5), indirect=True)
def test_drop_counts_what_it_drops_and_the_subscriber_learns_how_many_are_missing(sim: SimCluster):
    async def history() -> None:
        topic = await sim.node(0).topic("numbers", int)
        far = await Listener(sim, 2, "numbers").start()
        near = await Listener(sim, 1, "numbers").start()
        accepted = await publish_for(topic, 2.0, 0.1)
        sim.partition({0, 1}, {2})
        accepted += await publish_for(topic, 60.0, 0.1, 1000)
        sim.heal()
        accepted += await publish_for(topic, 10.0, 0.1, 2000)
        await sim.until(lambda: far.values[-1:] == accepted[-1:], within_s=60.0)
        assert near.values == accepted
        assert far.values == sorted(far.values)
        lost = len(accepted) - len(far.values)
        assert lost > 400
        assert far.subscription.missed == lost
        assert sum(each.missed for each in far.messages) == lost
        assert sum(each.count for each in of(sim, TopicGap, 2)) == lost
        sent_in_vain = lost - direct(sim, 0).counts.of("numbers").dropped["cut_off"]
        assert 0 <= sent_in_vain <= 100  # on the connection when the link was cut, before anyone noticed

    sim.run(history())
    told = sum(each.count for each in of(sim, MessagesDropped, 0) if each.reason == "cut_off")
    assert told == direct(sim, 0).counts.of("numbers").dropped["cut_off"]


def test_an_idle_publisher_tells_how_many_messages_were_lost_last(sim: SimCluster):
    async def history() -> None:
        topic = await sim.node(0).topic("numbers", int)
        far = await Listener(sim, 2, "numbers").start()
        await publish_for(topic, 1.0, 0.1)
        sim.partition({0, 1}, {2})
        await publish_for(topic, 30.0, 0.1)
        received = len(far.messages)
        sim.heal()
        await sim.until(lambda: far.subscription.missed > 0, within_s=60.0)
        assert len(far.messages) == received
        assert far.subscription.missed == direct(sim, 0).outlets._outlets["numbers"].sequence - received

    sim.run(history())


def test_the_bounds_of_the_queue_hold_and_what_exceeds_them_is_told():
    config = ClusterConfig(pubsub=PubSubConfig(cut_off_messages_max=100, cut_off_age_s=20.0))
    with SimCluster(nodes=3, seed=3, config=config) as sim:

        async def history() -> None:
            topic = await sim.node(0).topic("numbers", int, when_cut_off="queue", allow_no_subscribers=True)
            far = await Listener(sim, 2, "numbers").start()
            sim.partition({0, 1}, {2})
            accepted = await publish_for(topic, 15.0, 0.05)
            direct(sim, 0).check()
            sim.heal()
            await sim.until(lambda: far.values[-1:] == accepted[-1:], within_s=60.0)
            assert far.values == accepted[-len(far.values) :]
            dropped = direct(sim, 0).counts.of("numbers").dropped["cut_off_queue_full"]
            sent_in_vain = direct(sim, 0).links.get(sim.node(2).runtime.local.node_id).queue.let_go
            assert dropped > 50
            assert far.subscription.missed == dropped + sent_in_vain == len(accepted) - len(far.values)

        sim.run(history())


def test_a_node_that_stays_away_is_forgotten_with_what_was_kept_for_it():
    config = ClusterConfig(pubsub=PubSubConfig(cut_off_age_s=20.0))
    with SimCluster(nodes=3, seed=4, config=config) as sim:

        async def history() -> None:
            topic = await sim.node(0).topic("numbers", int, when_cut_off="queue")
            await Listener(sim, 2, "numbers").start()
            await topic.publish(1)
            sim.crash(2)
            accepted = await publish_for(topic, 60.0, 0.1)
            assert 100 < len(accepted) < 500  # then nobody is subscribed
            assert not direct(sim, 0).announcer.remote.nodes_of
            assert len(list(direct(sim, 0).links)) == 1
            dropped = direct(sim, 0).counts.of("numbers").dropped
            assert sum(dropped.values()) >= len(accepted) - 5

        sim.run(history())


def test_the_end_of_a_publisher_is_told_unless_it_left_in_order(sim: SimCluster):
    async def history() -> None:
        topics = [await sim.node(index).topic("numbers", int) for index in (0, 1)]
        far = await Listener(sim, 2, "numbers").start()
        for topic in topics:
            await publish_for(topic, 1.0, 0.1)
        gone = [sim.node(index).runtime.local.node_id for index in (0, 1)]
        sim.crash(0)
        await sim.until(lambda: of(sim, TailUnknown, 2), within_s=60.0)
        sim.leave(1)
        await sim.until(lambda: len(sim.members_seen_by(2)) == 1, within_s=60.0)
        await asyncio.sleep(5.0)
        [told] = of(sim, TailUnknown, 2)
        assert (told.topic, told.publisher, told.last) == ("numbers", gone[0], 10)
        assert len(far.messages) == 20

    sim.run(history())


def test_a_restarted_member_is_another_subscriber(sim: SimCluster):
    async def history() -> None:
        topic = await sim.node(0).topic("numbers", int)
        await Listener(sim, 2, "numbers").start()
        await topic.publish(1)
        sim.crash(2)
        sim.restart(2)
        await sim.until(lambda: sim.is_member(2) and sim.converged(), within_s=60.0)
        await sim.until(lambda: not direct(sim, 0).announcer.remote.nodes_of, within_s=10.0)
        with pytest.raises(NoSubscribers):
            await topic.publish(2)
        again = await Listener(sim, 2, "numbers").start()
        await topic.publish(3)
        await sim.until(lambda: again.values == [3], within_s=10.0)

    sim.run(history())


@pytest.mark.parametrize("seed", range(8))
def test_subscriptions_are_effective_when_they_return_while_members_come_and_go(seed: int):
    with SimCluster(nodes=3, seed=seed) as sim:

        async def subscribe_and_publish(index: int, count: int) -> None:
            for _ in range(count):
                subscriber = await sim.node(index).topic("numbers", int, allow_no_subscribers=True)
                async with subscriber.subscribe() as messages:
                    others = [each for each in range(4) if each < len(sim._nodes) and sim.is_member(each)]
                    for other in others:
                        topic = await sim.node(other).topic("numbers")
                        await topic.publish(index)
                    wanted = {sim.node(other).runtime.local.node_id for other in others}
                    async with asyncio.timeout(5.0):
                        async for message in messages:
                            if message.value == index:
                                wanted.discard(message.publisher)
                            if not wanted:
                                break
                await asyncio.sleep(0.05)

        async def history() -> None:
            loops = [asyncio.ensure_future(subscribe_and_publish(index, 60)) for index in (0, 1)]
            await asyncio.sleep(0.5)
            index = sim.add()
            await sim.until(lambda: sim.is_member(index), within_s=30.0)
            await subscribe_and_publish(index, 10)
            await asyncio.gather(*loops)

        sim.run(history())
        for index in range(4):
            direct(sim, index).check()
            assert len(direct(sim, index).inlets) == 0


def test_a_subscription_waits_for_no_member_that_is_unreachable(sim: SimCluster):
    async def history() -> None:
        topic = await sim.node(0).topic("numbers", int)
        sim.partition({0, 1}, {2})
        await sim.until(lambda: sim.members_seen_by(0).get(2) is not MemberStatus.UP, within_s=60.0)
        began = sim.time
        async with topic.subscribe():
            assert sim.time - began < 1.0

    sim.run(history())


def test_a_subscription_that_a_live_member_does_not_confirm_fails_and_leaves_nothing():
    config = ClusterConfig(pubsub=PubSubConfig(subscribe_timeout_s=0.5))
    with SimCluster(nodes=3, seed=5, config=config) as sim:

        async def history() -> None:
            topic = await sim.node(0).topic("numbers", int)
            sim.pause(2, 0.7)
            started = sim.time
            with pytest.raises(Timeout, match="node-2"):
                async with topic.subscribe():
                    pass
            assert sim.time - started == pytest.approx(0.5)
            await asyncio.sleep(1.0)
            assert len(direct(sim, 0).inlets) == 0
            assert not of(sim, SubscriptionStarted)
            assert not of(sim, SubscriptionEnded)
            async with topic.subscribe() as messages:
                await (await sim.node(2).topic("numbers")).publish(1)
                assert (await anext(messages)).value == 1

        sim.run(history())


def test_a_node_that_never_reads_delays_publishers_a_moment_and_no_other_subscriber(sim: SimCluster):
    async def history() -> None:
        topic = await sim.node(0).topic("blobs", bytes)
        near = await Listener(sim, 1, "blobs").start()
        far = await Listener(sim, 2, "blobs").start()
        [stuck] = [each for each in sim.node(2).runtime.acceptor.connections if each.peer.authority == sim.authority(0)]
        stuck._transport.pause_reading()
        began, waited = sim.time, 0.0
        for number in range(200):
            before = sim.time
            await topic.publish(bytes([number]) * 100_000)
            waited = max(waited, sim.time - before)
        assert waited <= PubSubConfig().room_wait_s + 0.01
        assert sim.time - began < 2.0
        await sim.until(lambda: len(near.messages) == 200, within_s=10.0)
        dropped = direct(sim, 0).counts.of("blobs").dropped["slow_node"]
        assert dropped > 100
        stuck._transport.resume_reading()
        await sim.until(lambda: far.subscription.missed == dropped, within_s=10.0)
        assert len(far.messages) == 200 - dropped
        await topic.publish(b"last")
        await sim.until(lambda: far.values[-1] == b"last", within_s=10.0)

    sim.run(history())


def test_errors_of_a_subscriber_are_its_own(sim: SimCluster):
    async def history() -> None:
        topic = await sim.node(0).topic("numbers", int)
        failing = await sim.node(2).topic("numbers")

        async def fails() -> None:
            async with failing.subscribe() as messages:
                async for message in messages:
                    raise ValueError(message.value)

        async def hangs() -> None:
            async with failing.subscribe(window=5) as messages:
                async for _ in messages:
                    await asyncio.Event().wait()

        tasks = [asyncio.ensure_future(fails()), asyncio.ensure_future(hangs())]
        other = await Listener(sim, 2, "numbers").start()
        accepted = await publish_for(topic, 5.0, 0.1)
        await sim.until(lambda: other.values == accepted, within_s=5.0)
        with pytest.raises(ValueError, match="0"):
            await tasks[0]
        tasks[1].cancel()

    sim.run(history())
    assert not of(sim, TopicGap)
