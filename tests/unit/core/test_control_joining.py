"""Control planes form one cluster: joining, founding, two founders that merge, and convergence of all tables."""

from __future__ import annotations

import random

import pytest

from inaho.config import ClusterConfig
from inaho.core.effects import ApplyTopology, Joined, JoinFailed, Send
from inaho.core.inputs import BlockNode, Received, Start
from inaho.core.membership.incarnation import first_of
from inaho.core.messages import JoinAccepted, JoinRequest
from inaho.core.node import ControlNode
from inaho.events import ConvergenceReached, MemberRemoved, MemberUp, SelfRemoved
from inaho.testing.control_plane.simulation import ControlSimulation, Network
from inaho.types import Member, MemberStatus
from support.control_planes import SEEDS, cluster, removal_times


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
