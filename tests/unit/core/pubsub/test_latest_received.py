"""Which message of a publisher is too late for a grain."""

from __future__ import annotations

from inaho.core.pubsub.latest_received import LatestReceived


def test_an_older_message_and_a_repeated_one_are_too_late():
    latest = LatestReceived(10)
    assert latest.is_next("k", "t", "p", 3, 10.0)
    assert not latest.is_next("k", "t", "p", 3, 10.0)
    assert not latest.is_next("k", "t", "p", 2, 9.0)
    assert latest.is_next("k", "t", "p", 4, 10.0)


def test_each_grain_topic_and_publisher_has_its_own_order():
    latest = LatestReceived(10)
    assert latest.is_next("k", "t", "p", 3, 10.0)
    assert latest.is_next("other", "t", "p", 1, 9.0)
    assert latest.is_next("k", "other", "p", 1, 9.0)
    assert latest.is_next("k", "t", "other", 1, 9.0)


def test_a_count_that_begins_again_is_no_older_message_and_neither_is_a_clock_that_was_set_back():
    latest = LatestReceived(10)
    assert latest.is_next("k", "t", "p", 300, 10.0)
    assert latest.is_next("k", "t", "p", 1, 11.0)
    assert latest.is_next("k", "t", "p", 2, 5.0)


def test_the_one_that_is_silent_longest_is_forgotten_first():
    latest = LatestReceived(2)
    for key, sequence in (("a", 5), ("b", 5), ("a", 6), ("c", 5)):
        assert latest.is_next(key, "t", "p", sequence, 1.0)
    latest.check()
    assert not latest.is_next("a", "t", "p", 5, 1.0)
    assert latest.is_next("b", "t", "p", 5, 1.0)
