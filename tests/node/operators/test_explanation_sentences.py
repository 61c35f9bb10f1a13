"""Where an identity is and why: the sentence for each way in which it can have come there."""

from __future__ import annotations

from typing import Any

import pytest

from inaho import MemberStatus, TopologySnapshot
from inaho.runtime.local.history import ActivationHistory, HistoryEntry, OwnershipHistory, PartitionMove, TopologyChange
from inaho.runtime.operators.explain import explain
from inaho.runtime.operators.reports import ActivationReport, IdentityReport
from inaho.types import ClusterIdentity, Member

A, B = "127.0.0.1:1", "127.0.0.1:2"


def member(authority: str, status: MemberStatus = MemberStatus.UP, node_id: str = "") -> Member:
    return Member(authority, node_id or authority, 1, status, ("K",))


def topology(*members: Member, blocked: tuple[str, ...] = ()) -> TopologySnapshot:
    return TopologySnapshot(1, 1, members, blocked)


@pytest.mark.parametrize(
    ("old", "new", "because"),
    [
        (topology(member(A, MemberStatus.UNREACHABLE), member(B)), topology(member(B)), f"{A} was removed"),
        (topology(member(A), member(B)), topology(member(A, node_id="new"), member(B)), f"{A} was restarted"),
        (topology(member(A), member(B)), topology(member(B)), f"{A} left"),
        (topology(member(A, MemberStatus.LEAVING), member(B)), topology(member(B)), f"{A} left"),
        (topology(member(A), member(B)), topology(member(A, MemberStatus.LEAVING), member(B)), f"{A} left"),
        (
            topology(member(A), member(B)),
            topology(member(A, MemberStatus.UNREACHABLE), member(B)),
            f"{A} became unreachable",
        ),
        (topology(member(A), member(B)), topology(member(A), member(B), blocked=(A,)), f"an operator blocked {A}"),
        (topology(member(A)), topology(member(A), member(B)), f"{B} joined"),
        (None, topology(member(A), member(B)), f"{B} joined"),
        (topology(member(A), member(B), blocked=(B,)), topology(member(A), member(B)), f"an operator unblocked {B}"),
        (
            topology(member(A), member(B, MemberStatus.UNREACHABLE)),
            topology(member(A), member(B)),
            f"{B} was reachable again",
        ),
        (
            topology(member(A), member(B)),
            topology(member(A), member(B)),
            "the members host other kinds, or have other weights, than before",
        ),
    ],
)
def test_why_a_partition_moved(old: TopologySnapshot | None, new: TopologySnapshot, because: str):
    assert TopologyChange(1.0, old, new).why(member(A), member(B)) == because


def test_the_last_move_of_a_partition_is_kept():
    moves = OwnershipHistory(4)
    assert moves.of("K", 1) is None
    joined = TopologyChange(10.0, topology(member(A)), topology(member(A), member(B)))
    moves.gained("K", 1, member(A), member(B), joined)
    removed = TopologyChange(20.0, topology(member(A, MemberStatus.UNREACHABLE), member(B)), topology(member(B)))
    moves.gained("K", 2, member(A), member(B), removed)
    assert moves.of("K", 1) == PartitionMove(10.0, A, f"{B} joined")
    assert moves.of("K", 2) == PartitionMove(20.0, A, f"{A} was removed")
    assert (moves.of("K", 3), moves.of("L", 1)) == (None, None)


def doing(lease: str = "active", epoch: int = 5) -> ActivationReport:
    return ActivationReport("a", lease, epoch, 100.0, 1.0, 0, 0, 3)


def report(authority: str, owner: str, version: int = 1, **known: Any) -> IdentityReport:
    return IdentityReport(authority, authority, version, 7, 17, owner, owner, **known)


IDENTITY = ClusterIdentity("K", "a")


def sentence(*reports: IdentityReport) -> str:
    return explain(IDENTITY, 17, reports, ()).reason


def test_nobody_answers():
    assert sentence() == "No member answered."


def test_the_newest_topology_names_the_owner():
    found = explain(IDENTITY, 17, [report(A, A, 1), report(B, B, 2)], ())
    assert (found.owner, found.topology_version) == (B, 2)


def test_an_owner_that_did_not_answer():
    assert sentence(report(A, B)).endswith(f"{B} owns partition 17 and did not answer.")


def test_an_activation_that_comes_up_tells_whom_it_waits_for():
    told = report(B, B, activation=doing("pending"), lease="pending", lease_holder=B, awaited_from=(A,))
    assert sentence(told).startswith(f"Starting on {B}, which waits for {A} since ")


def test_one_that_has_not_let_go_yet():
    told = sentence(report(A, B, activation=doing()), report(B, B, awaited_from=(A,)))
    assert told.startswith(f"Active on {A} since ") and f", but {B} owns it and will ask {A} to release it." in told
    assert sentence(report(A, B, activation=doing("releasing")), report(B, B)).startswith(f"Ending on {A} (releasing)")


def test_one_that_its_owner_has_placed_elsewhere():
    told = sentence(report(A, B, activation=doing()), report(B, B, lease="active", lease_holder=A, epoch=5))
    assert told.startswith(f"Active on {A} since ") and f"; its owner {B} placed it there." in told


def test_of_two_activations_the_later_epoch_counts_and_the_other_is_named():
    found = explain(IDENTITY, 17, [report(A, A, activation=doing(epoch=4)), report(B, A, activation=doing())], ())
    assert found.holder is not None
    assert (found.holder.authority, found.also_active, found.epoch) == (B, (A,), 5)


def test_a_move_whose_cause_the_owner_does_not_remember():
    history = (HistoryEntry(90.0, "ended", "shutdown", 4, A),)
    told = sentence(report(B, B, activation=doing()), report(A, B, entries=history))
    assert told.startswith(f"Moved from {A} to {B}: it ended (shutdown) on {A} at ")


def test_a_repeated_refusal_is_remembered_once():
    times = iter(range(7))
    history = ActivationHistory(8, lambda: float(next(times)))
    for _ in range(5):
        history.note("K", "a", "refused", "its lease is active", 0)
    history.note("K", "a", "started", "", 1)
    history.note("K", "a", "refused", "its lease is active", 0)
    told = history.of("K", "a", offset_s=0.0, authority=A)
    assert [(entry.at, entry.what) for entry in told] == [(0.0, "refused"), (5.0, "started"), (6.0, "refused")]
