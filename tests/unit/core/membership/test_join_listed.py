"""Finding a cluster among authorities that a provider lists, and founding by its record."""

from __future__ import annotations

import pytest

from inaho.config import MembershipConfig
from inaho.core.membership.join import AT_ONCE, Ask, Fail, Found, Joiner
from inaho.core.messages import JoinRefused
from inaho.errors import AuthenticationFailed, WrongCluster

CONFIG = MembershipConfig()
STARTING = JoinRefused("not_a_member", "this node is seeking", True)


def asks(joiner: Joiner, now: float) -> list[str]:
    """Those that are asked now; nothing else is done."""
    asked: list[str] = []
    while (act := joiner.poll(now)) is not None:
        assert isinstance(act, Ask), act
        asked.append(act.authority)
        joiner.check()
    return asked


def end_of(joiner: Joiner, until: float) -> tuple[float, Found | Fail | None]:
    """When and how the search ends, at the latest at that time."""
    now = 0.0
    while True:
        while (act := joiner.poll(now)) is not None:
            if not isinstance(act, Ask):
                return now, act
        joiner.check()
        due = joiner.next_deadline()
        if due is None or due > until:
            return until, None
        now = due


def listed(authority: str, *others: str, seeds: tuple[str, ...] = (), by_record: bool = False) -> Joiner:
    joiner = Joiner(authority, CONFIG)
    joiner.discovered(0.0, others)
    joiner.start(0.0, seeds, by_record=by_record)
    return joiner


def test_listed_authorities_are_asked_in_their_order_after_the_seeds_are_not_waited_for() -> None:
    joiner = listed("m:1", "z:1", "m:1", "b:1", "a:1", seeds=("s:1",))
    assert asks(joiner, 0.0) == ["z:1", "b:1", "a:1"]
    assert asks(joiner, CONFIG.join_retry_s) == ["s:1"]
    assert asks(joiner, 2 * CONFIG.join_retry_s) == ["z:1"]


def test_new_ones_are_asked_at_once_and_vanished_ones_no_more() -> None:
    joiner = listed("m:1", "a:1", "b:1")
    assert asks(joiner, 0.0) == ["a:1", "b:1"]
    joiner.discovered(0.01, ("a:1", "b:1", "c:1"))
    assert asks(joiner, 0.01) == ["c:1"]
    joiner.discovered(0.02, ("c:1",))
    later = [authority for step in range(1, 100) for authority in asks(joiner, 0.02 + step / 100)]
    assert later and set(later) == {"c:1"}
    assert not joiner.awaits("a:1", "a" * 16) and joiner.awaits("c:1", "c" * 16)
    assert list(joiner.told()) == ["c:1"]


def test_a_first_one_that_has_changed_is_asked_again_at_once() -> None:
    joiner = listed("m:1", *(f"{number:02}:1" for number in range(30)))
    now = 0.0
    while asks(joiner, now):
        now += CONFIG.join_retry_s
        if now > 20 * CONFIG.join_retry_s:
            break
    joiner.discovered(now, ("17:1", *(f"{number:02}:1" for number in range(30))))
    assert asks(joiner, now) == ["17:1"]
    joiner.discovered(now, ("17:1", *(f"{number:02}:1" for number in range(29))))
    assert asks(joiner, now) == []


def test_a_long_list_is_asked_in_parts() -> None:
    joiner = listed("m:1", *(f"{number:03}:1" for number in range(100)))
    assert len(asks(joiner, 0.0)) == AT_ONCE
    assert len(asks(joiner, CONFIG.join_retry_s)) == AT_ONCE


def test_the_same_list_again_asks_nobody() -> None:
    joiner = listed("m:1", "a:1", "b:1")
    asks(joiner, 0.0)
    for _ in range(10):
        joiner.discovered(0.01, ("a:1", "b:1"))
        assert asks(joiner, 0.01) == []


def test_without_seeds_the_first_of_the_list_founds_after_it_has_asked_the_others() -> None:
    assert end_of(listed("a:1", "b:1", "a:1"), 20.0) == (CONFIG.found_after_s, Found())
    assert end_of(listed("a:1", "a:1"), 20.0) == (0.0, Found())
    at, end = end_of(listed("b:1", "a:1", "b:1"), 20.0)
    assert at == CONFIG.join_timeout_s and isinstance(end, Fail)
    assert "only the first of the listed authorities, a:1, founds" in end.reason


def test_without_seeds_the_first_of_the_list_that_has_not_refused_founds() -> None:
    joiner = listed("b:1", "a:1", "b:1", "c:1")
    asks(joiner, 0.0)
    joiner.dial_failed(0.2, "a:1", "refused")
    assert set(asks(joiner, 0.2)) <= {"a:1"}
    assert isinstance(joiner.poll(0.2 + CONFIG.found_after_s), Found)

    silent = listed("b:1", "a:1", "b:1", "c:1")
    asks(silent, 0.0)
    silent.dial_failed(0.2, "a:1", "timeout")
    assert not isinstance(end_of(silent, 14.0)[1], Found)

    alone = listed("b:1", "a:1", "c:1")
    asks(alone, 0.0)
    alone.dial_failed(0.1, "a:1", "refused")
    alone.dial_failed(0.1, "c:1", "refused")
    assert isinstance(alone.poll(0.1), Found)


def test_the_list_does_not_change_which_seed_founds() -> None:
    joiner = listed("m:1", "a:1", "z:1", seeds=("m:1", "s:1"))
    assert end_of(joiner, 20.0) == (CONFIG.found_after_s, Found())
    second = listed("a:1", "a:1", "s:1", seeds=("s:1", "a:1"))
    assert isinstance(end_of(second, 20.0)[1], Fail)
    alone = listed("m:1", "z:1", seeds=("m:1",))
    assert end_of(alone, 20.0) == (CONFIG.found_after_s, Found())  # it asks z:1 first


def test_a_listed_authority_under_another_name_is_this_node() -> None:
    joiner = listed("node-a:1", "10.0.0.1:1", "10.0.0.2:1")
    asks(joiner, 0.0)
    joiner.answered("10.0.0.1:1", "a" * 16, by_us=True)
    assert asks(joiner, 0.01) == []
    assert isinstance(joiner.poll(0.01 + CONFIG.found_after_s), Found)


def test_entries_of_another_cluster_do_not_end_the_search() -> None:
    joiner = listed("m:1", "a:1")
    asks(joiner, 0.0)
    joiner.dial_failed(0.1, "a:1", "handshake", WrongCluster.code, "another cluster")
    assert isinstance(end_of(joiner, 20.0)[1], Found)  # no other node of this cluster could found

    same = listed("m:1", "a:1")
    asks(same, 0.0)
    same.dial_failed(0.1, "a:1", "handshake", AuthenticationFailed.code, "another secret")
    at, end = end_of(same, 20.0)
    assert at == CONFIG.join_timeout_s and isinstance(end, Fail) and end.code == AuthenticationFailed.code


@pytest.mark.parametrize("seeds", [(), ("m:1",), ("m:1", "a:1")])
def test_with_a_record_a_node_founds_only_when_it_has_won(seeds: tuple[str, ...]) -> None:
    joiner = listed("m:1", "a:1", seeds=seeds, by_record=True)
    asks(joiner, 0.0)
    joiner.dial_failed(0.1, "a:1", "refused")
    at, end = end_of(joiner, 20.0)
    assert at == CONFIG.join_timeout_s and isinstance(end, Fail)
    assert "a:1: it could not be dialled (refused)" in end.reason
    assert "nor did a provider let it found a cluster by the record" in end.reason

    winner = listed("m:1", "a:1", seeds=seeds, by_record=True)
    asks(winner, 0.0)
    winner.won()
    assert isinstance(winner.poll(0.2), Found)


def test_with_a_record_a_node_that_lost_its_place_waits_for_it() -> None:
    joiner = Joiner("m:1", CONFIG)
    joiner.won()  # has no effect before the search
    joiner.start(0.0, ("m:1",), ("a:1", "b:1"), again=True, by_record=True)
    for _ in range(3):
        asks(joiner, joiner.next_deadline() or 0.0)
        joiner.dial_failed(0.0, "a:1", "refused")
        joiner.dial_failed(0.0, "b:1", "refused")
    assert end_of(joiner, 100.0) == (100.0, None)
    joiner.won()
    assert isinstance(joiner.poll(100.0), Found)


def test_refusals_of_contacts_that_vanished_are_forgotten() -> None:
    joiner = listed("m:1", "a:1", "b:1")
    asks(joiner, 0.0)
    joiner.discovered(0.1, ("b:1",))
    joiner.dial_failed(0.1, "a:1", "refused")
    joiner.refused(0.1, "a:1", "a" * 16, STARTING)
    joiner.answered("a:1", "a" * 16, by_us=False)
    joiner.check()
    assert list(joiner.told()) == ["b:1"]
