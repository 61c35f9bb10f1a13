"""Who gives up a place for a newcomer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inaho.runtime.transport.pending_places import SILENT_S, PendingPool, source_of


def test_there_is_always_a_place_and_the_oldest_silent_one_goes() -> None:
    pool: PendingPool[str] = PendingPool(3)
    assert [pool.enter(name, "a", at) for name, at in (("x", 0.0), ("y", 0.1), ("z", 0.2))] == [None, None, None]
    pool.spoke("x")
    assert pool.enter("new", "a", 1.0) == "y"
    assert pool.enter("newer", "a", 1.0) == "z"
    assert pool.enter("newest", "a", 1.1) == "x"  # the two others may be about to speak
    pool.check()
    assert pool.items() == ["new", "newer", "newest"]


def test_the_address_with_the_most_gives_up_a_place() -> None:
    pool: PendingPool[int] = PendingPool(4)
    pool.enter(0, "rightful", 0.0)
    for number in range(1, 4):
        pool.enter(number, "crowd", float(number))
    assert [pool.enter(number, "crowd", 10.0 + number) for number in range(4, 8)] == [1, 2, 3, 4]
    assert 0 in pool.items()


def test_a_rightful_peer_of_the_same_address_is_safe_for_a_pool_of_newer_ones() -> None:
    pool: PendingPool[str] = PendingPool(128)
    for number in range(128):
        pool.enter(f"old {number}", "a", 0.0)
    now = 10.0
    assert pool.enter("rightful", "a", now) == "old 0"
    for number in range(127):
        assert pool.enter(f"new {number}", "a", now + SILENT_S / 200 * number) != "rightful"


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("/run/socket", "/run/socket"),
        ("", ""),
    ],
)
def test_what_counts_as_one_source(address: str, source: str) -> None:
    assert source_of(address) == source


@given(st.lists(st.tuples(st.integers(0, 12), st.sampled_from("abc"), st.sampled_from(("enter", "spoke", "leave")))))
def test_the_bound_holds(steps: list[tuple[int, str, str]]) -> None:
    pool: PendingPool[int] = PendingPool(4)
    for at, (item, source, step) in enumerate(steps):
        inside = item in pool.items()
        if step == "enter" and not inside:
            pool.enter(item, source, float(at))
            assert item in pool.items()
        elif step == "leave":
            pool.leave(item)
        elif inside:
            pool.spoke(item)
        pool.check()
