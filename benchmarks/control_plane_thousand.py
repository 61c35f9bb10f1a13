"""The control plane at size: figures of virtual and wall time, and of what each node sends when nothing happens.

    python benchmarks/control_plane_thousand.py              10, 100 and 1,000 nodes; a few minutes
    python benchmarks/control_plane_thousand.py 10 100       other sizes

Virtual seconds say what a cluster would take, wall seconds what the simulation costs. Every node is a real
`ControlNode`; messages are encoded to measure them. 1 % of the messages are lost.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import msgspec

from inaho.testing.control_plane.simulation import ControlSimulation, Network
from inaho.types import MemberStatus

LOOK_S = 0.05
LOSS = 0.01


class Figures(msgspec.Struct):
    """What one size gives."""

    nodes: int
    formation_s: float = 0.0
    formation_wall_s: float = 0.0
    join_s: float = 0.0
    detected_s: float = 0.0
    removed_s: float = 0.0
    quiet_messages: float = 0.0
    quiet_bytes: float = 0.0
    minute_wall_s: float = 0.0


def until(simulation: ControlSimulation, done: Callable[[], bool], limit_s: float) -> float:
    """Virtual seconds until `done`."""
    started = simulation.now
    if not simulation.run_until(done, limit_s, every_s=LOOK_S):
        raise SystemExit(f"not done after {limit_s} virtual seconds")
    return simulation.now - started


def measure(nodes: int) -> Figures:
    """Forms a cluster, lets it rest for a minute, lets one node join and kills another."""
    figures = Figures(nodes)
    simulation = ControlSimulation(1, network=Network(loss=LOSS), check_every=0, keep_history=False, measure_bytes=True)
    started = time.perf_counter()
    simulation.start_many(nodes, seed_count=3)
    figures.formation_s = until(simulation, simulation.converged, 60.0)
    figures.formation_wall_s = time.perf_counter() - started
    simulation.run(10.0)
    sent, size, started = simulation.traffic.sent, simulation.traffic.encoded_bytes, time.perf_counter()
    simulation.run(60.0)
    figures.minute_wall_s = time.perf_counter() - started
    figures.quiet_messages = (simulation.traffic.sent - sent) / nodes / 60.0
    figures.quiet_bytes = (simulation.traffic.encoded_bytes - size) / nodes / 60.0
    simulation.start(simulation.authority(nodes), [simulation.authority(1)])
    figures.join_s = until(simulation, simulation.converged, 30.0)
    simulation.run(5.0)
    victim, killed_at = simulation.authority(nodes // 2), simulation.now
    simulation.crash(victim)

    def unreachable() -> bool:
        records = (node.table.get(victim) for node in simulation.nodes.values())
        return all(record is None or record.status >= MemberStatus.UNREACHABLE for record in records)

    figures.detected_s = until(simulation, unreachable, 30.0)
    until(simulation, simulation.converged, 30.0)
    figures.removed_s = simulation.now - killed_at
    return figures


def main(sizes: list[int]) -> None:
    """Prints a row per size as it is measured."""
    print(
        "| nodes | formed, s | wall, s | one joins, s | crash known, s | removed, s | quiet: messages | bytes |", end=""
    )
    print(" a quiet minute, wall s |")
    print("|---:|" + "---:|" * 8)
    for nodes in sizes:
        row = measure(nodes)
        print(
            f"| {row.nodes} | {row.formation_s:.2f} | {row.formation_wall_s:.1f} | {row.join_s:.2f} "
            f"| {row.detected_s:.2f} | {row.removed_s:.2f} | {row.quiet_messages:.2f} | {row.quiet_bytes:.0f} "
            f"| {row.minute_wall_s:.1f} |",
            flush=True,
        )
    print("Messages and bytes are per node and second; all times but wall times are virtual.")


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]] or [10, 100, 1000])
