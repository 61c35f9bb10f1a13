"""Control planes suspect, refute and remove: killed, paused and flapping nodes, and links that break."""

from __future__ import annotations

import pytest

from inaho.core.effects import Joined, StopActivations
from inaho.events import MemberReachable, MemberSuspected, MemberUnreachable, NodePaused, SelfRemoved, SuspicionCleared
from inaho.testing.control_plane.simulation import Network
from inaho.types import MemberStatus
from support.control_planes import SEEDS, cluster, removal_times


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
