"""The checker of the freshness rule: each part accepts what may be, and names what may not."""

from __future__ import annotations

import pytest

from inaho.config import ClusterConfig
from inaho.core.detection.bound import detection_bound_s
from inaho.testing.histories.freshness_checker import Bounds, current_answers, fresh_answers
from inaho.testing.histories.freshness_history import (
    EVERYBODY,
    Acknowledged,
    Doubted,
    Fault,
    Observed,
    StorageFault,
    Stored,
)
from inaho.testing.histories.grain_checkers import PromiseBroken
from inaho.testing.histories.grain_history import Died, Record, Viewed

BOUNDS = Bounds(freshness_s=1.0, read_s=0.5, detection_s=10.0, settle_s=5.0)
AGREED: list[Record] = [Viewed(at=0.0, node=node, view="v") for node in "ab"]


def stored(at: float, version: int, value: str) -> Stored:
    return Stored(at=at, cell="k", version=version, epoch=version, value=value, saver="x")


def acknowledged(at: float, value: str, since: float = 0.0) -> Acknowledged:
    return Acknowledged(at=at, cell="k", value=value, since=since)


def seen(began: float, value: str, *, before: str = "", node: str = "a", way: str = "read", took_s: float = 0.1):
    return Observed(at=began + took_s, cell="k", way=way, began=began, node=node, value=value, before=before)


def fault(at: float, active: bool, what: str = "split") -> Fault:
    return Fault(at=at, what=what, active=active)


def doubted(at: float, active: bool, node: str = "a", member: str = "x") -> Doubted:
    return Doubted(at=at, node=node, member=member, active=active)


SAVES: list[Record] = [
    stored(1.0, 1, "one"),
    acknowledged(1.1, "one"),
    stored(20.0, 2, "two"),
    acknowledged(20.1, "two"),
]


def judged(*records: Record, bounds: Bounds = BOUNDS) -> dict[str, int]:
    return dict(fresh_answers(sorted([*AGREED, *SAVES, *records], key=lambda record: record.at), bounds))


def too_old(*records: Record, bounds: Bounds = BOUNDS) -> str:
    with pytest.raises(PromiseBroken) as caught:
        judged(*records, bounds=bounds)
    assert caught.value.promise == "fresh_answers"
    return str(caught.value)


# Without a disturbance.


def test_a_call_that_began_after_an_acknowledgement_sees_that_save():
    assert judged(seen(20.2, "two")) == {"calm": 1, "calm read": 1}
    assert "is version 1; version 2" in too_old(seen(20.2, "one"))


@pytest.mark.parametrize("way", ["read", "look", "tick", "reminder", "item"])
def test_the_rule_is_that_of_every_way_to_see_a_value(way: str):
    too_old(seen(20.2, "one", way=way))


def test_a_call_that_began_before_the_acknowledgement_may_see_either():
    judged(seen(20.05, "one"), seen(20.05, "two"))


def test_nothing_is_required_of_a_cell_that_was_never_saved():
    assert judged(seen(0.5, "")) == {}


def test_an_empty_answer_after_a_save_is_too_old():
    too_old(seen(20.2, ""))


def test_a_cleared_cell_answers_with_nothing():
    wipe = [stored(30.0, 3, ""), acknowledged(30.1, "", since=29.9)]
    assert judged(*wipe, seen(30.2, "")) == {"calm": 1, "calm read": 1}
    assert "version 2; version 3" in too_old(*wipe, seen(30.2, "two"))


def test_the_acknowledged_clear_is_not_an_earlier_one():
    first = [stored(25.0, 3, ""), stored(26.0, 4, "three"), acknowledged(26.1, "three")]
    second = [stored(30.0, 5, ""), acknowledged(30.1, "", since=29.9)]
    too_old(*first, *second, seen(30.2, "three"))


def test_content_that_was_written_back_counts_as_its_newest_version():
    judged(stored(21.0, 3, "two"), stored(22.0, 4, "three"), acknowledged(22.1, "three"), seen(22.05, "two"))
    assert judged(stored(21.0, 3, "two"), seen(21.1, "two"))["calm"] == 1


def test_content_that_is_not_stored_is_as_old_as_what_was_before_it():
    assert judged(seen(20.2, "unsaved 7", before="two"))["calm"] == 1
    too_old(seen(20.2, "unsaved 7", before="one"))
    assert "nobody saved" in too_old(seen(20.2, "invented", before="as well"))


# In a disturbance.


def test_before_a_fault_can_have_been_noticed_old_answers_are_excused_for_so_long():
    split = fault(15.0, True)
    judged(split, seen(20.2, "one"), seen(31.5, "one"))
    assert "disturbed" in too_old(split, seen(31.7, "one"))


def test_who_doubts_answers_with_nothing_older_than_freshness_and_one_read():
    doubt = doubted(15.0, True)
    judged(doubt, seen(20.2, "one"), seen(21.5, "one"))
    assert "(doubted)" in too_old(doubt, seen(21.7, "one"))
    judged(doubt, seen(21.7, "one", node="b"))


def test_who_has_just_begun_to_doubt_has_one_read_to_find_out():
    judged(fault(15.0, True), doubted(22.0, True), seen(22.4, "one"))
    too_old(fault(15.0, True), doubted(21.8, True), seen(22.4, "one"))


def test_a_save_of_a_member_that_is_not_doubted_yet_is_excused_until_it_can_have_been_noticed():
    judged(doubted(15.0, True, member="y"), seen(21.7, "one"))
    judged(doubted(15.0, True, member="y"), seen(31.5, "one"))
    assert "(disturbed)" in too_old(doubted(15.0, True, member="y"), seen(31.7, "one"))


def test_who_was_paused_doubts_everybody():
    too_old(doubted(21.0, True, member=EVERYBODY), seen(21.7, "one"))


def test_a_doubt_that_is_over_no_longer_counts():
    judged(fault(15.0, True), doubted(16.0, True), doubted(19.0, False), seen(25.0, "one"))


def test_a_death_ends_the_doubts_of_who_died():
    died = [doubted(15.0, True, node="b"), Died(at=16.0, node="b")]
    assert "(calm)" in too_old(*died, seen(21.1, "one"))


# Its end.


def test_the_strict_rule_holds_again_when_all_faults_are_over_for_long_enough():
    split = [fault(15.0, True), fault(16.0, False)]
    judged(*split, seen(20.5, "one"))
    assert "(calm)" in too_old(*split, seen(21.1, "one"))


def test_two_faults_are_over_with_the_second():
    faults = [fault(15.0, True), fault(15.5, True, "slow 1"), fault(16.0, False), fault(19.0, False, "slow 1")]
    judged(*faults, seen(23.5, "one"))
    too_old(*faults, seen(24.2, "one"))


def test_it_does_not_hold_before_views_agree():
    split = [fault(15.0, True), fault(16.0, False), Viewed(at=15.5, node="a", view="w")]
    judged(*split, seen(25.0, "one"))
    agreed = [*split, Viewed(at=21.0, node="b", view="w")]
    judged(*agreed, seen(25.9, "one"))
    assert "(calm)" in too_old(*agreed, seen(26.1, "one"))


# A storage that cannot be reached.


def test_each_failure_of_the_storage_excuses_one_more_try():
    doubt, failed = doubted(15.0, True), StorageFault(at=21.0, cell="k")
    judged(doubt, failed, seen(21.7, "one"))
    too_old(doubt, failed, seen(23.2, "one"))
    judged(doubt, failed, StorageFault(at=22.5, cell="k"), seen(23.5, "one"))


def test_a_storage_that_stays_away_excuses_everything_in_doubt_and_nothing_without():
    away = [StorageFault(at=20.0 + number, cell="k") for number in range(100)]
    judged(doubted(15.0, True), *away, seen(119.0, "one"))
    too_old(*away, seen(119.0, "one"))


# In the end.


def test_in_the_end_every_answer_is_what_is_stored():
    assert current_answers({"k": [seen(50.0, "two"), seen(50.0, "unsaved 1", before="two")]}, {"k": "two"}) == 2
    for wrong in (
        seen(50.0, "one"),
        seen(50.0, ""),
        seen(50.0, "unsaved 1", before="one"),
        seen(50.0, "x", before="two"),
    ):
        with pytest.raises(PromiseBroken, match="current_answers"):
            current_answers({"k": [seen(50.0, "two"), wrong]}, {"k": "two"})
    with pytest.raises(PromiseBroken, match="never answered"):
        current_answers({}, {"k": "two"})


def test_the_time_to_notice_grows_with_the_cluster_and_follows_from_the_configuration():
    config = ClusterConfig()
    slower = config.replace(detection=config.detection.replace(probe_interval_s=1.0))
    assert detection_bound_s(config, 3) < detection_bound_s(config, 4) < detection_bound_s(slower, 4)
    assert 8.0 < detection_bound_s(config, 3) < 12.0
