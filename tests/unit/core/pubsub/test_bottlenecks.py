"""What limits a topic is named by what waits and what is dropped."""

from __future__ import annotations

import pytest

from inaho.core.pubsub.bottlenecks import DROP_STAGES, LOG, NETWORK, PUBLISHER, SUBSCRIBER, Bottlenecks, TopicTotals


def totals(moved: int, **dropped: int) -> dict[str, TopicTotals]:
    return {"a": TopicTotals(moved, dropped)}


def test_idle_topics_have_none():
    bottlenecks = Bottlenecks()
    bottlenecks.decide(totals(0))
    assert bottlenecks.current == {}
    bottlenecks.decide(totals(5))
    assert bottlenecks.current == {"a": PUBLISHER}
    bottlenecks.decide(totals(5))
    assert bottlenecks.current == {}


@pytest.mark.parametrize(("reason", "stage"), sorted(DROP_STAGES.items()))
def test_drops_name_their_stage_once(reason: str, stage: str):
    bottlenecks = Bottlenecks()
    bottlenecks.decide(totals(5, **{reason: 1}))
    assert bottlenecks.current == {"a": stage}
    bottlenecks.decide(totals(6, **{reason: 1}))
    assert bottlenecks.current == {"a": PUBLISHER}


def test_messages_that_do_not_decode_limit_nothing():
    bottlenecks = Bottlenecks()
    bottlenecks.decide(totals(5, undecodable=3, handler_failed=2))
    assert bottlenecks.current == {"a": PUBLISHER}


def test_a_stage_counts_when_it_is_saturated_in_half_of_the_samples_of_the_period():
    bottlenecks = Bottlenecks()
    for number in range(10):
        bottlenecks.sample([("a", LOG), ("a", LOG)] if number < 4 else [("b", LOG)])
    bottlenecks.decide(totals(1))
    assert bottlenecks.current == {"a": PUBLISHER}
    for number in range(10):
        bottlenecks.sample([("a", LOG)] if number < 5 else [])
    bottlenecks.decide(totals(2))
    assert bottlenecks.current == {"a": LOG}
    bottlenecks.sample([])
    bottlenecks.decide(totals(3))
    assert bottlenecks.current == {"a": PUBLISHER}, "the samples before belong to another period"


def test_the_stage_nearest_to_the_subscriber_counts():
    bottlenecks = Bottlenecks()
    bottlenecks.sample([("a", SUBSCRIBER), ("a", NETWORK), ("a", LOG)])
    bottlenecks.decide(totals(0))
    assert bottlenecks.current == {"a": SUBSCRIBER}, "also when nothing moves any more"
    bottlenecks.sample([("a", NETWORK), ("a", LOG)])
    bottlenecks.decide(totals(0))
    assert bottlenecks.current == {"a": LOG}


def test_a_stage_that_was_saturated_all_the_time_counts_without_samples():
    bottlenecks = Bottlenecks()
    bottlenecks.decide(totals(1), [("a", SUBSCRIBER), ("b", LOG)])
    assert bottlenecks.current == {"a": SUBSCRIBER}
    bottlenecks.decide(totals(2))
    assert bottlenecks.current == {"a": PUBLISHER}


def test_counts_are_copied_and_topics_that_are_gone_are_forgotten():
    bottlenecks = Bottlenecks()
    dropped = {"slow_node": 1}
    bottlenecks.decide({"a": TopicTotals(1, dropped)})
    dropped["slow_node"] = 2
    bottlenecks.decide({"a": TopicTotals(1, dropped)})
    assert bottlenecks.current == {"a": NETWORK}
    bottlenecks.decide({})
    assert bottlenecks.current == {}
