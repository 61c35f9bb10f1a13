"""Whole control planes talking to each other, under virtual time and a seeded network."""

from __future__ import annotations

import itertools
import random

import msgspec
import pytest

from inaho.config import ClusterConfig
from inaho.core.effects import ApplyTopology, CloseConnection, Joined, JoinFailed, Left, Send, StopActivations
from inaho.core.inputs import (
    BlockNode,
    Drained,
    LeaveRequested,
    LoopLag,
    Received,
    ResolveConflict,
    Start,
    Tick,
    UnblockNode,
)
from inaho.core.membership.incarnation import first_of
from inaho.core.messages import (
    Accusation,
    ControlMessage,
    Entry,
    Gossip,
    JoinAccepted,
    JoinRefused,
    JoinRequest,
    Mark,
    MembershipDelta,
    News,
    Probe,
    ProbeAck,
)
from inaho.core.node import ControlNode
from inaho.errors import IllegalTransition
from inaho.events import (
    AuthorityCollision,
    BlockListChanged,
    ConvergenceReached,
    MemberReachable,
    MemberRemoved,
    MemberSuspected,
    MemberUnreachable,
    MemberUp,
    NodePaused,
    SelfRemoved,
    StatementRefused,
    SuspicionCleared,
    ViewConflict,
    ViewRefused,
)
from inaho.testing.control_plane.simulation import ControlSimulation, Network
from inaho.types import Member, MemberStatus

SEEDS = range(3)


def cluster(count: int, seed: int = 1, seed_count: int = 1, network: Network | None = None) -> ControlSimulation:
    simulation = ControlSimulation(seed, network=network)
    simulation.start_many(count, seed_count)
    assert simulation.run_until(simulation.converged, 20.0)
    return simulation


def removal_times(simulation: ControlSimulation, subject: str) -> list[float]:
    events = simulation.effects(MemberRemoved)
    return [at for at, _, effect in events if effect.event.authority == subject]  # type: ignore[union-attr]


# Joining.


@pytest.mark.parametrize("count", range(1, 8))
@pytest.mark.parametrize("seed", SEEDS)
def test_nodes_join_and_all_are_told(count: int, seed: int) -> None:
    simulation = cluster(count, seed)
    assert simulation.now - 1000.0 < 1.0
    assert len(simulation.effects(Joined)) == count
    simulation.run(1.0)
    assert simulation.converged()
    assert len({node.topology.hash for node in simulation.nodes.values()}) == 1
    assert len({node.topology.version for node in simulation.nodes.values()}) == 1
    for authority in simulation.nodes:
        ups = {e.event.authority for _, _, e in simulation.effects(MemberUp, authority)}  # type: ignore[union-attr]
        assert ups == set(simulation.nodes)


def test_the_answer_to_a_join_has_the_newest_table() -> None:
    simulation = cluster(3)
    contact, barred = simulation.authority(0), simulation.authority(2)
    simulation.give(contact, BlockNode(barred))  # nobody else has heard of it yet
    subject = Member("10.0.0.9:1", "9" * 16, 0, MemberStatus.JOINING)
    joiner = ControlNode(ClusterConfig(), subject, random.Random(1))
    (asked,) = joiner.step(simulation.now, Start((contact,)))
    assert isinstance(asked, Send) and isinstance(asked.message, JoinRequest)
    host = simulation.nodes[contact]
    answers = host.step(simulation.now, Received(subject.authority, subject.node_id, asked.message))
    (accepted,) = [each for each in answers if isinstance(each, Send) and isinstance(each.message, JoinAccepted)]
    joined = joiner.step(simulation.now, Received(contact, host.member.node_id, accepted.message))
    assert Joined in map(type, joined)
    assert {member.authority for member in joiner.table.live} == {*simulation.nodes, subject.authority}
    assert [joiner.table.get(each) for each in simulation.nodes] == [host.table.get(each) for each in simulation.nodes]
    assert joiner.table.blocks.blocked == (barred,)


def test_a_lone_node_founds_at_once() -> None:
    simulation = ControlSimulation(1)
    node = simulation.start("10.0.0.1:1")
    simulation.run(0.0)
    assert node.member.status is MemberStatus.UP
    assert node.topology.members == (node.member,)
    assert node.member.incarnation == first_of(1)


def test_a_join_without_cluster_fails_in_time_with_the_reason() -> None:
    simulation = ControlSimulation(1)
    simulation.start("10.0.0.2:1", ["10.0.0.1:1", "10.0.0.2:1"])
    simulation.run(14.9)
    assert not simulation.effects(JoinFailed)
    simulation.run(0.2)
    (failure,) = [effect for _, _, effect in simulation.effects(JoinFailed)]
    assert isinstance(failure, JoinFailed)
    assert failure.code == "topology_unavailable"
    assert "refused" in failure.reason


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_seeds_that_start_together_become_one_cluster(seed: int, order: tuple[int, int]) -> None:
    simulation = ControlSimulation(seed)
    seeds = [simulation.authority(0), simulation.authority(1)]
    for index in order:
        simulation.start(simulation.authority(index), seeds)
    assert simulation.run_until(simulation.converged, 3.0)


@pytest.mark.parametrize("seed", SEEDS)
def test_two_founders_that_disagree_about_the_first_seed_merge(seed: int) -> None:
    simulation = ControlSimulation(seed)
    left, right = simulation.authority(0), simulation.authority(1)
    simulation.partition([left], [right])
    simulation.start(left, [left, right])
    simulation.start(right, [right, left])
    simulation.run(2.0)
    assert all(node.member.status is MemberStatus.UP for node in simulation.nodes.values())
    simulation.heal()
    assert simulation.run_until(simulation.converged, 15.0)
    assert not simulation.effects(SelfRemoved)


def test_without_connection_evidence_the_cluster_still_forms_and_detects() -> None:
    simulation = cluster(4, network=Network(evidence=False))
    victim = simulation.authority(3)
    simulation.crash(victim)
    assert simulation.run_until(simulation.converged, 20.0)
    assert removal_times(simulation, victim)


@pytest.mark.parametrize("seed", range(6))
def test_convergence_under_loss_and_repetition(seed: int) -> None:
    simulation = ControlSimulation(seed, network=Network(loss=0.2, repeat=0.1, delay_most_s=0.02))
    simulation.start_many(7)
    assert simulation.run_until(simulation.converged, 20.0)
    simulation.run(20.0)
    simulation.network.loss = 0.0
    assert simulation.run_until(simulation.converged, 5.0)
    assert not simulation.effects(MemberRemoved)


def test_three_nodes_converge_within_a_second() -> None:
    simulation = cluster(3)
    simulation.give(simulation.authority(0), BlockNode(simulation.authority(2)))
    assert simulation.run_until(simulation.converged, 1.0)
    simulation.run(0.2)
    assert all(node.topology.blocked == (simulation.authority(2),) for node in simulation.nodes.values())
    elapsed = [e.event.elapsed_s for _, _, e in simulation.effects(ConvergenceReached)]  # type: ignore[union-attr]
    assert elapsed and max(elapsed) < 1.0


def test_a_quiet_cluster_only_probes() -> None:
    simulation = cluster(5)
    simulation.run(5.0)
    before, topologies = simulation.messages, len(simulation.effects(ApplyTopology))
    simulation.run(60.0)
    # Per node and interval one probe and its answer, and now and then a mark with its acknowledgement.
    assert simulation.messages - before < 5 * 60 * (2 / 0.5) * 1.1
    assert len(simulation.effects(ApplyTopology)) == topologies
    assert {node.gossip_phase for node in simulation.nodes.values()} == {"confirmed"}


# Failure.


@pytest.mark.parametrize("seed", range(5))
def test_a_joiner_that_was_not_told_is_not_suspected(seed: int) -> None:
    simulation = cluster(4, seed)
    contact, joiner = simulation.authority(0), simulation.authority(4)
    simulation.cut(contact, joiner)
    simulation.start(joiner, [contact])
    simulation.run(3.0)
    assert simulation.status(simulation.authority(2), joiner) is MemberStatus.JOINING
    simulation.heal()
    assert simulation.run_until(simulation.converged, 2.0)
    assert not simulation.effects(MemberSuspected)


@pytest.mark.parametrize("evidence", [True, False])
def test_a_joiner_that_dies_before_it_is_told_is_removed(evidence: bool) -> None:
    simulation = cluster(4, network=Network(evidence=evidence))
    contact, joiner = simulation.authority(0), simulation.authority(4)
    simulation.cut(contact, joiner)
    simulation.start(joiner, [contact])
    simulation.run(0.5)
    simulation.crash(joiner)
    simulation.heal()
    assert simulation.run_until(simulation.converged, 16.0)


@pytest.mark.parametrize("seed", SEEDS)
def test_probes_of_a_member_that_is_unreachable_say_nothing_about_the_prober(seed: int) -> None:
    simulation = cluster(2, seed)
    victim = simulation.authority(1)
    simulation.partition([victim], [simulation.authority(0)])
    view = simulation.nodes[simulation.authority(0)]._view
    assert simulation.run_until(lambda: simulation.status(simulation.authority(0), victim) == 3, 6.0)
    score = view.detector.health.score
    simulation.run(4.0)
    assert simulation.status(simulation.authority(0), victim) is MemberStatus.UNREACHABLE
    assert view.detector.health.score <= score


@pytest.mark.parametrize("seed", SEEDS)
def test_a_killed_node_of_two_is_unreachable_within_two_seconds(seed: int) -> None:
    simulation = cluster(2, seed)
    simulation.run(3.0)
    survivor, victim = simulation.authority(0), simulation.authority(1)
    simulation.crash(victim)
    killed_at = simulation.now
    assert simulation.run_until(lambda: bool(simulation.effects(MemberUnreachable)), 2.0)
    event = simulation.effects(MemberUnreachable)[0][2].event  # type: ignore[union-attr]
    assert event.reason == "dead"
    assert simulation.run_until(simulation.converged, 8.0)
    assert 5.0 < removal_times(simulation, victim)[0] - killed_at < 8.0
    simulation.run(0.1)
    assert simulation.nodes[survivor].topology.members == (simulation.nodes[survivor].member,)


@pytest.mark.parametrize("count", [3, 5, 7])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_killed_node_is_removed_by_two_sources_and_all_know(count: int, seed: int) -> None:
    simulation = cluster(count, seed)
    simulation.run(3.0)
    victim = simulation.authority(count - 1)
    simulation.crash(victim)
    assert simulation.run_until(simulation.converged, 12.0)
    for node in simulation.nodes.values():
        entry = node.table.entry(victim)
        assert entry is not None
        assert entry.member.status is MemberStatus.REMOVED
        assert len(set(entry.sources)) >= 2
    unreachable = [at for at, _, _ in simulation.effects(MemberUnreachable)]
    assert len(unreachable) == count - 1
    assert max(unreachable) - min(unreachable) < 0.5
    assert not simulation.effects(SelfRemoved)


def test_a_majority_that_dies_at_once_is_still_removed() -> None:
    simulation = cluster(5)
    simulation.run(2.0)
    for index in (2, 3, 4):
        simulation.crash(simulation.authority(index))
    assert simulation.run_until(simulation.converged, 20.0)


def test_one_broken_link_removes_nobody() -> None:
    simulation = cluster(4)
    left, right = simulation.authority(1), simulation.authority(2)
    simulation.cut(left, right)
    simulation.cut(right, left)
    simulation.run(60.0)
    assert not simulation.effects(MemberUnreachable)
    assert simulation.converged()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_false_suspicion_is_refuted(seed: int) -> None:
    simulation = cluster(3, seed)
    simulation.run(1.0)
    victim = simulation.authority(2)
    before = simulation.nodes[victim].member.incarnation
    simulation.partition([victim], [simulation.authority(0), simulation.authority(1)])
    suspected = simulation.run_until(
        lambda: any(e.event.authority == victim for _, _, e in simulation.effects(MemberSuspected)),  # type: ignore[union-attr]
        5.0,
    )
    assert suspected
    simulation.heal()
    assert simulation.run_until(lambda: bool(simulation.effects(SuspicionCleared)), 3.0)
    simulation.run(5.0)
    assert simulation.converged()
    assert simulation.nodes[victim].member.incarnation > before
    assert not simulation.effects(MemberUnreachable)


@pytest.mark.parametrize("seed", SEEDS)
def test_an_unreachable_node_that_is_back_is_settled_and_up(seed: int) -> None:
    simulation = cluster(4, seed)
    victim = simulation.authority(3)
    simulation.pause(victim)
    assert simulation.run_until(lambda: len(simulation.effects(MemberUnreachable)) >= 3, 8.0)
    simulation.resume(victim)
    assert simulation.run_until(simulation.converged, 5.0)
    assert simulation.effects(MemberReachable)
    assert not simulation.effects(SelfRemoved)
    reasons = {e.event.reason for _, _, e in simulation.effects(MemberUnreachable)}  # type: ignore[union-attr]
    assert reasons == {"wedged"}


def test_a_paused_node_blames_nobody() -> None:
    simulation = cluster(4)
    simulation.run(2.0)
    victim = simulation.authority(3)
    simulation.pause(victim)
    simulation.run(3.0)
    simulation.resume(victim)
    simulation.run(10.0)
    assert simulation.converged()
    assert simulation.effects(NodePaused, victim)
    accusations = simulation.effects(MemberSuspected, victim)
    assert not accusations
    for _, _, effect in simulation.effects(MemberUnreachable):
        assert effect.event.authority == victim  # type: ignore[union-attr]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_node_paused_past_its_removal_joins_again_above(seed: int) -> None:
    simulation = cluster(4, seed)
    victim = simulation.authority(3)
    before = simulation.nodes[victim].member.incarnation
    version = simulation.nodes[victim].table.version
    simulation.pause(victim)
    assert simulation.run_until(lambda: len(removal_times(simulation, victim)) == 3, 15.0)
    simulation.resume(victim)
    assert simulation.run_until(simulation.converged, 10.0)
    assert simulation.nodes[victim].member.incarnation > before
    assert simulation.nodes[victim].table.version > version
    assert len(simulation.effects(SelfRemoved, victim)) == 1
    assert len(simulation.effects(StopActivations, victim)) == 1
    assert len(simulation.effects(Joined, victim)) == 2
    assert not simulation.effects(StopActivations, simulation.authority(0))


@pytest.mark.parametrize("seed", SEEDS)
def test_flapping_settles(seed: int) -> None:
    simulation = cluster(5, seed)
    victim = simulation.authority(4)
    others = [simulation.authority(index) for index in range(4)]
    for _ in range(6):
        simulation.partition([victim], others)
        simulation.run(1.7)
        simulation.heal()
        simulation.run(0.9)
    assert simulation.run_until(simulation.converged, 20.0)
    simulation.run(20.0)
    assert simulation.converged()
    for authority in others:
        assert not simulation.effects(SelfRemoved, authority)


# Partition.


@pytest.mark.parametrize(("left", "count"), [(2, 5), (3, 6), (1, 2), (1, 4)])
@pytest.mark.parametrize("seed", SEEDS)
def test_after_a_long_partition_both_sides_are_one_again(left: int, count: int, seed: int) -> None:
    simulation = cluster(count, seed)
    near = [simulation.authority(index) for index in range(left)]
    far = [simulation.authority(index) for index in range(left, count)]
    simulation.partition(near, far)
    simulation.run(20.0)
    for authority in near:
        assert {member.authority for member in simulation.nodes[authority].table.live} == set(near)
    for authority in far:
        assert {member.authority for member in simulation.nodes[authority].table.live} == set(far)
    simulation.heal()
    assert simulation.run_until(simulation.converged, 30.0)
    # The side with the seed held; only the other had to join again (SPEC CL-7.4).
    assert simulation.effects(ViewRefused)
    for authority in near:
        assert not simulation.effects(SelfRemoved, authority)
    for authority in far:
        assert simulation.effects(SelfRemoved, authority)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_short_partition_removes_nobody(seed: int) -> None:
    simulation = cluster(6, seed)
    near = [simulation.authority(index) for index in range(3)]
    far = [simulation.authority(index) for index in range(3, 6)]
    simulation.partition(near, far)
    simulation.run(4.0)
    simulation.heal()
    assert simulation.run_until(simulation.converged, 10.0)
    assert not simulation.effects(SelfRemoved)


def test_an_operator_settles_what_no_rule_can() -> None:
    simulation = ControlSimulation(1)
    founder, left, right = (simulation.authority(index) for index in range(3))
    simulation.start_many(3)
    assert simulation.run_until(simulation.converged, 5.0)
    # The only seed dies; what is left splits in two halves of one node, and no rule prefers either.
    simulation.crash(founder)
    assert simulation.run_until(simulation.converged, 15.0)
    simulation.partition([left], [right])
    simulation.run(20.0)
    simulation.heal()
    simulation.run(30.0)
    assert simulation.effects(ViewConflict)
    assert not simulation.effects(SelfRemoved)
    simulation.give(left, ResolveConflict(right, keep=True))
    assert simulation.run_until(simulation.converged, 10.0)
    assert simulation.effects(SelfRemoved, right) and not simulation.effects(SelfRemoved, left)


def test_an_operator_settles_a_split_into_equal_halves_at_one_member() -> None:
    simulation = cluster(5)
    founder, *others = (simulation.authority(index) for index in range(5))
    left, right = others[:2], others[2:]
    simulation.crash(founder)
    assert simulation.run_until(simulation.converged, 15.0)
    simulation.partition(left, right)
    simulation.run(20.0)
    simulation.heal()
    simulation.run(30.0)
    conflicts = simulation.effects(ViewConflict, right[0])
    assert conflicts and not simulation.effects(SelfRemoved)
    simulation.give(right[0], ResolveConflict(left[0], keep=True))
    assert simulation.run_until(simulation.converged, 30.0)
    for authority in right:
        assert not simulation.effects(SelfRemoved, authority)


def test_an_operator_may_also_give_a_view_up() -> None:
    simulation = cluster(3)
    founder, left, right = (simulation.authority(index) for index in range(3))
    simulation.crash(founder)
    assert simulation.run_until(simulation.converged, 15.0)
    simulation.partition([left], [right])
    simulation.run(20.0)
    simulation.heal()
    simulation.run(20.0)
    simulation.give(left, ResolveConflict(right, keep=False))
    assert simulation.run_until(simulation.converged, 10.0)
    assert simulation.effects(SelfRemoved, left) and not simulation.effects(SelfRemoved, right)


@pytest.mark.parametrize("later_s", [0.0, 40.0, 200.0])
def test_what_an_operator_decides_during_a_split_holds_when_it_is_over(later_s: float) -> None:
    """Nobody on the other side can be told yet, and an operator is not asked twice."""
    simulation = cluster(5)
    founder, *others = (simulation.authority(index) for index in range(5))
    left, right = others[:2], others[2:]
    simulation.crash(founder)
    assert simulation.run_until(simulation.converged, 15.0)
    simulation.partition(left, right)
    simulation.run(20.0)
    simulation.give(right[0], ResolveConflict(left[0], keep=True))
    simulation.run(later_s)
    simulation.heal()
    assert simulation.run_until(simulation.converged, 60.0)
    assert not any(simulation.effects(SelfRemoved, authority) for authority in right)


def test_a_view_is_not_given_up_for_one_that_cannot_be_joined() -> None:
    """During the split its own side would take it back, and the order would be lost."""
    simulation = cluster(5)
    founder, *others = (simulation.authority(index) for index in range(5))
    left, right = others[:2], others[2:]
    simulation.crash(founder)
    assert simulation.run_until(simulation.converged, 15.0)
    simulation.partition(left, right)
    simulation.run(20.0)
    with pytest.raises(IllegalTransition, match="no conflict"):
        simulation.give(left[0], ResolveConflict(right[0], keep=False))
    simulation.heal()
    assert simulation.run_until(lambda: bool(simulation.effects(ViewConflict, left[0])), 30.0)
    against = simulation.effects(ViewConflict, left[0])[-1][2].event.authority  # type: ignore[union-attr]
    simulation.give(left[0], ResolveConflict(against, keep=False))
    assert simulation.run_until(simulation.converged, 60.0)
    assert simulation.effects(SelfRemoved, left[0])
    assert not any(simulation.effects(SelfRemoved, authority) for authority in right)


def test_an_operators_word_ends_with_its_conflict() -> None:
    simulation = cluster(5)
    founder, *others = (simulation.authority(index) for index in range(5))
    left, right = others[:2], others[2:]
    simulation.crash(founder)
    assert simulation.run_until(simulation.converged, 15.0)
    simulation.partition(left, right)
    simulation.run(20.0)
    simulation.give(right[0], ResolveConflict(left[0], keep=True))
    simulation.heal()
    assert simulation.run_until(simulation.converged, 60.0)
    simulation.run(60.0)
    simulation.partition(left, right)
    simulation.run(20.0)
    simulation.heal()
    simulation.run(30.0)
    assert not simulation.converged()  # another conflict, of which nobody has decided


@pytest.mark.parametrize("kept", [True, False])
def test_an_operator_is_told_when_there_is_no_conflict(kept: bool) -> None:
    simulation = cluster(3)
    for authority in (simulation.authority(1), simulation.authority(0), "10.9.9.9:1"):
        with pytest.raises(IllegalTransition, match="no conflict"):
            simulation.give(simulation.authority(0), ResolveConflict(authority, keep=kept))
    simulation.run(5.0)
    assert simulation.converged()
    assert not simulation.effects(SelfRemoved)


def test_a_block_outlives_the_blocked_process() -> None:
    simulation = cluster(4)
    barred, operator = simulation.authority(3), simulation.authority(1)
    simulation.give(operator, BlockNode(barred))
    assert simulation.run_until(simulation.converged, 2.0)
    simulation.crash(barred)
    simulation.run(1.0)
    simulation.start(barred, [simulation.authority(0)])
    assert simulation.run_until(simulation.converged, 15.0)
    simulation.run(1.0)
    for node in simulation.nodes.values():
        assert node.topology.blocked == (barred,)
    simulation.give(barred, UnblockNode(barred))
    assert simulation.run_until(simulation.converged, 2.0)
    simulation.run(1.0)
    assert all(node.topology.blocked == () for node in simulation.nodes.values())


# Leaving and coming back.


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
    ack = ProbeAck(probe.sequence, alive.node_id, _mark(simulation, holder))
    simulation.give(contact, Received(holder, alive.node_id, ack))
    answers = simulation.nodes[contact].step(simulation.now, Received(holder, rival.node_id, ask.message))
    refusal = next(e.message for e in answers if type(getattr(e, "message", None)).__name__ == "JoinRefused")  # type: ignore[union-attr]
    assert refusal.code == "authority_in_use"
    assert not refusal.retriable
    failed = node.step(simulation.now, Received(contact, simulation.nodes[contact].member.node_id, refusal))
    assert any(isinstance(effect, JoinFailed) and effect.code == "authority_in_use" for effect in failed)
    assert simulation.status(contact, holder) is MemberStatus.UP


def _mark(simulation: ControlSimulation, authority: str) -> Mark:
    node = simulation.nodes[authority]
    return Mark(node.member.incarnation, node.table.version, node.table.content_hash())


def _stale_gossip(simulation: ControlSimulation, contact: str, member: Member, version: int) -> ControlMessage:
    entry = Entry(member.node_id, version, member)
    news = News((MembershipDelta(member.node_id, 0, version, (entry,)),))
    return Gossip(_mark(simulation, contact), news)


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
        victim, Received(contact, witness.node_id, Gossip(_mark(simulation, contact), News((), (accusation,))))
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


# The interface.


def test_an_unknown_input_changes_nothing() -> None:
    node = ControlNode(ClusterConfig(), Member("a:1", "1" * 16, 0, MemberStatus.JOINING), random.Random(1))
    with pytest.raises(IllegalTransition):
        node.step(0.0, object())  # type: ignore[arg-type]
    assert node.next_deadline() is None
    node.step(0.0, Start())
    with pytest.raises(IllegalTransition):
        node.step(0.0, Start())
    assert node.member.status is MemberStatus.UP


def test_effects_name_the_input_that_led_to_them() -> None:
    node = ControlNode(ClusterConfig(), Member("a:1", "1" * 16, 0, MemberStatus.JOINING), random.Random(1))
    effects = node.step(0.0, Start())
    assert effects
    assert {effect.cause for effect in effects} == {"n1"}
    assert {e.event.cause for e in effects if hasattr(e, "event")} == {"n1"}


def test_an_oversized_message_closes_the_connection_and_changes_nothing() -> None:
    config = ClusterConfig()
    config = config.replace(membership=config.membership.replace(members_max=3, tombstones_max=1))
    simulation = ControlSimulation(1, config)
    simulation.start_many(2)
    assert simulation.run_until(simulation.converged, 5.0)
    contact, other = simulation.authority(0), simulation.authority(1)
    version = simulation.nodes[contact].table.version
    deltas = tuple(MembershipDelta(f"o{index}", 0, 1) for index in range(5))
    message = Gossip(_mark(simulation, other), News(deltas))
    simulation.give(contact, Received(other, simulation.nodes[other].member.node_id, message))
    assert simulation.effects(CloseConnection, contact)
    assert simulation.nodes[contact].table.version == version


def test_a_full_cluster_admits_nobody() -> None:
    config = ClusterConfig()
    config = config.replace(membership=config.membership.replace(members_max=3))
    simulation = ControlSimulation(1, config)
    simulation.start_many(3)
    assert simulation.run_until(simulation.converged, 5.0)
    simulation.start(simulation.authority(7), [simulation.authority(0)])
    simulation.run(16.0)
    (failure,) = [effect for _, _, effect in simulation.effects(JoinFailed)]
    assert "maximum" in failure.reason  # type: ignore[union-attr]


def test_blocks_spread_and_are_lifted() -> None:
    simulation = cluster(3)
    simulation.run(1.0)
    hashes = {node.topology.hash for node in simulation.nodes.values()}
    blocked = simulation.authority(1)
    simulation.give(simulation.authority(0), BlockNode(blocked))
    simulation.run(1.0)
    assert {node.topology.blocked for node in simulation.nodes.values()} == {(blocked,)}
    assert hashes.isdisjoint({node.topology.hash for node in simulation.nodes.values()})
    simulation.give(simulation.authority(2), UnblockNode(blocked))
    simulation.run(1.0)
    assert {node.topology.blocked for node in simulation.nodes.values()} == {()}
    assert hashes == {node.topology.hash for node in simulation.nodes.values()}
    assert len(simulation.effects(BlockListChanged)) == 6


def test_changes_of_one_period_are_one_topology() -> None:
    config = ClusterConfig()
    config = config.replace(membership=config.membership.replace(update_period_s=0.5))
    simulation = ControlSimulation(1, config)
    simulation.start_many(6)
    simulation.run(3.0)
    assert simulation.converged()
    applied = simulation.effects(ApplyTopology, simulation.authority(0))
    assert len(applied) == 2
    for authority in simulation.nodes:
        times = [at for at, _, _ in simulation.effects(ApplyTopology, authority)]
        assert all(later - earlier >= 0.5 - 1e-9 for earlier, later in itertools.pairwise(times[1:]))


def test_loop_lag_is_gossiped_and_names_the_reason() -> None:
    simulation = cluster(2)
    busy = simulation.authority(1)
    simulation.run(1.0)
    simulation.give(busy, LoopLag(0.9))
    simulation.run(1.5)
    evidence = simulation.nodes[simulation.authority(0)]._view.detector.evidence
    member = simulation.nodes[busy].member
    assert evidence.reason(simulation.now, busy, member.node_id) == "busy"


@pytest.mark.parametrize("seed", SEEDS)
def test_one_seed_is_one_history(seed: int) -> None:
    def history() -> list[tuple[float, str, object]]:
        simulation = cluster(5, seed, network=Network(loss=0.1, repeat=0.1))
        simulation.crash(simulation.authority(4))
        simulation.run(10.0)
        return list(simulation.history)

    assert history() == history()


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_it_heals(seed: int) -> None:
    """Crashes, restarts, cuts, pauses and loss at random; then calm, and one cluster."""
    chance = random.Random(seed)
    simulation = ControlSimulation(seed, network=Network(loss=0.05, repeat=0.05, delay_most_s=0.02))
    simulation.start_many(6, seed_count=2)
    simulation.run(2.0)
    everybody = [simulation.authority(index) for index in range(6)]
    seeds = everybody[:2]
    paused: list[str] = []
    for _ in range(12):
        act = chance.choice(["crash", "restart", "partition", "heal", "pause", "resume", "wait"])
        alive = [authority for authority in simulation.nodes if authority not in paused]
        if act == "crash" and len(alive) > 3:
            simulation.crash(chance.choice(alive[1:]))
        elif act == "restart":
            for authority in everybody:
                if authority not in simulation.nodes:
                    simulation.start(authority, seeds)
        elif act == "partition":
            side = chance.sample(everybody, 3)
            simulation.partition(side, [authority for authority in everybody if authority not in side])
        elif act == "heal":
            simulation.heal()
        elif act == "pause" and len(alive) > 3:
            paused.append(chance.choice(alive))
            simulation.pause(paused[-1])
        elif act == "resume" and paused:
            simulation.resume(paused.pop())
        simulation.run(chance.uniform(0.1, 6.0))
    simulation.heal()
    for authority in paused:
        simulation.resume(authority)
    simulation.network.loss = simulation.network.repeat = 0.0
    # A join that was under way may give up just now, and rightly so.
    simulation.run(16.0)
    failed = [authority for authority, node in simulation.nodes.items() if node.stage == "failed"]
    for authority in failed:
        simulation.crash(authority)
    assert simulation.run_until(simulation.converged, 60.0)
    simulation.run(20.0)
    assert simulation.converged()


def test_time_that_stands_still_or_falls_back_is_survived() -> None:
    simulation = cluster(2)
    node = simulation.nodes[simulation.authority(0)]
    node.step(simulation.now - 5.0, Tick())
    node.check()
    simulation.run(5.0)
    assert simulation.converged()
