"""Pulled hand-off: whom to ask, until when."""

from __future__ import annotations

import pytest

from inaho.core.activation.handoff import HandOff, PreviousOwner

A, B = PreviousOwner("10.0.0.1:7700", "aa"), PreviousOwner("10.0.0.2:7700", "bb")


def test_nobody_is_asked_where_nothing_moved():
    handoff = HandOff(8)
    assert not handoff
    assert handoff.previous_owner("Cart", 3) is None


def test_the_previous_owner_is_asked_until_it_says_that_it_has_drained():
    handoff = HandOff(8)
    handoff.gained("Cart", 3, A)
    handoff.gained("Cart", 4, A)
    handoff.gained("Order", 3, B)
    assert handoff.previous_owner("Cart", 3) == A
    assert handoff.drained("Cart", [3, 5], "aa", 1) == 1
    assert handoff.previous_owner("Cart", 3) is None
    assert (handoff.previous_owner("Cart", 4), handoff.previous_owner("Order", 3)) == (A, B)
    handoff.check()


def test_a_node_drains_only_for_itself():
    handoff = HandOff(8)
    handoff.gained("Cart", 3, A)
    assert handoff.drained("Cart", [3], "bb", 1) == 0
    assert handoff.previous_owner("Cart", 3) == A


def test_a_partition_that_comes_back_is_asked_for_at_all_who_had_it():
    handoff = HandOff(8)
    handoff.gained("Cart", 3, A, 1)
    handoff.gained("Cart", 3, B, 3)
    assert handoff.previous_owners("Cart", 3) == (A, B)
    assert handoff.previous_owner("Cart", 3) == A
    assert handoff.drained("Cart", [3], "aa", 3) == 1
    assert handoff.previous_owners("Cart", 3) == (B,)
    handoff.check()


def test_a_word_from_before_a_partition_was_lost_again_does_not_count():
    handoff = HandOff(8)
    handoff.gained("Cart", 3, A, 7)
    assert handoff.drained("Cart", [3], "aa", 5) == 0
    handoff.gained("Cart", 3, A, 9)
    assert handoff.previous_owners("Cart", 3) == (A,)
    assert handoff.drained("Cart", [3], "aa", 8) == 0
    assert handoff.drained("Cart", [3], "aa", 9) == 1
    assert not handoff


def test_what_a_departed_node_had_is_free():
    handoff = HandOff(8)
    handoff.gained("Cart", 3, A)
    handoff.gained("Cart", 4, B)
    assert handoff.retain(["bb"]) == 1
    assert handoff.previous_owner("Cart", 3) is None
    assert handoff.previous_owner("Cart", 4) == B
    assert handoff.drained("Cart", [4], "bb", 0) == 1
    assert not handoff
    handoff.check()


@pytest.mark.parametrize("partition", [-1, 8])
def test_a_partition_out_of_range_is_refused(partition: int):
    with pytest.raises(ValueError, match="not below 8"):
        HandOff(8).gained("Cart", partition, A)
