"""The wheel of pending calls against the plainest model: a dict of deadlines."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from inaho.core.rpc.deadlines import COUNT_MASK, SLOT_MASK, SLOT_S, SLOTS, SPAN_S, PendingWheel

TURN_S = SLOTS * SLOT_S
ROUNDING_S = 1e-6
"""Of times of the order of a day, in floating point."""

starts = st.floats(0.0, 100_000.0)
near = st.floats(0.0, SPAN_S)
far = st.floats(SPAN_S, 20 * TURN_S)
edges = st.sampled_from([0.0, SLOT_S, 2 * SLOT_S, SPAN_S - SLOT_S, SPAN_S, SPAN_S + SLOT_S, TURN_S, 2 * TURN_S, 1e6])


def test_an_entry_is_found_and_forgotten_by_its_id() -> None:
    wheel: PendingWheel[str] = PendingWheel(10.0)
    first = wheel.add("first", 12.0, 10.0)
    second = wheel.add("second", 12.0, 10.0)
    assert first != second
    assert (wheel.get(first), wheel.get(first)) == ("first", "first")
    assert wheel.pop(first) == "first"
    assert wheel.pop(first) is None and wheel.get(first) is None
    assert list(wheel) == ["second"] and len(wheel) == 1


def test_what_expires_comes_once_in_the_order_of_the_calls() -> None:
    wheel: PendingWheel[int] = PendingWheel(0.0)
    ids = [wheel.add(number, 1.05, 0.0) for number in range(5)]
    assert wheel.expire(1.05) == []
    assert wheel.expire(1.2) == list(zip(ids, range(5), strict=True))
    assert wheel.expire(100.0) == [] and len(wheel) == 0


def test_a_far_deadline_passes_its_slot_and_stays() -> None:
    wheel: PendingWheel[str] = PendingWheel(0.0)
    wheel.add("stream", 3 * TURN_S + 1.0, 0.0)
    now = 0.0
    while now < 3 * TURN_S:
        now += 0.5
        assert wheel.expire(now) == []
        wheel.check()
    assert [entry for _, entry in wheel.expire(now + 2.0)] == ["stream"]
    wheel.check()


def test_an_answered_far_call_leaves_nothing_behind() -> None:
    wheel: PendingWheel[str] = PendingWheel(0.0)
    assert wheel.pop(wheel.add("stream", 1e6, 0.0)) == "stream"
    assert not wheel.far
    wheel.check()


def test_drain_gives_every_entry_once() -> None:
    wheel: PendingWheel[int] = PendingWheel(0.0)
    for number in range(50):
        wheel.add(number, number * 7.3, 0.0)
    assert sorted(wheel.drain()) == list(range(50))
    assert wheel.drain() == [] and not wheel.far and len(wheel) == 0
    wheel.check()


@pytest.mark.parametrize("late_s", [0.0, 0.05, 0.15, 1.0, TURN_S, 1000.0])
def test_a_deadline_that_has_passed_expires_at_the_next_turn(late_s: float) -> None:
    wheel: PendingWheel[str] = PendingWheel(2000.0)
    wheel.add("late", 2000.0 - late_s, 2000.0)
    assert [entry for _, entry in wheel.expire(2000.0 + 2 * SLOT_S)] == ["late"]


@pytest.mark.parametrize("pause_s", [0.3, 5.0, 30.0, TURN_S, 60.0, 3600.0])
@pytest.mark.parametrize("timeout_s", [0.5, 5.0, 30.0, 50.5, SPAN_S, 60.0])
def test_a_call_made_after_a_pause_and_before_the_wheel_is_turned_lives_as_long_as_any(
    pause_s: float, timeout_s: float
) -> None:
    wheel: PendingWheel[str] = PendingWheel(100.0)
    now = 100.0 + pause_s
    wheel.add("call", now + timeout_s, now)
    assert wheel.expire(now + SLOT_S) == []
    assert wheel.expire(now + timeout_s - SLOT_S) == []
    assert [entry for _, entry in wheel.expire(now + timeout_s + 2 * SLOT_S)] == ["call"]


def test_ids_wrap_without_taking_one_that_is_pending() -> None:
    wheel: PendingWheel[str] = PendingWheel(0.0)
    stream = wheel.add("stream", 1e6, 0.0)
    neighbour = wheel.add("neighbour", 1e6, 0.0)
    wheel.count = (wheel.count - 2) & COUNT_MASK  # eight million calls later
    call = wheel.add("call", 1e6, 0.0)
    assert len({stream, neighbour, call}) == 3
    assert (wheel.get(stream), wheel.get(neighbour), wheel.get(call)) == ("stream", "neighbour", "call")
    wheel.check()


@given(st.integers(-3, 3), st.lists(near, max_size=20))
def test_an_id_has_32_bits_also_where_the_count_wraps(offset: int, timeouts: list[float]) -> None:
    wheel: PendingWheel[int] = PendingWheel(0.0)
    wheel.count = (COUNT_MASK + offset) & COUNT_MASK
    ids = [wheel.add(number, timeout, 0.0) for number, timeout in enumerate(timeouts)]
    assert len(set(ids)) == len(ids)
    assert all(0 <= correlation < 1 << 32 for correlation in ids)
    assert [wheel.pop(correlation) for correlation in ids] == list(range(len(ids)))


@given(starts, near | far | edges, st.floats(0.001, 3.0))
def test_never_early_and_at_most_a_slot_late(start: float, timeout_s: float, tick_s: float) -> None:
    wheel: PendingWheel[str] = PendingWheel(start)
    deadline = start + timeout_s
    wheel.add("call", deadline, start)
    now = max(start, deadline - 2 * tick_s)  # turning through all the time before would find nothing: see the machine
    while not wheel.expire(now):
        assert now < deadline + SLOT_S + tick_s + ROUNDING_S, "it should have expired by now"
        now += tick_s
    assert now >= deadline - ROUNDING_S
    assert len(wheel) == 0 and not wheel.far


class WheelMachine(RuleBasedStateMachine):
    """Calls, answers, ticks and pauses in any order; the model is `pending`."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.turned_at = self.now
        self.wheel: PendingWheel[int] = PendingWheel(self.now)
        self.pending: dict[int, tuple[int, float]] = {}
        self.added = 0

    @rule(timeout_s=near | far | edges | st.floats(-2.0, 0.0))
    def add(self, timeout_s: float) -> None:
        self.added += 1
        correlation = self.wheel.add(self.added, self.now + timeout_s, self.now)
        assert correlation not in self.pending, "the id of a pending call was given away"
        self.pending[correlation] = (self.added, max(self.now, self.now + timeout_s))

    @precondition(lambda self: self.pending)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        correlation = data.draw(st.sampled_from(sorted(self.pending)))
        entry, _ = self.pending.pop(correlation)
        assert self.wheel.pop(correlation) == entry
        assert self.wheel.pop(correlation) is None

    @precondition(lambda self: self.pending)
    @rule(data=st.data())
    def wrap(self, data: st.DataObject) -> None:
        """So many calls were made and answered that the count stands before one that is still pending."""
        correlation = data.draw(st.sampled_from(sorted(self.pending)))
        self.wheel.count = ((correlation >> SLOTS.bit_length() - 1) - 1) & COUNT_MASK

    @rule(step_s=st.floats(0.0, 1.0) | st.sampled_from([SLOT_S, 10.0, SPAN_S, TURN_S, 200.0, 5000.0]))
    def time_passes(self, step_s: float) -> None:
        self.now += step_s

    @rule()
    def turn(self) -> None:
        for correlation, entry in self.wheel.expire(self.now):
            expected, deadline = self.pending.pop(correlation)
            assert entry == expected
            assert self.now >= deadline - ROUNDING_S, f"{deadline - self.now} s early"
        for _, deadline in self.pending.values():
            assert self.now <= deadline + SLOT_S + ROUNDING_S, f"{self.now - deadline} s late"

    @invariant()
    def agrees_with_the_model(self) -> None:
        self.wheel.check()
        assert len(self.wheel) == len(self.pending)
        for correlation, (entry, _) in self.pending.items():
            assert self.wheel.get(correlation) == entry


TestWheelMachine = WheelMachine.TestCase
TestWheelMachine.settings = settings(max_examples=60, stateful_step_count=40)


def test_the_constants_fit_together() -> None:
    assert SLOTS == SLOT_MASK + 1
    assert math.isclose(SPAN_S, TURN_S - 2 * SLOT_S)
    assert (COUNT_MASK + 1) * SLOTS == 1 << 32
