"""What a snapshot does to leases is published in the same moment of virtual time (SPEC PR-3.3)."""

from __future__ import annotations

from typing import TypeVar

import pytest

import inaho
from inaho import ClusterConfig, MembershipConfig
from inaho.events import Event, OwnersChanged, SnapshotApplied, TopologyChanged
from inaho.providers.memory import MemoryProvider, MemoryTopology
from inaho.testing import SimCluster

E = TypeVar("E", bound=Event)

NODES = range(3)
KEYS = 30


class Near(inaho.Grain, placement="prefer_local"):
    async def where(self) -> str:
        return self.cluster.authority


@pytest.mark.simulation
@pytest.mark.parametrize("seed", range(3))
def test_pr_3_3_leases_that_end_by_a_snapshot_are_told_in_the_same_moment(seed: int):
    topology = MemoryTopology()
    config = ClusterConfig(membership=MembershipConfig(source="provider"))
    sim = SimCluster(
        nodes=len(NODES), seed=seed, grains=[Near], config=config, providers=lambda: [MemoryProvider("m", topology)]
    )

    def last(node: int, kind: type[E]) -> E:
        return [entry.event for entry in sim.events if entry.node == node and isinstance(entry.event, kind)][-1]

    async def call() -> None:
        for number in range(KEYS):
            on = number % len(NODES)
            assert await sim.node(on).grain(Near, f"key-{number}").where() == sim.authority(on)

    with sim:
        sim.run(call())
        sim.run(sim.until(lambda: all(last(node, SnapshotApplied).members == len(NODES) for node in NODES)))
        holder = sim.node(2).runtime.local.node_id
        ledgers = [sim.node(node).runtime.leases.ledger for node in NODES]
        held = [len(ledger) for ledger in ledgers]
        of_holder = [sum(lease.holder == holder for lease in ledger.of_kind("Near")) for ledger in ledgers]
        assert all(of_holder[:2])

        topology.block(sim.authority(2))
        sim.run(sim.until(lambda: all(last(node, SnapshotApplied).blocked for node in NODES)))
        for node in NODES:
            told, changed = last(node, OwnersChanged), last(node, TopologyChanged)
            assert told.at == changed.at == last(node, SnapshotApplied).at
            assert (told.version, told.hash) == (changed.snapshot.version, changed.snapshot.hash)
            assert (told.revoked, told.held) == (of_holder[node], held[node] - of_holder[node])
        for node in NODES[:2]:
            before = last(node, OwnersChanged).epoch
            key = next(
                key for key in map("new-{}".format, range(100)) if sim.node(node).runtime.leases.owns("Near", key)
            )
            sim.run(sim.node(node).grain(Near, key).where())
            lease = ledgers[node].get("Near", key)
            assert lease is not None
            assert lease.epoch > before
