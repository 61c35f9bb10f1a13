"""Publishing to one partition: batches, repetitions, time-outs and bounds, with a keeper that does as it is told."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from inaho.config import ClusterConfig, PubSubConfig
from inaho.errors import (
    InahoError,
    InvalidConfig,
    MessageTooLarge,
    NoSuchTopic,
    OwnershipChanged,
    ShuttingDown,
    StateTooLarge,
    StorageFailed,
    Timeout,
    TopicFull,
    Unreachable,
)
from inaho.runtime.local.topology import Topology
from inaho.runtime.topic_logs.keeper_messages import KEEPER, AppendBatch, Appended, NewMessage
from inaho.runtime.topic_logs.partition_lane import PartitionLane
from inaho.runtime.topic_logs.topic_counts import TopicNumbers
from inaho.types import Member, MemberStatus, TopologySnapshot
from support.failing_logs import local_node
from support.waiting import until

TIMEOUT_S = 10.0


class Keeper:
    """Answers each append as the test says: with what is next in `outcomes`, or when it is let go."""

    def __init__(self) -> None:
        self.batches: list[AppendBatch] = []
        self.outcomes: list[InahoError | None] = []
        self.gate: asyncio.Event | None = None

    async def append(self, batch: AppendBatch) -> Appended:
        self.batches.append(batch)
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if self.gate is not None:
            await self.gate.wait()
        if outcome is not None:
            raise outcome
        return Appended(0, len(batch.messages))

    def sent(self) -> list[list[str]]:
        return [[message.key for message in batch.messages] for batch in self.batches]


Start = Callable[..., PartitionLane]


@pytest.fixture
async def keeper() -> Keeper:
    return Keeper()


@pytest.fixture
async def start(keeper: Keeper) -> Any:
    """Makes a lane to that keeper; nothing may be left of it at the end."""
    lanes: list[PartitionLane] = []
    busy: dict[PartitionLane, None] = {}

    def begin(*, drop: bool = False, **pubsub: Any) -> PartitionLane:
        local = local_node(ClusterConfig(pubsub=PubSubConfig(publish_timeout_s=TIMEOUT_S, **pubsub)))
        topology = Topology(local, lambda kind: None)
        numbers = itertools.count(1)
        lane = PartitionLane(local, topology, keeper, "t", 0, numbers.__next__, TopicNumbers(), busy, drop=drop)  # type: ignore[arg-type]
        lanes.append(lane)
        begin.topology = topology  # type: ignore[attr-defined]
        return lane

    yield begin
    for lane in lanes:
        lane.close()
    keeper.gate = None
    await until(lambda: not busy)


def put(lane: PartitionLane, *keys: str, size_bytes: int = 100) -> list[asyncio.Future[None]]:
    now = asyncio.get_running_loop().time()
    return [lane.put(NewMessage(key, 0.0, b""), size_bytes, now) for key in keys]


def now() -> float:
    return asyncio.get_running_loop().time()


async def failure(stored: asyncio.Future[None]) -> InahoError:
    with pytest.raises(InahoError) as caught:
        await stored
    return caught.value


async def test_what_is_published_in_one_turn_of_the_loop_is_one_batch(start: Start, keeper: Keeper):
    await asyncio.gather(*put(start(), "a", "b", "c"))
    assert keeper.sent() == [["a", "b", "c"]]


async def test_what_comes_while_a_batch_is_on_its_way_is_the_next_one(start: Start, keeper: Keeper):
    lane = start()
    keeper.gate = asyncio.Event()
    first = put(lane, "a")
    await until(lambda: keeper.batches)
    later = put(lane, "b")
    await asyncio.sleep(0)
    later += put(lane, "c")
    assert keeper.sent() == [["a"]]
    keeper.gate.set()
    await asyncio.gather(*first, *later)
    assert keeper.sent() == [["a"], ["b", "c"]]
    assert [batch.number for batch in keeper.batches] == [1, 2]
    assert lane.sent == 3


@pytest.mark.parametrize(
    "error",
    [
        StorageFailed("gone"),
        Unreachable("gone"),
        OwnershipChanged("moved"),
        Timeout("late"),
        ShuttingDown("leaves"),
    ],
    ids=lambda error: error.code,
)
async def test_a_batch_is_repeated_with_its_number_until_it_is_stored(start: Start, keeper: Keeper, error: InahoError):
    keeper.outcomes = [error, error, None]
    lane = start()
    first = put(lane, "a")
    await until(lambda: len(keeper.batches) == 1)
    await asyncio.gather(*first, *put(lane, "b"))
    assert keeper.sent() == [["a"], ["a"], ["a"], ["b"]]
    assert [batch.number for batch in keeper.batches] == [1, 1, 1, 2]
    assert lane.repeated == 2


@pytest.mark.parametrize(
    "error", [
        TopicFull("full"), NoSuchTopic("none"), InvalidConfig("none"), StateTooLarge("big"),
        *(refused("of another node", maybe_executed=True) for refused in (TopicFull, NoSuchTopic, MessageTooLarge)),
    ],
    ids=lambda error: f"{error.code}-{error.maybe_executed}",
)  # fmt: skip
async def test_what_waiting_does_not_help_fails_at_once_and_the_next_batch_goes_on(
    start: Start, keeper: Keeper, error: InahoError
):
    keeper.outcomes = [error]
    lane = start()
    one, other = put(lane, "a", "b")
    errors = [await failure(one), await failure(other)]
    assert [type(each) for each in errors] == [type(error)] * 2
    assert errors[0] is not errors[1] and not errors[0].maybe_executed
    await asyncio.gather(*put(lane, "c"))


async def test_a_refusal_after_an_unknown_outcome_may_be_stored(start: Start, keeper: Keeper):
    keeper.outcomes = [StorageFailed("gone"), NoSuchTopic("deleted meanwhile")]
    assert (await failure(put(start(), "a")[0])).maybe_executed


async def test_a_message_that_was_not_sent_in_time_is_not_stored(start: Start, keeper: Keeper):
    lane = start()
    keeper.gate = asyncio.Event()
    put(lane, "a")
    await until(lambda: keeper.batches)
    (late,) = put(lane, "b")
    lane.tick(now() + TIMEOUT_S + 0.1)
    error = await failure(late)
    assert isinstance(error, Timeout) and not error.maybe_executed


async def test_a_message_that_was_sent_and_not_answered_may_be_stored_and_the_next_one_goes_on(
    start: Start, keeper: Keeper
):
    lane = start()
    keeper.gate = asyncio.Event()
    (late,) = put(lane, "a")
    await until(lambda: keeper.batches)
    lane.tick(now() + TIMEOUT_S - 0.5)
    assert not late.done()
    lane.tick(now() + TIMEOUT_S + 0.1)
    error = await failure(late)
    assert isinstance(error, Timeout) and error.maybe_executed and error.identity == "inaho.topic-log/0/t"
    (following,) = put(lane, "b")
    await until(lambda: len(keeper.batches) == 2)
    keeper.gate.set()
    await following
    assert keeper.sent() == [["a"], ["b"]]


async def test_a_time_out_says_what_failed(start: Start, keeper: Keeper):
    lane = start()
    keeper.outcomes = [Unreachable("no way there")] * 100
    (late,) = put(lane, "a")
    await until(lambda: len(keeper.batches) > 1)
    lane.tick(now() + TIMEOUT_S + 0.1)
    error = await failure(late)
    assert "no way there" in error.reason and not error.maybe_executed


async def test_dropping_fails_at_once_while_the_log_is_away_but_waits_for_a_move(start: Start, keeper: Keeper):
    lane = start(drop=True)
    keeper.outcomes = [OwnershipChanged("moves"), None, StorageFailed("gone")]
    await asyncio.gather(*put(lane, "a"))
    assert isinstance(await failure(put(lane, "b")[0]), StorageFailed)
    assert keeper.sent() == [["a"], ["a"], ["b"]]


async def test_dropping_fails_at_once_while_the_node_of_the_log_cannot_be_reached(start: Start, keeper: Keeper):
    lane = start(drop=True)
    topology = start.topology  # type: ignore[attr-defined]
    member = Member("127.0.0.1:1", "a" * 16, 1, MemberStatus.UP, (KEEPER,))
    topology.snapshot = TopologySnapshot(1, 1, (member,))
    topology.lookup.update_topology(topology.snapshot)
    await asyncio.gather(*put(lane, "a"))
    keeper.gate = asyncio.Event()
    (sent,) = put(lane, "b")
    await until(lambda: len(keeper.batches) == 2)
    (waits,) = put(lane, "c")
    lane.tick(now() + 1.0)
    topology.snapshot = TopologySnapshot(2, 2, (replace(member, status=MemberStatus.UNREACHABLE),))
    lane.tick(now())  # another node may take the log over at once
    assert not sent.done() and not waits.done()
    lane.tick(now() + 1.0)
    errors = [await failure(sent), await failure(waits)]
    assert [type(each) for each in errors] == [Unreachable] * 2
    assert [each.maybe_executed for each in errors] == [True, False]


async def test_batches_are_bounded_in_messages_and_bytes(start: Start, keeper: Keeper):
    lane = start(log_batch_messages_max=3, log_batch_bytes_max=1000)
    await asyncio.gather(*put(lane, *"abcde"))
    await asyncio.gather(*put(lane, *"xyz", size_bytes=450))
    assert keeper.sent() == [["a", "b", "c"], ["d", "e"], ["x", "y"], ["z"]]


async def test_publishers_wait_for_room_in_their_order(start: Start, keeper: Keeper):
    lane = start(log_batch_bytes_max=1000)
    keeper.gate = asyncio.Event()
    put(lane, "a")
    await until(lambda: keeper.batches)
    put(lane, *"bcde", size_bytes=500)
    assert lane.full()
    waiting = [asyncio.create_task(lane.put_later(NewMessage(key, 0.0, b""), 500)) for key in "fgh"]
    await asyncio.sleep(0)
    waiting[1].cancel()
    keeper.gate.set()
    await asyncio.gather(waiting[0], waiting[2])
    assert waiting[1].cancelled()
    assert [key for batch in keeper.sent() for key in batch] == list("abcdefh")
    assert not lane.full()


async def test_a_publisher_that_finds_no_room_in_time_has_published_nothing(start: Start, keeper: Keeper):
    lane = start(log_batch_bytes_max=1000)
    lane._timeout_s = 0.01
    keeper.gate = asyncio.Event()
    put(lane, "a")
    await until(lambda: keeper.batches)
    put(lane, *"bcde", size_bytes=500)
    with pytest.raises(Timeout) as caught:
        await lane.put_later(NewMessage("f", 0.0, b""), 500)
    assert not caught.value.maybe_executed


async def test_a_publisher_that_was_cancelled_before_its_batch_left_publishes_nothing(start: Start, keeper: Keeper):
    lane = start()
    stays, goes = put(lane, "a", "b")
    goes.cancel()
    await stays
    assert keeper.sent() == [["a"]]


async def test_a_node_that_stops_tells_all_who_wait(start: Start, keeper: Keeper):
    lane = start(log_batch_bytes_max=1000)
    keeper.gate = asyncio.Event()
    (sent,) = put(lane, "a")
    await until(lambda: keeper.batches)
    waits = put(lane, *"bcde", size_bytes=500)
    no_room = asyncio.create_task(lane.put_later(NewMessage("f", 0.0, b""), 500))
    await asyncio.sleep(0)
    lane.close()
    errors = [await failure(each) for each in (sent, *waits)]
    assert all(isinstance(each, ShuttingDown) for each in errors)
    assert [each.maybe_executed for each in errors] == [True] + [False] * 4
    with pytest.raises(ShuttingDown):
        await no_room
