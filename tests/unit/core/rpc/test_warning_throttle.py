"""Warnings are bounded per kind and period, and none goes uncounted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inaho.core.rpc.throttle import OTHER, Suppressed, WarningThrottle


def test_the_first_few_pass_and_the_number_of_the_others_is_told_once():
    throttle = WarningThrottle(2, 10.0, 100)
    assert [throttle.admit("Cart", at) for at in (0.0, 1.0, 2.0, 3.0, 9.9)] == [True, True, False, False, False]
    assert throttle.due(9.99) == []
    assert throttle.due(10.0) == [Suppressed("Cart", 3)]
    assert throttle.due(10.0) == []
    assert throttle.admit("Cart", 10.0)


def test_a_period_that_nobody_asked_about_is_told_later():
    throttle = WarningThrottle(1, 10.0, 100)
    assert [throttle.admit("Cart", at) for at in (0.0, 1.0, 11.0, 12.0)] == [True, False, True, False]
    assert throttle.due(12.0) == [Suppressed("Cart", 1)]
    assert throttle.due(21.0) == [Suppressed("Cart", 1)]


def test_kinds_have_bounds_of_their_own_up_to_a_number():
    throttle = WarningThrottle(1, 10.0, 2)
    assert throttle.admit("A", 0.0)
    assert throttle.admit("B", 0.0)
    assert throttle.admit("C", 0.0)
    assert not throttle.admit("D", 0.0)
    assert not throttle.admit("B", 0.0)
    assert throttle.due(10.0) == [Suppressed("B", 1), Suppressed(OTHER, 1)]


@pytest.mark.parametrize("bounds", [(0, 1.0, 1), (1, 0.0, 1), (1, 1.0, 0), (1, float("nan"), 1)])
def test_bounds_must_be_above_0(bounds: tuple[int, float, int]):
    with pytest.raises(ValueError, match="above 0"):
        WarningThrottle(*bounds)


@given(
    st.lists(st.tuples(st.sampled_from("ABCDEF"), st.floats(0, 7), st.booleans()), max_size=100),
    st.integers(1, 3),
    st.integers(1, 4),
)
def test_what_is_told_and_what_is_counted_add_up(steps: list[tuple[str, float, bool]], most: int, kinds: int):
    throttle = WarningThrottle(most, 10.0, kinds)
    now, told, counted = 0.0, 0, 0
    for kind, pause_s, ask in steps:
        now += pause_s
        told += throttle.admit(kind, now)
        if ask:
            counted += sum(entry.count for entry in throttle.due(now))
        throttle.check()
    counted += sum(entry.count for entry in throttle.due(now + 10.0))
    throttle.check()
    assert told + counted == len(steps)
    assert throttle.due(now + 100.0) == []
