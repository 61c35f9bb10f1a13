"""What is on the way to a node: bounded, confirmed in order, and less while confirmations come late."""

from __future__ import annotations

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from inaho.core.pubsub.flight import FIRST_BYTES, LATE_S, STEP_BYTES, Flight

MAX = 512 << 10


def filled(flight: Flight, now: float) -> int:
    """Fills it up; returns the confirmations to come."""
    marks = 0
    while not flight.full:
        marks += flight.add(STEP_BYTES, now, kept=False)
    return marks


def drained(flight: Flight, marks: int, now: float) -> None:
    for _ in range(marks):
        assert flight.confirm(now) is False
    flight.check()


def test_small_frames_are_confirmed_together():
    flight = Flight(MAX)
    marked = [flight.add(1024, 0.0, kept=False) for _ in range(64)]
    assert [place for place, each in enumerate(marked) if each] == [31, 63]
    assert flight.size == 64 << 10
    flight.confirm(0.0)
    assert flight.size == 32 << 10
    flight.check()


def test_a_frame_that_is_kept_is_always_confirmed():
    flight = Flight(MAX)
    assert flight.add(10, 0.0, kept=False) is False
    assert flight.add(10, 0.0, kept=True) is True
    assert flight.kept == 1
    assert flight.confirm(0.0) is True
    assert (flight.kept, flight.size, flight.awaited) == (0, 0, False)


def test_the_limit_follows_the_delay_and_not_the_length_of_the_way():
    flight, now = Flight(MAX), 0.0
    assert flight.limit == FIRST_BYTES
    for _ in range(30):
        drained(flight, filled(flight, now), now + 0.3)  # a long way
        now += 1.0
    assert flight.limit == MAX
    for _ in range(30):
        drained(flight, filled(flight, now), now + 0.3 + 2 * LATE_S)
        now += 1.0
    assert flight.limit == STEP_BYTES


def test_a_limit_below_a_step_still_gets_confirmations():
    flight = Flight(1000)
    assert not flight.add(999, 0.0, kept=False)
    assert not flight.full
    assert flight.add(1, 0.0, kept=False)
    assert flight.full
    flight.confirm(0.0)
    assert flight.low
    assert not flight.full


@given(st.lists(st.tuples(st.integers(1, 100_000), st.booleans(), st.floats(0.0, 0.2), st.booleans())))
def test_whatever_happens_a_full_flight_awaits_a_confirmation(steps: list[tuple[int, bool, float, bool]]):
    flight, now = Flight(MAX), 0.0
    expected: deque[bool] = deque()
    for size, kept, passed, confirms in steps:
        now += passed
        if confirms and expected:
            assert flight.confirm(now) is expected.popleft()
        elif flight.add(size, now, kept=kept):
            expected.append(kept)
        flight.check()
        assert flight.awaited is bool(expected)
