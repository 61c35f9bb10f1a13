"""How fast and how steady membership is, in virtual time: every figure over many seeded histories.

    python benchmarks/control_plane_reach.py [--seeds N] [--first N] [--only NAME ...] [--json]

What `tests/sim/test_control_reach.py` checks over a few seeds is measured here over as many as wanted: 1,000 for the
short histories and a fifth of them for those of ten minutes by default, about an hour of one core. Nodes are real
control planes with default settings; the network is simulated. `--only` picks figures by name; `--list` names them.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Final

from inaho.core.effects import ApplyTopology
from inaho.core.inputs import BlockNode
from inaho.events import MemberRemoved, MemberUnreachable, SelfRemoved
from inaho.testing.control_plane.simulation import ControlSimulation, Network
from inaho.types import MemberStatus

LONG_SHARE: Final = 5
"""Histories of minutes are played for one in so many seeds."""

Figure = Callable[[int], float]


def formed(seed: int, count: int = 5, network: Network | None = None) -> ControlSimulation:
    """A cluster that is at rest, somewhere between two probes."""
    simulation = ControlSimulation(seed, network=network, check_every=0)
    simulation.start_many(count)
    if not simulation.run_until(simulation.converged, 20.0):
        raise SystemExit(f"seed {seed}: a cluster of {count} did not form")
    simulation.run(4.0 + 0.037 * (seed % 29))
    return simulation


def until(simulation: ControlSimulation, done: Callable[[], bool]) -> float:
    """Virtual seconds until `done`; 60 when it does not come."""
    started = simulation.now
    return simulation.now - started if simulation.run_until(done, 60.0) else 60.0


def gone(simulation: ControlSimulation, subject: str, among: list[str]) -> bool:
    """Whether all of `among` show the subject as unreachable or removed."""
    return all(
        (simulation.status(authority, subject) or MemberStatus.REMOVED) >= MemberStatus.UNREACHABLE
        for authority in among
    )


def silence(simulation: ControlSimulation, victim: str) -> None:
    """Cuts a node off from all others, without a reset."""
    simulation.partition([victim], [authority for authority in simulation.nodes if authority != victim])


def a_change(seed: int) -> float:
    """3 nodes, 1 % loss: seconds until all have confirmed a change."""
    simulation = formed(seed, 3, Network(loss=0.01))
    simulation.give(simulation.authority(seed % 3), BlockNode(simulation.authority(0)))
    return until(
        simulation,
        lambda: simulation.converged() and all(n.gossip_phase == "confirmed" for n in simulation.nodes.values()),
    )


def a_kill(seed: int) -> float:
    """5 nodes: seconds until the others agree that a killed one is gone."""
    simulation = formed(seed)
    victim = simulation.authority(4)
    simulation.crash(victim)
    return until(simulation, lambda: gone(simulation, victim, list(simulation.nodes)))


def a_silence(seed: int) -> float:
    """5 nodes: seconds until the others agree that a silent one is gone."""
    simulation = formed(seed)
    victim = simulation.authority(4)
    silence(simulation, victim)
    return until(simulation, lambda: gone(simulation, victim, [a for a in simulation.nodes if a != victim]))


def a_second_silence(seed: int) -> float:
    """5 nodes, two silent 1 to 4 s apart: seconds from the second silence until the rest agrees on that one."""
    simulation = formed(seed)
    first, second = simulation.authority(4), simulation.authority(3)
    silence(simulation, first)
    simulation.run(1.0 + 3.0 * (seed % 31) / 30)
    silence(simulation, second)
    rest = [authority for authority in simulation.nodes if authority not in (first, second)]
    return until(simulation, lambda: gone(simulation, second, rest))


def one_way(seed: int) -> float:
    """5 nodes, one of them mute or deaf: seconds until the views of the others are stable."""
    simulation = formed(seed)
    victim, since = simulation.authority(4), simulation.now
    others = [authority for authority in simulation.nodes if authority != victim]
    for authority in others:
        simulation.cut(*((authority, victim) if seed % 2 else (victim, authority)))
    simulation.run(30.0)
    removed = {effect.event.authority for _, who, effect in simulation.effects(MemberRemoved) if who in others}  # type: ignore[union-attr]
    if not removed <= {victim}:
        return 60.0
    return max((at - since for at, who, _ in simulation.effects(ApplyTopology) if who in others), default=0.0)


def false_removals(seed: int) -> float:
    """5 nodes, 20 % loss, 100 ms delay, 10 minutes: removals."""
    simulation = formed(seed, 5, Network(delay_least_s=0.1, delay_most_s=0.1))
    simulation.network.loss = 0.2
    simulation.run(600.0)
    return float(len(simulation.effects(MemberRemoved)) + len(simulation.effects(SelfRemoved)))


def pauses(seed: int) -> float:
    """Two of five stopped for 1.5 s, 20 times: removals, and a tenth for each unreachable."""
    simulation = formed(seed)
    sleepers = [simulation.authority(3), simulation.authority(4)]
    for _ in range(20):
        for authority in sleepers:
            simulation.pause(authority)
        simulation.run(1.5)
        for authority in sleepers:
            simulation.resume(authority)
        simulation.run(1.3)
    return len(simulation.effects(MemberRemoved)) + len(simulation.effects(MemberUnreachable)) / 10


def flapping(seed: int) -> float:
    """Links 1 s down, 1 s up for 120 s (of one node, or of all): most views that a node showed."""
    simulation = formed(seed)
    since, authorities = simulation.now, list(simulation.nodes)
    sides = [[authority] for authority in authorities] if seed % 2 else [authorities[-1:], authorities[:-1]]
    for _ in range(60):
        simulation.partition(*sides)
        simulation.run(1.0)
        simulation.heal()
        simulation.run(1.0)
    return float(max(views_of(simulation, authority, since) for authority in authorities))


def views_of(simulation: ControlSimulation, authority: str, since: float) -> int:
    """How many sets of members a node has shown one after another; a refutation alone makes no new one."""
    shown: list[object] = []
    for at, _, effect in simulation.effects(ApplyTopology, authority):
        if isinstance(effect, ApplyTopology) and at >= since:
            members = [(member.authority, member.node_id, member.status) for member in effect.snapshot.members]
            if not shown or shown[-1] != members:
                shown.append(members)
    return len(shown)


FIGURES: Final[dict[str, tuple[Figure, float, bool]]] = {
    "a change": (a_change, 1.0, False),
    "a kill": (a_kill, 1.5, False),
    "a silence": (a_silence, 5.0, False),
    "a second silence": (a_second_silence, 5.0, False),
    "one way": (one_way, 10.0, False),
    "false removals": (false_removals, 0.0, True),
    "pauses": (pauses, 0.0, True),
    "flapping": (flapping, 4.0, True),
}
"""Each figure by name: how it is taken, what it must not exceed, and whether a history takes minutes."""


def main() -> None:
    """Prints a row per figure as it is measured."""
    parser = argparse.ArgumentParser(description="Figures of membership in virtual time.")
    parser.add_argument("--seeds", type=int, default=1000, help="short histories per figure, 1 or more")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--only", nargs="+", choices=sorted(FIGURES), default=list(FIGURES), help="these figures")
    parser.add_argument("--list", action="store_true", help="names the figures and ends")
    parser.add_argument("--json", action="store_true", help="one JSON object per figure instead of a table")
    options = parser.parse_args()
    if options.list:
        for name, (figure, _, _) in FIGURES.items():
            print(f"{name}: {figure.__doc__}")
        return
    if not options.json:
        print("| figure | seeds | p50 | p99 | worst | must not exceed | wall, s |\n|---|---:|---:|---:|---:|---:|---:|")
    for name in options.only:
        figure, most, is_long = FIGURES[name]
        seeds = max(1, options.seeds // LONG_SHARE) if is_long else options.seeds
        started = time.perf_counter()
        values = sorted(figure(seed) for seed in range(options.first, options.first + seeds))
        wall_s = time.perf_counter() - started
        p50, p99 = values[len(values) // 2], values[min(len(values) - 1, int(0.99 * len(values)))]
        if options.json:
            row = {"figure": name, "seeds": seeds, "p50": p50, "p99": p99, "worst": values[-1], "most": most}
            print(json.dumps(row), flush=True)
        else:
            print(
                f"| {name} | {seeds} | {p50:.2f} | {p99:.2f} | {values[-1]:.2f} | {most:g} | {wall_s:.0f} |", flush=True
            )


if __name__ == "__main__":
    main()
