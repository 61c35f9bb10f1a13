"""Control planes that have become one cluster, under virtual time and a seeded network."""

from __future__ import annotations

from inaho.core.messages import Mark
from inaho.events import MemberRemoved
from inaho.testing.control_plane.simulation import ControlSimulation, Network

SEEDS = range(3)


def cluster(count: int, seed: int = 1, seed_count: int = 1, network: Network | None = None) -> ControlSimulation:
    simulation = ControlSimulation(seed, network=network)
    simulation.start_many(count, seed_count)
    assert simulation.run_until(simulation.converged, 20.0)
    return simulation


def removal_times(simulation: ControlSimulation, subject: str) -> list[float]:
    events = simulation.effects(MemberRemoved)
    return [at for at, _, effect in events if effect.event.authority == subject]  # type: ignore[union-attr]


def mark(simulation: ControlSimulation, authority: str) -> Mark:
    node = simulation.nodes[authority]
    return Mark(node.member.incarnation, node.table.version, node.table.content_hash())
