"""Finding a cluster, being admitted, leaving."""

from __future__ import annotations

import itertools

import pytest

from inaho.config import MembershipConfig
from inaho.core.membership.admission import Admit, Collisions, Welcome, examine
from inaho.core.membership.incarnation import first_of
from inaho.core.membership.join import Ask, Fail, Found, Joiner
from inaho.core.membership.leave import Leaver
from inaho.core.membership.removal import RemovalClock
from inaho.core.membership.table import MembershipTable
from inaho.core.messages import JoinRefused
from inaho.errors import IllegalTransition
from inaho.types import Member, MemberStatus

CONFIG = MembershipConfig()


def joiner_at(authority: str, *seeds: str, now: float = 0.0) -> Joiner:
    joiner = Joiner(authority, CONFIG)
    joiner.start(now, seeds)
    return joiner


def test_seeds_are_asked_in_turn_with_back_off() -> None:
    joiner = joiner_at("z:1", "a:1", "b:1")
    asked: list[tuple[float, str]] = []
    while joiner.next_deadline() is not None:
        now = joiner.next_deadline() or 0.0
        act = joiner.poll(now)
        joiner.check()
        if isinstance(act, Ask):
            asked.append((now, act.authority))
        elif isinstance(act, Fail):
            assert now == CONFIG.join_timeout_s
            break
    assert [authority for _, authority in asked[:4]] == ["a:1", "b:1", "a:1", "b:1"]
    pauses = [round(later[0] - earlier[0], 3) for earlier, later in itertools.pairwise(asked)]
    assert pauses[:6] == [0.1, 0.1, 0.2, 0.2, 0.4, 0.4]
    assert max(pauses) == 0.8


def test_a_seed_that_is_this_node_under_another_name() -> None:
    alone = joiner_at("10.0.0.1:7", "node-a:7")
    assert alone.poll(0.0) == Ask("node-a:7")
    alone.answered("node-a:7", "f" * 16, by_us=True)
    while not isinstance(failure := alone.poll(alone.next_deadline() or 0.0), Fail):
        assert not isinstance(failure, Found)  # the name may stand for others, too
        alone.check()
    assert failure.code == "topology_unavailable"
    assert "node-a:7: that is this node; its authority is 10.0.0.1:7" in failure.reason
    assert "start it" not in failure.reason

    # Who is the first of its seeds, by its own name, has nobody left to wait for.
    first = joiner_at("10.0.0.1:7", "10.0.0.1:7", "node-a:7")
    first.poll(0.0)
    first.answered("node-a:7", "f" * 16, by_us=True)
    assert isinstance(first.poll(0.01), Found)

    # With others to ask it goes on, founds nothing, and says so.
    one = joiner_at("10.0.0.1:7", "node-a:7", "node-b:7")
    one.poll(0.0)
    one.answered("node-a:7", "f" * 16, by_us=True)
    assert one.told()["node-a:7"].startswith("that is this node; its authority is 10.0.0.1:7")
    while not isinstance(act := one.poll(one.next_deadline() or 0.0), Fail):
        assert not isinstance(act, Found)
        one.check()
    assert act.code == "topology_unavailable"
    assert "node-a:7: that is this node" in act.reason
    assert "start it" not in act.reason

    # A name may stand for another node the next time.
    one.answered("node-a:7", "f" * 16, by_us=False)
    assert one.told()["node-a:7"] == "no answer yet"


def test_a_seed_may_be_a_name_of_another_authority() -> None:
    joiner = joiner_at("10.0.0.1:7", "db.example:7", "10.0.0.2:7")
    assert joiner.poll(0.0) == Ask("db.example:7")
    joiner.answered("db.example:7", "b" * 16, by_us=False)
    assert joiner.awaits("10.0.0.9:7", "b" * 16) and not joiner.awaits("10.0.0.9:7", "c" * 16)
    joiner.refused(0.1, "10.0.0.9:7", "b" * 16, JoinRefused("not_a_member", "this node is seeking", True))
    assert joiner.told()["db.example:7"] == "this node is seeking"
    joiner.answered("db.example:7", "c" * 16, by_us=False)
    assert joiner.awaits("10.0.0.8:7", "c" * 16) and not joiner.awaits("10.0.0.9:7", "b" * 16)
    joiner.check()


def test_who_founds_and_when() -> None:
    assert isinstance(joiner_at("a:1").poll(0.0), Found)
    assert isinstance(joiner_at("a:1", "a:1").poll(0.0), Found)
    first = joiner_at("a:1", "a:1", "b:1")
    assert first.poll(0.0) == Ask("b:1")
    assert first.poll(0.0) is None
    assert isinstance(first.poll(CONFIG.found_after_s), Found)
    refused = joiner_at("a:1", "a:1", "b:1")
    refused.poll(0.0)
    refused.dial_failed(0.01, "b:1", "refused")
    assert isinstance(refused.poll(0.01), Found)
    second = joiner_at("b:1", "a:1", "b:1")
    second.poll(0.0)
    second.dial_failed(0.01, "a:1", "refused")
    assert not isinstance(second.poll(1.0), Found)


def test_a_final_refusal_ends_the_search_and_only_asked_contacts_count() -> None:
    joiner = joiner_at("z:1", "a:1")
    joiner.poll(0.0)
    joiner.refused(0.0, "other:1", "1" * 16, JoinRefused("x", "x", False))
    assert not isinstance(joiner.poll(0.0), Fail)
    assert joiner.awaits("a:1", "1" * 16) and not joiner.awaits("other:1", "1" * 16)
    joiner.refused(0.0, "a:1", "1" * 16, JoinRefused("authority_in_use", "taken", False))
    assert joiner.poll(0.0) == Fail("authority_in_use", "taken")
    with pytest.raises(IllegalTransition):
        joiner.done()


def test_admission() -> None:
    table = MembershipTable("me", CONFIG)
    up, joining = MemberStatus.UP, MemberStatus.JOINING
    assert examine(table, Member("a:1", "x", 0, joining), 9, lambda _: False) == Admit(
        Member("a:1", "x", first_of(1), joining)
    )
    table.author(0.0, Member("a:1", "x", first_of(1) + 4, up))
    assert examine(table, Member("a:1", "x", 0, joining), 9, lambda _: False) == Welcome(
        Member("a:1", "x", first_of(1) + 4, up)
    )
    rival = Member("a:1", "y", 0, joining)
    refusal = examine(table, rival, 9, lambda _: False)
    assert isinstance(refusal, JoinRefused)
    assert (refusal.code, refusal.retriable, refusal.authority_holder) == ("authority_collision", True, "x")
    assert examine(table, rival, 9, lambda _: True) == Admit(Member("a:1", "y", first_of(2), joining))
    elsewhere = examine(table, Member("b:1", "x", 0, joining), 9, lambda _: False)
    assert isinstance(elsewhere, JoinRefused) and elsewhere.code == "node_id_in_use" and not elsewhere.retriable
    full = examine(table, Member("b:1", "z", 0, joining), 1, lambda _: False)
    assert isinstance(full, JoinRefused) and full.code == "cluster_full"
    table.author(0.0, Member("a:1", "x", first_of(1) + 4, MemberStatus.UNREACHABLE))
    assert isinstance(examine(table, rival, 9, lambda _: False), Admit)


def test_collisions_are_bounded_and_reported_once() -> None:
    collisions = Collisions(10.0, 2)
    assert collisions.claim(0.0, "a", "x") == (True, False)
    collisions.answered("a")
    assert collisions.claim(1.0, "a", "x") == (False, True)
    assert collisions.claim(11.0, "a", "x") == (True, False)
    collisions.claim(11.0, "b", "x")
    collisions.claim(11.0, "c", "x")
    collisions.check()
    assert collisions.claim(11.0, "a", "x") == (True, False)


def test_a_leave_goes_step_by_step() -> None:
    leaver = Leaver(1.0)
    leaver.start(0.0, 5.0)
    leaver.told()
    assert not leaver.may_remove(1.0) and leaver.next_deadline() == 5.0
    leaver.drained(2.0)
    assert leaver.may_remove(2.0)
    leaver.removing(2.0)
    assert not leaver.may_go(2.5)
    assert leaver.may_go(3.0)
    leaver.gone()
    with pytest.raises(IllegalTransition):
        leaver.start(4.0, 0.0)


def test_members_take_turns_to_remove() -> None:
    clock = RemovalClock(5.0, 0.5)
    clock.watch(0.0, "a", 0)
    clock.watch(0.0, "b", 9)
    assert clock.due(5.0) == ["a"]
    assert clock.due(6.4) == [] and clock.due(6.5) == ["b"]
    assert clock.next_deadline() is None


def refuse(joiner: Joiner, now: float, authority: str, code: str) -> None:
    joiner.dial_failed(now, authority, "handshake", code, f"{code} of {authority}")
    joiner.check()


@pytest.mark.parametrize("code", ["authentication_failed", "settings_mismatch", "version_mismatch", "wrong_cluster"])
def test_one_seed_that_refuses_for_good_does_not_end_the_search(code: str) -> None:
    for seeds in (("bad:1", "good:1"), ("good:1", "bad:1")):
        joiner = joiner_at("z:1", *seeds)
        assert joiner.poll(0.0) == Ask(seeds[0])
        if seeds[0] == "bad:1":
            refuse(joiner, 0.0, "bad:1", code)
            assert joiner.poll(0.0) == Ask("good:1")
        else:
            assert joiner.poll(0.1) == Ask("bad:1")
            refuse(joiner, 0.1, "bad:1", code)
        assert not isinstance(joiner.poll(0.15), Fail)
        assert joiner.awaits("good:1", "1" * 16)
        assert joiner.told() == {seed: f"{code} of bad:1" if seed == "bad:1" else "no answer yet" for seed in seeds}


def test_the_search_ends_at_once_when_all_seeds_refuse_for_good() -> None:
    for seeds in (("a:1", "b:1"), ("z:1", "a:1", "b:1")):  # the first of them founds nothing beside its cluster either
        joiner = joiner_at("z:1", *seeds)
        joiner.poll(0.0)
        refuse(joiner, 0.0, "a:1", "wrong_cluster")
        assert joiner.poll(0.0) == Ask("b:1")
        refuse(joiner, 0.0, "b:1", "authentication_failed")
        assert joiner.poll(0.0) == Fail("wrong_cluster", "a:1: wrong_cluster of a:1; b:1: authentication_failed of b:1")


def test_the_first_seed_founds_beside_a_foreign_cluster_and_not_beside_its_own() -> None:
    for code, founds in (("wrong_cluster", True), ("", True), ("authentication_failed", False)):
        joiner = joiner_at("z:1", "z:1", "bad:1", "silent:1")
        joiner.poll(0.0)
        refuse(joiner, 0.0, "bad:1", code)
        joiner.poll(0.0)
        acts = [joiner.poll(CONFIG.found_after_s + step / 10) for step in range(3)]
        assert any(isinstance(act, Found) for act in acts) == founds
        if not founds:
            end = joiner.poll(CONFIG.join_timeout_s)
            assert isinstance(end, Fail) and end.code == code
            assert "silent:1: no answer yet" in end.reason


def test_a_seed_that_answers_after_all_is_no_longer_refused_for_good() -> None:
    joiner = joiner_at("z:1", "a:1")
    joiner.poll(0.0)
    joiner.refused(0.0, "a:1", "1" * 16, JoinRefused("not_a_member", "this node is seeking", True))
    refuse(joiner, 0.1, "a:1", "version_mismatch")
    joiner.dial_failed(0.2, "a:1", "refused", "", "nobody listens there")  # it was ended, for another release
    assert not isinstance(joiner.poll(0.2), Fail)


def test_who_gives_up_says_that_only_the_first_seed_founds() -> None:
    joiner = joiner_at("b:1", "a:1", "b:1", "c:1")
    joiner.poll(0.0)
    joiner.dial_failed(0.0, "a:1", "refused", "", "nobody listens there")
    joiner.poll(0.0)
    joiner.refused(0.0, "c:1", "1" * 16, JoinRefused("not_a_member", "this node is seeking", True))
    end = joiner.poll(CONFIG.join_timeout_s)
    assert isinstance(end, Fail) and end.code == "topology_unavailable"
    assert end.reason.startswith("no seed admitted this node within 15 s (a:1: nobody listens there; c:1: this node is")
    assert "only the first of the seeds, a:1, founds a cluster where there is none: start it or" in end.reason
    assert "put another authority first in `seeds` on all nodes" in end.reason


def test_who_has_lost_its_place_founds_nothing_while_its_cluster_refuses_it() -> None:
    joiner = Joiner("a:1", CONFIG)
    joiner.start(0.0, ("a:1", "b:1"), ("b:1",), again=True)
    joiner.poll(0.0)
    refuse(joiner, 0.0, "b:1", "version_mismatch")
    for second in range(1, 60):
        assert not isinstance(joiner.poll(float(second)), Found | Fail)
    joiner.dial_failed(60.0, "b:1", "refused")
    assert isinstance(joiner.poll(60.0), Found)


def lost_place(*others: str) -> Joiner:
    joiner = Joiner("a:1", CONFIG)
    joiner.start(0.0, ("a:1", "b:1"), others, again=True)
    return joiner


def ask_round(joiner: Joiner, now: float, **failures: str) -> float:
    """One round of the search in which dials fail as told by contact, or are not answered. When it was over."""
    for _ in range(3):
        now = max(now, joiner.next_deadline() or now)
        act = joiner.poll(now)
        assert isinstance(act, Ask)
        if reason := failures.get(act.authority[0]):
            joiner.dial_failed(now, act.authority, reason)
        joiner.check()
    return now


def test_a_first_seed_that_lost_its_place_founds_again_once_all_refuse() -> None:
    joiner = lost_place("c:1", "d:1")
    now = ask_round(joiner, 0.0, b="refused", c="refused", d="refused")
    assert now < CONFIG.found_after_s
    assert isinstance(joiner.poll(now), Found)


@pytest.mark.parametrize("reason", ["timeout", "other", "handshake", ""])
def test_who_lost_its_place_does_not_found_again_while_one_may_be_alive(reason: str) -> None:
    joiner = lost_place("c:1", "d:1")
    now = 0.0
    while (now := ask_round(joiner, now, b="refused", c="refused", d=reason)) < CONFIG.join_timeout_s - 2.0:
        assert not isinstance(joiner.poll(now), Found)
    assert isinstance(joiner.poll(CONFIG.join_timeout_s), Found)


def test_who_lost_its_place_counts_no_refusal_of_an_earlier_round() -> None:
    """One after the other was restarted: each has refused once, and they are a cluster."""
    joiner = lost_place("c:1", "d:1")
    now = ask_round(joiner, 0.0, b="refused", c="refused")
    now = ask_round(joiner, now, d="refused")
    assert not isinstance(joiner.poll(now), Found)


def test_a_later_time_out_takes_a_refusal_back() -> None:
    joiner = joiner_at("a:1", "a:1", "b:1", "c:1")
    joiner.poll(0.0)
    joiner.dial_failed(0.0, "b:1", "refused")
    joiner.dial_failed(0.0, "b:1", "timeout")
    joiner.poll(0.0)
    joiner.dial_failed(0.0, "c:1", "refused")
    assert not isinstance(joiner.poll(0.0), Found)


def test_who_is_not_the_first_seed_never_founds_again() -> None:
    joiner = Joiner("b:1", CONFIG)
    joiner.start(0.0, ("a:1", "b:1"), ("c:1", "d:1"), again=True)
    now = ask_round(joiner, 0.0, a="refused", c="refused", d="refused")
    assert not isinstance(joiner.poll(now), Found)
