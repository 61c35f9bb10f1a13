"""Resolution of Pids: the newest membership or nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inaho.core.delivery.identity_table import IdentityTable, QuarantinedPid, ReachablePid, UnreachablePid
from inaho.core.identity.pid import format_pid
from inaho.errors import InvalidPid, Quarantined
from inaho.types import ClusterIdentity, Member, MemberStatus, Pid, TopologySnapshot

PEER = "10.0.0.1:7700"
OLD, NEW = "a" * 16, "b" * 16
PID = Pid(PEER, OLD, ClusterIdentity("user", "printer"))


def member(node_id: str = OLD, status: MemberStatus = MemberStatus.UP, incarnation: int = 1) -> Member:
    return Member(PEER, node_id, incarnation, status)


def snapshot(version: int, *members: Member) -> TopologySnapshot:
    return TopologySnapshot(version, version, members)


def make(refusals: dict[tuple[str, str], str] | None = None) -> IdentityTable:
    reasons = {} if refusals is None else refusals

    def refusal(authority: str, node_id: str) -> Quarantined | None:
        reason = reasons.get((authority, node_id))
        return None if reason is None else Quarantined(reason, authority=authority)

    return IdentityTable(lambda pid: format_pid(pid, "shop"), refusal)


def test_a_member_is_ready_under_its_canonical_path():
    table = make()
    assert table.update(snapshot(3, member()))
    assert table.resolve(PID) == ReachablePid(PID, 3, f"inaho://shop@{PEER}/user/printer#{OLD}", member())
    table.check()


@pytest.mark.parametrize(
    ("members", "final", "reason"),
    [
        ((), False, "no member"),
        ((member(NEW),), True, "has this authority now"),
        ((member(status=MemberStatus.UNREACHABLE),), False, "unreachable"),
        ((member(status=MemberStatus.REMOVED),), True, "removed"),
    ],
)
def test_what_is_gone_is_unreachable_and_the_answer_says_why(members: tuple[Member, ...], final: bool, reason: str):
    table = make()
    table.update(snapshot(1, *members))
    resolution = table.resolve(PID)
    assert isinstance(resolution, UnreachablePid)
    assert (resolution.final, resolution.version) == (final, 1)
    assert reason in resolution.reason


@pytest.mark.parametrize("status", [MemberStatus.JOINING, MemberStatus.UP, MemberStatus.LEAVING])
def test_a_member_that_comes_or_goes_can_be_reached(status: MemberStatus):
    table = make()
    table.update(snapshot(1, member(status=status)))
    assert isinstance(table.resolve(PID), ReachablePid)


def test_quarantine_comes_first_and_has_a_reason():
    reasons = {(PEER, OLD): "bad bytes"}
    table = make(reasons)
    table.update(snapshot(1, member()))
    assert table.resolve(PID) == QuarantinedPid(PID, 1, "bad bytes")
    reasons.clear()
    assert isinstance(table.resolve(PID), ReachablePid)


@pytest.mark.parametrize("pid", [Pid("nowhere", OLD, PID.identity), Pid(PEER, "", PID.identity)])
def test_a_malformed_pid_is_an_error_with_the_reason(pid: Pid):
    with pytest.raises(InvalidPid):
        make().resolve(pid)


def test_of_two_processes_the_live_one_counts_then_the_later():
    table = make()
    table.update(snapshot(1, member(OLD, MemberStatus.UNREACHABLE, 9), member(NEW, incarnation=1)))
    assert table.member(PEER) == member(NEW)
    table.update(snapshot(2, member(OLD, incarnation=1), member(NEW, incarnation=2)))
    assert isinstance(table.resolve(PID), UnreachablePid)
    assert isinstance(table.resolve(Pid(PEER, NEW, PID.identity)), ReachablePid)


def test_a_new_life_of_the_cluster_counts_anew():
    table = make()
    table.update(snapshot(9, member()))
    table.forget()
    assert table.version == 0
    assert isinstance(table.resolve(PID), UnreachablePid)
    assert table.update(snapshot(1, member(NEW)))
    table.check()


@given(st.lists(st.tuples(st.integers(1, 10), st.sampled_from([OLD, NEW])), max_size=30))
def test_answers_never_go_back_in_time(updates: list[tuple[int, str]]):
    table = make()
    newest, lives = 0, ""
    for version, node_id in updates:
        assert table.update(snapshot(version, member(node_id))) == (version >= newest)
        if version >= newest:
            newest, lives = version, node_id
        resolution = table.resolve(PID)
        assert resolution.version == newest
        assert isinstance(resolution, ReachablePid) == (lives == OLD)
        table.check()
