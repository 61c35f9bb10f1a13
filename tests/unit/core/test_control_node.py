"""The interface of a control plane: inputs that it refuses, effects, bounds, time, and one history of one seed."""

from __future__ import annotations

import itertools
import random

import pytest

from inaho.config import ClusterConfig
from inaho.core.effects import ApplyTopology, CloseConnection, JoinFailed
from inaho.core.inputs import BlockNode, LoopLag, Received, Start, Tick, UnblockNode
from inaho.core.messages import Gossip, MembershipDelta, News
from inaho.core.node import ControlNode
from inaho.errors import IllegalTransition
from inaho.events import BlockListChanged
from inaho.testing.control_plane.simulation import ControlSimulation, Network
from inaho.types import Member, MemberStatus
from support.control_planes import SEEDS, cluster, mark


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
    message = Gossip(mark(simulation, other), News(deltas))
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
