"""Grains keep their promises where the membership is that of a provider, whatever happens to it and to the nodes."""

from __future__ import annotations

import os

import pytest

import inaho
from inaho.config import ClusterConfig, MembershipConfig
from inaho.events import ActivationStarted, MemberRemoved, SelfRemoved
from inaho.providers.memory import MemoryProvider, MemoryTopology
from inaho.testing import SimCluster
from inaho.testing.histories.grain_swarm import GrainSwarm

SEEDS = range(int(os.environ.get("INAHO_TEST_SEEDS", "25")))


class Where(inaho.Grain):
    async def authority(self) -> str:
        return self.cluster.authority


def cluster(seed: int, nodes: int = 4) -> tuple[SimCluster, MemoryTopology]:
    topology = MemoryTopology()
    config = ClusterConfig(membership=MembershipConfig(source="provider"))
    sim = SimCluster(
        nodes=nodes, seed=seed, grains=[Where], config=config, providers=lambda: [MemoryProvider("memory", topology)]
    )
    return sim, topology


def ask(sim: SimCluster, node: int, keys: int = 20) -> list[str]:
    async def call() -> list[str]:
        return [await sim.node(node).grain(Where, f"key-{number}").authority() for number in range(keys)]

    return sim.run(call())


@pytest.mark.simulation
@pytest.mark.parametrize("seed", SEEDS)
def test_grains_keep_their_promises_where_the_provider_is_the_membership(seed: int):
    swarm = GrainSwarm(seed, by_provider=True)
    with swarm.sim:
        swarm.run()
        swarm.check()
        assert swarm.callers_answered > 20


@pytest.mark.simulation
def test_a_split_network_with_a_common_provider_moves_nothing():
    sim, _ = cluster(1)
    with sim:
        sim.wait_converged()
        before = ask(sim, 0)
        sim.partition({0, 1}, {2, 3})
        sim.run_for(30.0)
        sim.heal()
        sim.wait_converged()
        assert ask(sim, 0) == ask(sim, 3) == before
        starts = [entry.event for entry in sim.events if isinstance(entry.event, ActivationStarted)]
        assert len([event for event in starts if event.identity.kind == "Where"]) == len(before)
        assert not [entry for entry in sim.events if isinstance(entry.event, SelfRemoved | MemberRemoved)]


@pytest.mark.simulation
def test_registrations_that_lapse_while_the_back_end_is_away_remove_nobody():
    sim, topology = cluster(1)
    with sim:
        sim.wait_converged()
        before = ask(sim, 0)
        topology.pause()
        sim.run_for(60.0)
        topology.resume()
        sim.run_for(30.0)
        assert sim.converged()
        assert ask(sim, 3) == before
        assert not [entry for entry in sim.events if isinstance(entry.event, SelfRemoved | MemberRemoved)]


@pytest.mark.simulation
def test_a_member_whose_registration_lapses_and_that_answers_stays():
    sim, topology = cluster(1)
    with sim:
        sim.wait_converged()
        before = ask(sim, 0)
        topology.expire(sim.authority(2))
        sim.run_for(20.0)
        assert sim.authority(2) in dict(topology.members())
        assert sim.converged() and ask(sim, 0) == ask(sim, 2) == before
        assert not [entry for entry in sim.events if isinstance(entry.event, SelfRemoved | MemberRemoved)]
