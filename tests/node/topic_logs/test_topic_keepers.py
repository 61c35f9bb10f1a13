"""The keepers of topics at least once, on simulated nodes: what is stored, delivered, given up, dropped and trimmed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import inaho
from inaho.core.pubsub.definition import TopicDefinition
from inaho.errors import InvalidConfig, NoSuchTopic, OwnershipChanged, StateConflict, SubscriptionLost, TopicFull
from inaho.events import BacklogFull, MessageDeadLettered, MessageRedelivered, MessagesDropped
from inaho.runtime.topic_logs.keeper_messages import (
    EARLIEST,
    AppendBatch,
    ConsumeRequest,
    Deliveries,
    NewMessage,
    PartitionKeeper,
    ReplayRequest,
    Retry,
    Settlement,
    StartAt,
    keeper_key,
)
from inaho.testing.cluster.sim_cluster import SimCluster
from inaho.wire.codec import decoder, encode
from support.topic_logs import Idle, check_keepers, events, keeper_of, keepers_at, topic

decode = decoder(str)


def batch(number: int, *values: str, key: str = "", publisher: str = "p", ids: bool = False) -> AppendBatch:
    return AppendBatch(publisher, number, [NewMessage(key, 0.0, encode(each), each if ids else "") for each in values])


class Reader:
    """A consumer without a handler: the test decides what it answers."""

    def __init__(self, keeper: PartitionKeeper, name: str = "c", subscription: str = "s", credit: int = 10) -> None:
        self.keeper = keeper
        self.request = ConsumeRequest(subscription, name, credit=credit, start=StartAt(EARLIEST))
        self.items: list[Deliveries] = []
        self.error: BaseException | None = None
        self.task = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        try:
            async for item in self.keeper.consume(self.request):
                self.items.append(item)
        except inaho.InahoError as error:
            self.error = error

    @property
    def messages(self) -> list[tuple[str, int]]:
        """Values and attempts, as they came."""
        return [(decode(each.value), each.attempt) for item in self.items for each in item.messages]

    async def until(self, count: int) -> None:
        """Returns when so many deliveries have come."""
        async with asyncio.timeout(60.0):
            while len(self.messages) < count:
                await asyncio.sleep(0.01)

    async def settle(self, **what: Any) -> list[tuple[int, int]]:
        return await self.keeper.settle(Settlement(self.request.subscription, self.request.consumer, **what))

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


def cluster(**arguments: Any) -> SimCluster:
    return SimCluster(grains=(Idle,), **{"nodes": 2, "seed": 1, **arguments})


async def home(sim: SimCluster, partition: int) -> int:
    """Index of the node of a keeper."""
    key = keeper_key("orders", partition)
    [index] = [at for at in range(len(sim._nodes)) if sim.is_member(at) and key in keepers_at(sim, at)]
    return index


def test_a_batch_is_stored_once_also_when_the_keeper_moves_and_its_records_were_trimmed():
    with cluster(nodes=3) as sim:

        async def story() -> None:
            await topic(sim, 0)
            keeper = keeper_of(sim, 0, 0)
            assert (await keeper.append(batch(1, "a", "b"))).stored == 2
            assert (await keeper.append(batch(1, "a", "b"))).stored == 0
            assert (await keeper.append(batch(1, "c", publisher="q"))).first == 2
            await asyncio.sleep(15.0)
            assert (await keeper.describe("")).appended == 3

        sim.run(story())
        for number, kill in ((2, False), (3, True)):
            index = sim.run(home(sim, 0))
            if index:  # the first one keeps the cluster together
                sim.crash(index) if kill else sim.leave(index)
            sim.run_for(20.0)

            async def again(number: int = number) -> None:
                keeper = keeper_of(sim, 0, 0)
                assert (await keeper.append(batch(1, "a", "b"))).stored == 0
                assert (await keeper.append(batch(1, "c", publisher="q"))).stored == 0
                assert (await keeper.append(batch(number, "d"))).first == number + 1

            sim.run(again())
        check_keepers(sim)


def test_messages_without_a_key_stay_on_a_node_that_keeps_partitions():
    with cluster(nodes=3) as sim:

        async def counts() -> list[int]:
            return [(await keeper_of(sim, 0, number).describe("")).end for number in range(8)]

        async def publishes(index: int) -> dict[int, int]:
            """The partitions that got messages from that node, and how many."""
            handle = await topic(sim, index, partitions=8)
            await counts()  # all keepers are active
            before = await counts()
            for number in range(16):
                await handle.publish(str(number))
            after = zip(before, await counts(), strict=True)
            return {number: now - then for number, (then, now) in enumerate(after) if now > then}

        def kept(index: int) -> set[int]:
            return {int(key.partition("/")[0]) for key in keepers_at(sim, index)}

        for index in range(3):
            got = sim.run(publishes(index))
            assert set(got) == kept(index)
            assert max(got.values()) - min(got.values()) <= 1
        sim.leave(2)
        sim.run_for(5.0)
        assert set(sim.run(publishes(1))) == kept(1)
        assert kept(0) | kept(1) == set(range(8))


def test_a_failing_message_holds_back_its_key_and_becomes_a_dead_letter():
    with cluster() as sim:

        async def story() -> None:
            await topic(sim, 0, attempts_max=3, retry_base_s=1.0, partitions=1)
            keeper = keeper_of(sim, 0, 0)
            for number, (key, value) in enumerate([("x", "x1"), ("x", "x2"), ("y", "y1"), ("", "z")], 1):
                await keeper.append(batch(number, value, key=key))
            reader = Reader(keeper)
            await reader.until(4)
            assert await reader.settle(acked=[(2, 1), (3, 1)], retried=[Retry(0, 1, None, "bad")]) == []
            await asyncio.sleep(0.5)
            assert len(reader.messages) == 4, "a pause has passed too early"
            await reader.until(6)
            assert reader.messages[4:] == [("x1", 2), ("x2", 1)]
            assert [each for item in reader.items for each in item.over] == [(1, 1)]
            await reader.settle(retried=[Retry(0, 2, None, "bad")])
            await reader.until(8)
            described = await keeper.describe("")
            assert described.subscriptions[0].attempts_most == 2 and described.subscriptions[0].lag == 2
            await reader.settle(retried=[Retry(0, 3, None, "worse")])
            await reader.until(9)
            assert reader.messages[8] == ("x2", 1)
            await reader.settle(acked=[(1, 1)])
            described = await keeper.describe("")
            assert described.subscriptions[0].lag == 0 and described.subscriptions[0].dead_letters == 1
            dead = await topic(sim, 1, "orders.dead-letters", partitions=8)
            letters = [letter async for letter in dead.replay("earliest")]
            assert len(letters) == 1 and letters[0].key == "x"
            await reader.end()

        sim.run(story())
        told = events(sim, MessageDeadLettered)
        assert [(each.offset, each.attempts, each.reason) for each in told] == [(0, 3, "worse")]
        assert len(events(sim, MessageRedelivered)) == 2
        check_keepers(sim)


@pytest.mark.parametrize("how", ["time", "gone", "leaving"])
def test_what_a_consumer_does_not_settle_goes_to_another_one(how: str):
    with cluster() as sim:

        async def story() -> None:
            await topic(sim, 0, ack_timeout_s=5.0, partitions=1)
            keeper = keeper_of(sim, 0, 0)
            await keeper.append(batch(1, "a", key="k"))
            first = Reader(keeper, "first", credit=1)
            await first.until(1)
            second = Reader(keeper, "second")
            await asyncio.sleep(1.0)
            assert second.messages == []
            if how == "leaving":
                await first.settle(leaving=True)
            elif how == "gone":
                await first.end()
            await second.until(1)
            assert second.messages == [("a", 1 if how == "leaving" else 2)]
            if how == "time":
                assert first.items[-1].over == [(0, 1)]
                assert await first.settle(acked=[(0, 1)]) == [(0, 1)]
            assert await second.settle(acked=[(0, second.messages[0][1])]) == []
            await first.end()
            await second.end()

        sim.run(story())
        check_keepers(sim)


def test_a_subscriber_that_keeps_up_costs_no_read_of_the_storage():
    with cluster() as sim:

        async def story() -> None:
            await topic(sim, 0, partitions=1)
            keeper = keeper_of(sim, 0, 0)
            reader = Reader(keeper, credit=100)
            await asyncio.sleep(1.0)
            reads = sim.storage.log.reads
            for number in range(1, 51):
                await keeper.append(batch(number, f"{number}a", f"{number}b"))
                await reader.until(2 * number)
                await reader.settle(acked=[(2 * number - 2, 1), (2 * number - 1, 1)])
            assert sim.storage.log.reads == reads
            await asyncio.sleep(3.0)
            described = await keeper.describe("")
            assert described.first == described.end == 100, "what was acknowledged is not trimmed"
            await reader.end()

        sim.run(story())


def test_messages_stay_for_a_replay_as_long_as_the_topic_says():
    with cluster() as sim:

        async def story() -> None:
            await topic(sim, 0, retention_s=100.0, partitions=1)
            keeper = keeper_of(sim, 0, 0)
            for number in range(1, 6):
                now = sim.unix_time()
                await keeper.append(AppendBatch("p", number, [NewMessage("", now, encode(str(number)))]))
                await asyncio.sleep(10.0)

            async def replay(start: StartAt) -> list[str]:
                found: list[str] = []
                async for portion in keeper.replay(ReplayRequest(start)):
                    found += [decode(each.value) for each in portion]
                return found

            assert await replay(StartAt(EARLIEST)) == ["1", "2", "3", "4", "5"]
            assert await replay(StartAt("time", time=sim.unix_time() - 25.0)) == ["4", "5"]
            assert await replay(StartAt("offset", 1)) == ["2", "3", "4", "5"]
            await asyncio.sleep(75.0)
            assert await replay(StartAt(EARLIEST)) == ["3", "4", "5"]

        sim.run(story())


def test_a_full_backlog_refuses_or_drops_the_oldest():
    with cluster() as sim:

        async def story() -> None:
            for name, policy in (("orders", "reject"), ("prices", "drop_oldest")):
                await topic(sim, 0, name, partitions=1, backlog_max=10, backlog_policy=policy)
                keeper = keeper_of(sim, 0, 0, name)
                await keeper.append(batch(1, "before"))
                reader = Reader(keeper, credit=1)
                await reader.until(1)
                for number in range(2, 11):
                    await keeper.append(batch(number, str(number)))
                if policy == "reject":
                    with pytest.raises(TopicFull, match="keeps 10 messages"):
                        await keeper.append(batch(11, "11"))
                    await reader.settle(acked=[(0, 1)])
                    assert (await keeper.append(batch(11, "11"))).stored == 1
                else:
                    assert (await keeper.append(batch(11, "11", "12"))).stored == 2
                    await reader.until(2)
                    assert reader.messages[1] == ("3", 1)
                    assert [each for item in reader.items for each in item.over] == [(0, 1)]
                    both = [keeper.append(batch(1, *"abcdefg", publisher=each)) for each in "qr"]
                    assert [each.stored for each in await asyncio.gather(*both)] == [7, 7], "one was refused"
                await reader.end()

        sim.run(story())
        assert [(each.count, each.subscription) for each in events(sim, MessagesDropped)] == [
            (2, "s"), (7, "s"), (3, "s"), (4, "s"),  # the last ones are of the first of both
        ]  # fmt: skip
        assert {each.policy for each in events(sim, BacklogFull)} == {"reject", "drop_oldest"}
        check_keepers(sim)


def test_a_subscription_is_moved_and_deleted():
    with cluster() as sim:

        async def story() -> None:
            await topic(sim, 0, partitions=1, retention_s=1000.0)
            keeper = keeper_of(sim, 0, 0)
            await keeper.append(batch(1, "a", "b", "c"))
            reader = Reader(keeper)
            await reader.until(3)
            await reader.settle(acked=[(0, 1), (1, 1)])
            assert await keeper.seek("s", StartAt("offset", 1)) == 1
            await reader.until(5)
            assert reader.messages[3:] == [("b", 1), ("c", 1)]
            with pytest.raises(inaho.InahoError, match="no subscription"):
                await keeper.seek("t", StartAt(EARLIEST))
            assert await keeper.delete_subscription("s")
            assert not await keeper.delete_subscription("s")
            await asyncio.wait([reader.task])
            assert isinstance(reader.error, SubscriptionLost)

        sim.run(story())


def test_a_topic_that_is_deleted_and_created_again_has_an_empty_log():
    with cluster() as sim:

        async def story() -> None:
            await topic(sim, 0, partitions=1)
            keeper = keeper_of(sim, 0, 0)
            reader = Reader(keeper)
            await keeper.append(batch(1, "a", "b"))
            await reader.until(2)
            definitions = sim.node(0)._node.topics.definitions
            deleted = await definitions.delete("orders")
            await sim.node(0)._node.topics.at_least_once.operations.remove(deleted)
            await asyncio.wait([reader.task])
            assert isinstance(reader.error, SubscriptionLost | NoSuchTopic)
            with pytest.raises(NoSuchTopic):
                await keeper.append(batch(2, "c"))
            await asyncio.sleep(1.0)
            await topic(sim, 1, partitions=1)
            assert (await keeper.append(batch(1, "new"))).first == 2
            other = Reader(keeper)
            await other.until(1)
            assert other.messages == [("new", 1)]
            await other.end()

        sim.run(story())


def test_a_keeper_that_was_replaced_ends_and_stores_nothing():
    """Another keeper opens the log, as across a split."""
    with cluster() as sim:

        async def story() -> None:
            await topic(sim, 0, partitions=1)
            keeper = keeper_of(sim, 0, 0)
            await keeper.append(batch(1, "a"))
            old = keepers_at(sim, await home(sim, 0))[keeper_key("orders", 0)]
            log = sim.storage.log
            bounds = await log.bounds("orders/0")
            await log.open_log("orders/0", epoch=bounds.epoch + 1)
            with pytest.raises((StateConflict, OwnershipChanged)):
                await keeper.append(batch(2, "b"))
            await asyncio.sleep(2.0)  # this node leaves the log to the other one for a while
            assert (await keeper.append(batch(2, "b"))).first == 1, "the next keeper stores it"
            assert keepers_at(sim, await home(sim, 0))[keeper_key("orders", 0)] is not old

        sim.run(story())
        check_keepers(sim)


async def test_a_storage_of_one_node_alone_is_refused(fleet: Any):
    member = await fleet.member(Idle, storage="memory")
    node = member._node
    definition = TopicDefinition(name="orders", delivery="at_least_once", partitions=1)
    await node.topics.definitions.define(definition)
    with pytest.raises(InvalidConfig, match="outlives this process"):
        await node.topics.at_least_once.keepers("orders", 0).append(batch(1, "a"))
