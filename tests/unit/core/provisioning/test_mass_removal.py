"""A provider that is the membership removes members by mistake only if they do not answer either."""

from __future__ import annotations

from hypothesis import settings

from inaho.core.provisioning.mass_removal import MassRemovalGuard
from inaho.core.provisioning.snapshot import ProviderMember, ProviderSnapshot, snapshot_hash
from support.removal_rules import RemovalRules

TestRemovals = RemovalRules.TestCase
TestRemovals.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)

MEMBERS = tuple(f"10.0.0.1:{port}" for port in range(1, 7))
ME = MEMBERS[0]


def listing(*authorities: str) -> ProviderSnapshot:
    entries = tuple(ProviderMember(authority) for authority in authorities)
    return ProviderSnapshot("etcd", 1, snapshot_hash(entries, ()), entries)


def test_a_few_that_are_gone_are_removed_at_once() -> None:
    guard = MassRemovalGuard(ME)
    assert not guard.doubts(listing(*MEMBERS[:4]), MEMBERS)
    assert guard.alive == ()


def test_half_of_the_members_need_a_second_read_and_probes_that_fail() -> None:
    guard = MassRemovalGuard(ME)
    assert guard.doubts(listing(*MEMBERS[:3]), MEMBERS)
    assert guard.missing == guard.to_probe == MEMBERS[3:]
    for authority in MEMBERS[3:]:
        guard.probed(authority, alive=authority == MEMBERS[3])
    assert not guard.settled, "read once"
    assert not guard.doubts(listing(*MEMBERS[:3]), MEMBERS)
    assert guard.alive == (MEMBERS[3],)


def test_a_member_that_answered_stays_until_a_later_probe_fails() -> None:
    guard = MassRemovalGuard(ME)
    for _ in range(2):
        guard.doubts(listing(*MEMBERS[:3]), MEMBERS)
        for authority in guard.to_probe:
            guard.probed(authority, alive=authority == MEMBERS[3])
    assert not guard.doubts(listing(*MEMBERS[:3]), MEMBERS[:4])
    assert guard.alive == guard.to_probe == (MEMBERS[3],)
    guard.probed(MEMBERS[3], alive=False)
    assert guard.alive == ()


def test_a_list_without_this_node_is_doubted_and_this_node_stays() -> None:
    guard = MassRemovalGuard(ME)
    assert guard.doubts(listing(*MEMBERS[1:5]), MEMBERS)
    assert guard.to_probe == (MEMBERS[5],)
    guard.probed(MEMBERS[5], alive=False)
    assert not guard.doubts(listing(*MEMBERS[1:5]), MEMBERS)
    assert guard.alive == (ME,)


def test_a_back_end_that_recovers_step_by_step_removes_nobody_who_answers() -> None:
    guard = MassRemovalGuard(ME)
    assert guard.doubts(listing(), MEMBERS)
    for listed in range(1, 6):
        assert guard.doubts(listing(*MEMBERS[:listed]), MEMBERS), "those that are missing were not probed yet"
    assert not guard.doubts(listing(*MEMBERS), MEMBERS)


def test_after_an_absence_of_the_provider_each_missing_member_is_probed() -> None:
    guard = MassRemovalGuard(ME)
    assert guard.doubts(listing(*MEMBERS[:5]), MEMBERS, steady=False)
    assert guard.to_probe == (MEMBERS[5],)


def test_an_empty_list_of_a_cluster_of_one_keeps_this_node() -> None:
    guard = MassRemovalGuard(ME)
    assert guard.doubts(listing(), (ME,))
    assert not guard.doubts(listing(), (ME,))
    assert guard.alive == (ME,)


def test_losses_one_by_one_count_together() -> None:
    guard, members = MassRemovalGuard(ME), list(MEMBERS)
    removed: list[str] = []
    for lost in MEMBERS[:0:-1]:
        there = [one for one in members if one != lost and one not in guard.alive]
        for _ in range(2):
            guard.doubts(listing(*there), members)
            for authority in guard.to_probe:
                guard.probed(authority, alive=True)
        if lost not in guard.alive:
            members.remove(lost)
            removed.append(lost)
    assert removed == [MEMBERS[5], MEMBERS[4]]
