"""Which turns run and which wait, against a model that says it in words."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from inaho.core.rpc.turns import DROPPED_OLDEST, QUEUED, REFUSED, STARTED, TurnQueue
from inaho.errors import IllegalTransition


class Call:
    """A turn, as far as the queue knows it."""

    def __init__(self, name: str, *, read_only: bool = False) -> None:
        self.name = name
        self.read_only = read_only

    def __repr__(self) -> str:
        return f"{'reader' if self.read_only else 'writer'} {self.name}"


def queue_of(*, reentrant: bool = False, depth: int = 3, drop_oldest: bool = False) -> TurnQueue[Call]:
    return TurnQueue(reentrant=reentrant, depth=depth, drop_oldest=drop_oldest)


def writer(name: str) -> Call:
    return Call(name)


def reader(name: str) -> Call:
    return Call(name, read_only=True)


def test_turns_run_one_after_another_in_their_order() -> None:
    queue, turns = queue_of(), [writer(name) for name in "abcd"]
    assert [queue.offer(turn)[0] for turn in turns] == [STARTED, QUEUED, QUEUED, QUEUED]
    for turn, successor in itertools.pairwise(turns):
        assert queue.next() is None
        queue.finish(turn)
        assert queue.next() is successor
    queue.finish(turns[-1])
    assert queue.next() is None and queue.idle


def test_readers_run_together_until_a_writer_waits() -> None:
    queue = queue_of()
    first, second, third, change = reader("1"), reader("2"), reader("3"), writer("w")
    assert [queue.offer(turn)[0] for turn in (first, second, change, third)] == [STARTED, STARTED, QUEUED, QUEUED]
    queue.finish(first)
    assert queue.next() is None, "a reader still runs"
    queue.finish(second)
    assert queue.next() is change
    assert queue.next() is None, "the writer runs alone"
    queue.finish(change)
    assert queue.next() is third


def test_all_turns_of_a_reentrant_kind_run_together() -> None:
    queue = queue_of(reentrant=True)
    assert [queue.offer(turn)[0] for turn in (writer("a"), reader("b"), writer("c"))] == [STARTED] * 3
    queue.check()


def test_a_full_queue_refuses_and_stays_as_it_was() -> None:
    queue = queue_of(depth=2)
    turns = [writer(name) for name in "abcd"]
    assert [queue.offer(turn) for turn in turns][-1] == (REFUSED, None)
    assert list(queue.waiting) == turns[1:3] and queue.running == turns[:1]


def test_a_full_queue_drops_its_oldest_where_it_is_told_to() -> None:
    queue = queue_of(depth=2, drop_oldest=True)
    turns = [writer(name) for name in "abcd"]
    assert [queue.offer(turn) for turn in turns][-1] == (DROPPED_OLDEST, turns[1])
    assert list(queue.waiting) == turns[2:]


def test_a_turn_called_from_here_goes_ahead_only_beside_compatible_ones() -> None:
    queue = queue_of()
    queue.offer(reader("running"))
    queue.offer(writer("waiting"))
    assert queue.offer(reader("inner"), ahead=True)[0] == STARTED
    assert queue.offer(writer("inner"), ahead=True)[0] == QUEUED, "its caller must refuse it as a cycle"


def test_nothing_starts_while_held() -> None:
    queue, turn = queue_of(), writer("a")
    queue.held = True
    assert not queue.compatible(turn)
    assert queue.offer(turn)[0] == QUEUED
    assert queue.next() is None and not queue.idle
    queue.held = False
    assert queue.next() is turn


def test_a_turn_that_a_running_one_waits_for_starts_while_held() -> None:
    queue = queue_of()
    queue.offer(reader("running"))
    queue.held = True
    assert queue.offer(reader("inner"), ahead=True)[0] == STARTED
    assert queue.offer(writer("inner"), ahead=True)[0] == QUEUED, "its caller must refuse it as a cycle"
    assert queue.offer(reader("other"))[0] == QUEUED


def test_a_turn_that_waits_can_be_withdrawn_once() -> None:
    queue, first, second = queue_of(), writer("a"), writer("b")
    queue.offer(first)
    queue.offer(second)
    assert not queue.withdraw(first), "it runs"
    assert queue.withdraw(second) and not queue.withdraw(second)


def test_a_turn_that_does_not_run_cannot_finish() -> None:
    queue, first, second = queue_of(), writer("a"), writer("b")
    queue.offer(first)
    queue.offer(second)
    for stranger in (second, writer("c")):
        with pytest.raises(IllegalTransition):
            queue.finish(stranger)
    assert queue.running == [first] and list(queue.waiting) == [second]


class QueueMachine(RuleBasedStateMachine):
    """Any calls in any order. The model keeps what has to start next, in the order of arrival."""

    def __init__(self) -> None:
        super().__init__()
        self.made = 0
        self.running: list[Call] = []
        self.waiting: list[Call] = []

    @initialize(reentrant=st.booleans(), depth=st.integers(1, 4), drop_oldest=st.booleans())
    def start(self, reentrant: bool, depth: int, drop_oldest: bool) -> None:
        self.reentrant, self.depth, self.drop_oldest = reentrant, depth, drop_oldest
        self.queue = queue_of(reentrant=reentrant, depth=depth, drop_oldest=drop_oldest)

    def may_start(self, turn: Call, ahead: bool = False) -> bool:
        beside_readers = turn.read_only and all(other.read_only for other in self.running)
        return (ahead or not self.queue.held) and (not self.running or self.reentrant or beside_readers)

    @rule(read_only=st.booleans(), ahead=st.booleans())
    def offer(self, read_only: bool, ahead: bool) -> None:
        self.made += 1
        turn = Call(str(self.made), read_only=read_only)
        outcome = self.queue.offer(turn, ahead=ahead)
        if self.may_start(turn, ahead) and (ahead or not self.waiting):
            assert outcome == (STARTED, None)
            self.running.append(turn)
        elif len(self.waiting) < self.depth:
            assert outcome == (QUEUED, None)
            self.waiting.append(turn)
        elif self.drop_oldest:
            assert outcome == (DROPPED_OLDEST, self.waiting.pop(0))
            self.waiting.append(turn)
        else:
            assert outcome == (REFUSED, None)

    @rule()
    def next(self) -> None:
        expected = self.waiting[0] if self.waiting and self.may_start(self.waiting[0]) else None
        assert self.queue.next() is expected
        if expected is not None:
            self.running.append(self.waiting.pop(0))

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        turn = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        self.queue.finish(turn)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        turn = self.waiting.pop(data.draw(st.integers(0, len(self.waiting) - 1)))
        assert self.queue.withdraw(turn)

    @rule(held=st.booleans())
    def hold(self, held: bool) -> None:
        self.queue.held = held

    @invariant()
    def agrees_with_the_model(self) -> None:
        if not hasattr(self, "queue"):
            return
        self.queue.check()
        assert self.queue.running == self.running
        assert list(self.queue.waiting) == self.waiting
        assert self.queue.idle == (not self.running and not self.waiting and not self.queue.held)
        if not self.reentrant and any(not turn.read_only for turn in self.running):
            assert len(self.running) == 1


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=60, stateful_step_count=40)
