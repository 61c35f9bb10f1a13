"""Control planes whose nodes leave or restart: who returns is a new incarnation, and the old one never does."""

from __future__ import annotations

import random

import msgspec
import pytest

from inaho.core.effects import JoinFailed, Left, StopActivations
from inaho.core.inputs import Drained, LeaveRequested, Received, Start
from inaho.core.membership.incarnation import first_of
from inaho.core.messages import (
    Accusation,
    ControlMessage,
    Entry,
    Gossip,
    JoinRefused,
    JoinRequest,
    Mark,
    MembershipDelta,
    News,
    Probe,
    ProbeAck,
)
from inaho.core.node import ControlNode
from inaho.events import (
    AuthorityCollision,
    MemberRemoved,
    MemberSuspected,
    MemberUnreachable,
    SelfRemoved,
    StatementRefused,
)
from inaho.testing.control_plane.simulation import ControlSimulation, Network
from inaho.types import Member, MemberStatus
from support.control_planes import SEEDS, cluster, mark, removal_times


@pytest.mark.parametrize("count", [1, 2, 3, 6])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_leave_is_told_and_complete(count: int, seed: int) -> None:
    simulation = cluster(count, seed)
    simulation.run(1.0)
    leaver = simulation.authority(count - 1)
    simulation.leave(leaver)
    assert simulation.run_until(lambda: bool(simulation.effects(Left)), 1.0)
    simulation.nodes.pop(leaver)
    assert simulation.run_until(simulation.converged, 1.0)
    simulation.run(10.0)
    assert not simulation.effects(MemberUnreachable)
    assert not simulation.effects(MemberSuspected)
    reasons = {e.event.reason for _, _, e in simulation.effects(MemberRemoved)}  # type: ignore[union-attr]
    assert reasons == {"left"}


def test_a_leave_waits_until_drained() -> None:
    simulation = cluster(3)
    leaver = simulation.authority(2)
    simulation.give(leaver, LeaveRequested(hold_s=10.0))
    simulation.run(5.0)
    assert simulation.status(simulation.authority(0), leaver) is MemberStatus.LEAVING
    assert not simulation.effects(Left)
    simulation.give(leaver, Drained())
    assert simulation.run_until(lambda: bool(simulation.effects(Left)), 1.0)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seed_that_leaves_and_starts_again_joins_its_cluster(seed: int) -> None:
    simulation = cluster(3, seed, seed_count=2)
    seeds = [simulation.authority(0), simulation.authority(1)]
    simulation.leave(seeds[0])
    assert simulation.run_until(lambda: bool(simulation.effects(Left)), 2.0)
    simulation.run(0.1)
    simulation.crash(seeds[0])
    simulation.start(seeds[0], seeds)
    assert simulation.run_until(simulation.converged, 3.0)


@pytest.mark.parametrize("evidence", [True, False])
@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_killed_node_restarts_on_its_authority_as_a_new_incarnation(seed: int, count: int, evidence: bool) -> None:
    simulation = cluster(count, seed, network=Network(evidence=evidence))
    simulation.run(2.0)
    victim = simulation.authority(count - 1)
    old = simulation.nodes[victim].member
    simulation.crash(victim)
    simulation.run(0.2)
    simulation.start(victim, [simulation.authority(0)])
    # Without evidence of connections only probes can tell, and they take their time.
    assert simulation.run_until(simulation.converged, 2.0 if evidence else 10.0)
    new = simulation.nodes[victim].member
    assert new.incarnation > old.incarnation
    assert new.node_id != old.node_id
    assert simulation.nodes[simulation.authority(0)].table.removed(old.node_id, old.incarnation)


def test_an_authority_of_a_live_node_is_refused() -> None:
    simulation = cluster(3)
    simulation.run(1.0)
    contact, holder = simulation.authority(0), simulation.authority(1)
    rival = Member(holder, "f" * 16, 0, MemberStatus.JOINING)
    node = ControlNode(simulation.config, rival, random.Random(5))
    (ask, *_) = [e for e in node.step(simulation.now, Start((contact,))) if hasattr(e, "message")]
    answers = simulation.nodes[contact].step(simulation.now, Received(holder, rival.node_id, ask.message))
    refusal = next(e.message for e in answers if type(getattr(e, "message", None)).__name__ == "JoinRefused")  # type: ignore[union-attr]
    assert refusal.code == "authority_collision"
    assert refusal.retriable
    collisions = [e.event for e in answers if isinstance(getattr(e, "event", None), AuthorityCollision)]  # type: ignore[union-attr]
    assert len(collisions) == 1
    assert collisions[0].claimed_by == rival.node_id
    # The holder is probed at once; when it has answered, the refusal is final.
    probe = next(e.message for e in answers if isinstance(getattr(e, "message", None), Probe))  # type: ignore[union-attr]
    alive = simulation.nodes[holder].member
    ack = ProbeAck(probe.sequence, alive.node_id, mark(simulation, holder))
    simulation.give(contact, Received(holder, alive.node_id, ack))
    answers = simulation.nodes[contact].step(simulation.now, Received(holder, rival.node_id, ask.message))
    refusal = next(e.message for e in answers if type(getattr(e, "message", None)).__name__ == "JoinRefused")  # type: ignore[union-attr]
    assert refusal.code == "authority_in_use"
    assert not refusal.retriable
    failed = node.step(simulation.now, Received(contact, simulation.nodes[contact].member.node_id, refusal))
    assert any(isinstance(effect, JoinFailed) and effect.code == "authority_in_use" for effect in failed)
    assert simulation.status(contact, holder) is MemberStatus.UP


def _stale_gossip(simulation: ControlSimulation, contact: str, member: Member, version: int) -> ControlMessage:
    entry = Entry(member.node_id, version, member)
    news = News((MembershipDelta(member.node_id, 0, version, (entry,)),))
    return Gossip(mark(simulation, contact), news)


def test_a_removed_incarnation_is_never_up_again() -> None:
    simulation = cluster(3)
    simulation.run(1.0)
    contact, other, victim = (simulation.authority(index) for index in range(3))
    old = simulation.nodes[victim].member
    simulation.crash(victim)
    assert simulation.run_until(simulation.converged, 12.0)
    witness = simulation.nodes[other].member
    simulation.give(contact, Received(other, witness.node_id, _stale_gossip(simulation, other, old, 99)))
    assert simulation.status(contact, victim) is MemberStatus.REMOVED
    answer = simulation.give(contact, Received(victim, old.node_id, Gossip(Mark(old.incarnation, 1, 1))))
    assert [type(e.message).__name__ for e in answer if hasattr(e, "message")] == ["ViewVerdict"]
    simulation.run(20.0)
    assert all(simulation.status(authority, victim) is MemberStatus.REMOVED for authority in simulation.nodes)


@pytest.mark.parametrize("seed", range(8))
def test_a_refutation_does_not_undo_a_removal_that_is_not_known_yet(seed: int) -> None:
    simulation = cluster(4, seed)
    simulation.run(1.0)
    contact, victim = simulation.authority(0), simulation.authority(3)
    old = simulation.nodes[victim].member
    witness = simulation.nodes[contact].member
    others = [authority for authority in simulation.nodes if authority != victim]
    simulation.partition([victim], others)
    assert simulation.run_until(lambda: len(removal_times(simulation, victim)) == 3, 15.0)
    assert not simulation.effects(SelfRemoved)
    # An old accusation comes late, to a node that does not know yet that it was removed: it refutes.
    accusation = Accusation(victim, old.node_id, simulation.nodes[victim].member.incarnation, witness.node_id, "silent")
    before = simulation.nodes[victim].member
    simulation.give(
        victim, Received(contact, witness.node_id, Gossip(mark(simulation, contact), News((), (accusation,))))
    )
    assert simulation.nodes[victim].member.incarnation > before.incarnation
    simulation.heal()
    assert simulation.run_until(simulation.converged, 20.0)
    assert len(simulation.effects(SelfRemoved, victim)) == 1
    assert len(simulation.effects(StopActivations, victim)) == 1
    assert simulation.nodes[victim].member.status is MemberStatus.UP


def test_an_incarnation_beyond_the_jump_is_refused() -> None:
    simulation = cluster(3)
    contact, other, subject = (simulation.authority(index) for index in range(3))
    member = simulation.nodes[subject].member
    far = msgspec.structs.replace(member, incarnation=member.incarnation + 1001)
    witness = simulation.nodes[other].member
    simulation.give(contact, Received(other, witness.node_id, _stale_gossip(simulation, other, far, 9)))
    assert simulation.nodes[contact].table.get(subject) == member
    assert simulation.effects(StatementRefused, contact)


def test_a_joiner_that_claims_an_absurd_incarnation_is_refused() -> None:
    simulation = cluster(2)
    contact, subject = simulation.authority(0), simulation.authority(1)
    simulation.crash(subject)
    assert simulation.run_until(simulation.converged, 12.0)
    joiner = Member(subject, "f" * 16, first_of(10_000), MemberStatus.JOINING)
    answers = simulation.nodes[contact].step(simulation.now, Received(subject, joiner.node_id, JoinRequest(joiner)))
    (refusal,) = [e.message for e in answers if isinstance(getattr(e, "message", None), JoinRefused)]  # type: ignore[union-attr]
    assert (refusal.code, refusal.retriable) == ("inadmissible", False)
    assert simulation.status(contact, subject) is MemberStatus.REMOVED


@pytest.mark.parametrize("seed", SEEDS)
def test_a_leave_in_the_midst_of_a_partition_ends(seed: int) -> None:
    simulation = cluster(3, seed)
    leaver = simulation.authority(2)
    simulation.partition([leaver], [simulation.authority(0), simulation.authority(1)])
    simulation.run(1.0)
    simulation.give(leaver, LeaveRequested(hold_s=30.0))
    simulation.run(12.0)
    simulation.heal()
    assert simulation.run_until(lambda: bool(simulation.effects(Left)), 25.0)
