"""What limits a topic is named by what waits and what is dropped."""

from __future__ import annotations

import pytest

from inaho.core.pubsub.bottlenecks import (
    BEHIND,
    DROP_STAGES,
    FULL,
    LOG,
    MOVED,
    NETWORK,
    PUBLISHER,
    SUBSCRIBER,
    Bottleneck,
    Bottlenecks,
    TopicTotals,
)


def totals(moved: int, **dropped: int) -> dict[str, TopicTotals]:
    return {"a": TopicTotals(moved, dropped)}


def test_idle_topics_have_none():
    bottlenecks = Bottlenecks()
    bottlenecks.decide(totals(0))
    assert bottlenecks.current == {}
    bottlenecks.decide(totals(5))
    assert bottlenecks.current == {"a": Bottleneck(PUBLISHER, MOVED, 5)}
    bottlenecks.decide(totals(5))
    assert bottlenecks.current == {}


@pytest.mark.parametrize(("reason", "stage"), sorted(DROP_STAGES.items()))
def test_drops_name_their_stage_once(reason: str, stage: str):
    bottlenecks = Bottlenecks()
    bottlenecks.decide(totals(5, **{reason: 3}))
    assert bottlenecks.current == {"a": Bottleneck(stage, reason, 3)}
    assert bottlenecks.current["a"].text.startswith("3 dropped: ")
    bottlenecks.decide(totals(6, **{reason: 3}))
    assert bottlenecks.current == {"a": Bottleneck(PUBLISHER, MOVED, 1)}


def test_messages_that_do_not_decode_limit_nothing():
    bottlenecks = Bottlenecks()
    bottlenecks.decide(totals(5, undecodable=3, handler_failed=2))
    assert bottlenecks.current == {"a": Bottleneck(PUBLISHER, MOVED, 5)}


def test_a_stage_counts_when_it_is_saturated_in_half_of_the_samples_of_the_period():
    bottlenecks = Bottlenecks()
    for number in range(10):
        bottlenecks.sample([("a", LOG), ("a", LOG)] if number < 4 else [("b", LOG)])
    bottlenecks.decide(totals(1))
    assert bottlenecks.current == {"a": Bottleneck(PUBLISHER, MOVED, 1)}
    for number in range(10):
        bottlenecks.sample([("a", LOG)] if number < 5 else [])
    bottlenecks.decide(totals(2))
    assert bottlenecks.current == {"a": Bottleneck(LOG, FULL, 50)}
    bottlenecks.sample([])
    bottlenecks.decide(totals(3))
    assert bottlenecks.current == {"a": Bottleneck(PUBLISHER, MOVED, 1)}, "the samples before belong to another period"


def test_the_stage_nearest_to_the_subscriber_counts():
    bottlenecks = Bottlenecks()
    bottlenecks.sample([("a", SUBSCRIBER), ("a", NETWORK), ("a", LOG)])
    bottlenecks.decide(totals(0))
    assert bottlenecks.current == {"a": Bottleneck(SUBSCRIBER, FULL, 100)}, "also when nothing moves any more"
    bottlenecks.sample([("a", NETWORK), ("a", LOG)])
    bottlenecks.decide(totals(0))
    assert bottlenecks.current == {"a": Bottleneck(LOG, FULL, 100)}


def test_a_subscription_that_is_behind_counts_without_samples():
    bottlenecks = Bottlenecks()
    bottlenecks.decide(totals(1), {"a": 2000, "b": 3000})
    assert bottlenecks.current == {"a": Bottleneck(SUBSCRIBER, BEHIND, 2000)}
    bottlenecks.decide(totals(2))
    assert bottlenecks.current == {"a": Bottleneck(PUBLISHER, MOVED, 1)}


def test_of_several_reasons_for_drops_the_one_with_most_is_told():
    bottlenecks = Bottlenecks()
    bottlenecks.decide(totals(1, cut_off=2, slow_node=7, cut_off_too_long=3))
    assert bottlenecks.current == {"a": Bottleneck(NETWORK, "slow_node", 7)}


def test_each_text_is_short_enough_for_a_table_and_has_the_figure():
    known = [(PUBLISHER, MOVED), (SUBSCRIBER, BEHIND), *((stage, FULL) for stage in (NETWORK, LOG, SUBSCRIBER))]
    known += [(stage, reason) for reason, stage in DROP_STAGES.items()]
    for stage, because in known:
        figure = 100 if because == FULL else 1_234_567
        text = Bottleneck(stage, because, figure).text
        assert f"{figure} " in text
        assert not text.endswith(because), "not the code of the reason"
        assert len(text) <= 39, "the table has three columns, and 80 characters"


def test_counts_are_copied_and_topics_that_are_gone_are_forgotten():
    bottlenecks = Bottlenecks()
    dropped = {"slow_node": 1}
    bottlenecks.decide({"a": TopicTotals(1, dropped)})
    dropped["slow_node"] = 2
    bottlenecks.decide({"a": TopicTotals(1, dropped)})
    assert bottlenecks.current == {"a": Bottleneck(NETWORK, "slow_node", 1)}
    bottlenecks.decide({})
    assert bottlenecks.current == {}
