"""Who blocks: an operator in the back end alone, quarantines only when two members state them (SPEC PR-4.2, VA-1.4)."""

from __future__ import annotations

import pytest

from inaho.core.provisioning.blocking import PROVIDER, blocks_in_force, voices
from inaho.core.provisioning.snapshot import ProviderMember
from inaho.core.provisioning.watch_hub import WatchHub

BAD = "10.0.0.9:7700"


def members(*stating: bool) -> tuple[ProviderMember, ...]:
    return tuple(
        ProviderMember(f"10.0.0.{number}:7700", f"node-{number}", quarantined=(BAD,) if states else ())
        for number, states in enumerate(stating, 1)
    )


@pytest.mark.parametrize(
    ("listed", "blocked", "expected"),
    [
        (members(False, False), (), ()),
        (members(True, False), (), ()),
        (members(True, True), (), (BAD,)),
        (members(False), (BAD,), (BAD,)),
        (members(True, True), ("10.0.0.1:7700",), ("10.0.0.1:7700",)),
    ],
    ids=["nobody", "one member", "two members", "the back end", "one of two is blocked itself"],
)
def test_a_lease_is_taken_by_the_back_end_or_by_two_members(
    listed: tuple[ProviderMember, ...], blocked: tuple[str, ...], expected: tuple[str, ...]
):
    assert blocks_in_force(listed, blocked) == expected


def test_what_a_member_states_of_itself_does_not_count():
    itself = ProviderMember(BAD, "bad", quarantined=(BAD,))
    assert blocks_in_force((*members(True), itself), ()) == ()
    assert voices((*members(True), itself), ()) == {BAD: ("10.0.0.1:7700",)}


def test_pr_4_2_one_quarantine_is_in_the_snapshot_and_takes_nothing():
    snapshot = WatchHub().snapshot("etcd", members(True, False), ())
    assert snapshot is not None
    assert (snapshot.blocked_nodes, snapshot.blocks_in_force) == ((BAD,), ())


def test_voices_are_named_in_a_fixed_order():
    assert voices(members(True, True), (BAD,)) == {BAD: ("10.0.0.1:7700", "10.0.0.2:7700", PROVIDER)}
    assert voices(reversed(members(True, True)), (BAD,)) == {BAD: ("10.0.0.1:7700", "10.0.0.2:7700", PROVIDER)}
