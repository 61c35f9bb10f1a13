"""The faults of a simulated control plane: one method per kind of fault, drawn by name from a seed.

A fault that lasts (flapping links, a process that is stopped for a while) plans its own end; a scenario asks which
steps are due. The choice of faults does not depend on the state of the control planes, so no state is spared.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from inaho.core.node import ControlNode
from inaho.testing.control_plane.simulation import ControlSimulation

__all__ = ["KINDS", "Swarm", "Trouble"]

KINDS: Final = (
    "join",
    "leave",
    "crash",
    "restart",
    "partition",
    "isolate",
    "one_way",
    "triangle",
    "flap",
    "pause",
    "weather",
    "heal",
)
"""Kinds of faults, and the ends of some."""


class Swarm(msgspec.Struct, frozen=True):
    """Sizes and kinds of faults of one history.

    Attributes:
        nodes: at the start.
        nodes_max: at any time.
        seeds: how many of them are seeds.
        kinds: the kinds of faults.
        pause_s: mean time between two events, virtual seconds.
        safety_s: how long there are faults, virtual seconds.
        evidence: see `Network.evidence`.
    """

    nodes: int = 5
    nodes_max: int = 7
    seeds: int = 2
    kinds: tuple[str, ...] = KINDS
    pause_s: float = 1.5
    safety_s: float = 30.0
    evidence: bool = True

    @classmethod
    def draw(cls, chance: random.Random, safety_s: float = 30.0) -> Swarm:
        """Draws one."""
        kinds = tuple(kind for kind in KINDS if chance.random() < 0.5) or ("crash", "restart")
        return cls(
            nodes=chance.choice((2, 3, 4, 5, 5, 5, 6)),
            nodes_max=chance.choice((6, 7, 8)),
            seeds=chance.choice((1, 2, 3)),
            kinds=kinds,
            pause_s=chance.choice((0.3, 1.0, 2.0, 4.0)),
            safety_s=safety_s,
            evidence=chance.random() < 0.8,
        )


class Trouble:
    """Makes faults in one simulation.

    Args:
        simulation: in which.
        swarm: how much of which kind.
        chance: seeded.
    """

    def __init__(self, simulation: ControlSimulation, swarm: Swarm, chance: random.Random) -> None:
        self.simulation = simulation
        self.swarm = swarm
        self.chance = chance
        self.seeds = tuple(simulation.authority(index) for index in range(min(swarm.seeds, swarm.nodes)))
        self.everybody = tuple(simulation.authority(index) for index in range(swarm.nodes_max))
        # The faults, with times, for the report of a failure.
        self.acts: list[tuple[float, str]] = []
        self._later: list[tuple[float, Callable[[], None]]] = []
        self._kinds: dict[str, Callable[[], None]] = {kind: getattr(self, f"_{kind}") for kind in KINDS}

    def strike(self) -> None:
        """Makes a fault of a random kind."""
        self._kinds[self.chance.choice(self.swarm.kinds)]()

    def next_at(self) -> float | None:
        """When the next planned step is due."""
        return min((at for at, _ in self._later), default=None)

    def go_on(self) -> None:
        """Does the planned steps that are due now."""
        for item in [item for item in self._later if item[0] <= self.simulation.now]:
            self._later.remove(item)
            item[1]()

    def stop(self) -> None:
        """Drops planned steps, ends all cuts and continues stopped processes."""
        self._later.clear()
        self.note("all is well")
        self.simulation.heal()
        for authority in self.simulation.paused:
            self.simulation.resume(authority)

    def note(self, act: str) -> None:
        """Records a step."""
        self.acts.append((self.simulation.now, act))

    def absent(self) -> list[str]:
        """Authorities of the first members at which no process runs."""
        return [authority for authority in self.everybody[: self.swarm.nodes] if authority not in self.simulation.nodes]

    def start(self, authority: str, note: str = "starts") -> None:
        """Starts a process where none runs."""
        if authority not in self.simulation.nodes:
            self.note(f"{authority} {note}")
            self.simulation.start(authority, self.seeds)

    # Helpers.

    def _after(self, wait_s: float, act: Callable[[], None]) -> None:
        self._later.append((self.simulation.now + wait_s, act))

    def _pick(self, least: int) -> str:
        """A running node, empty when fewer than `least` run."""
        running = [authority for authority in self.simulation.nodes if authority not in self.simulation.paused]
        return self.chance.choice(running) if len(running) >= least else ""

    def _others(self, authority: str) -> list[str]:
        return [other for other in self.everybody if other != authority]

    # Kinds.

    def _join(self) -> None:
        for authority in self.everybody:
            if authority not in self.simulation.nodes:
                self.start(authority)
                return

    def _restart(self) -> None:
        absent = self.absent()
        if absent:
            self.start(self.chance.choice(absent), "starts again")

    def _leave(self) -> None:
        authority = self._pick(3)
        if authority:
            self.note(f"{authority} is asked to leave")
            self.simulation.leave(authority)

    def _crash(self) -> None:
        authority = self._pick(2)
        if authority:
            self.note(f"{authority} crashes")
            self.simulation.crash(authority)
            if self.chance.random() < 0.5:
                wait_s = self.chance.choice((0.05, 0.5, 3.0, 9.0))
                self._after(wait_s, partial(self.start, authority, "is started again"))

    def _partition(self) -> None:
        side = self.chance.sample(self.everybody, self.chance.randint(1, len(self.everybody) - 1))
        self.note(f"cut off together: {sorted(side)}")
        self.simulation.partition(side, [authority for authority in self.everybody if authority not in side])

    def _isolate(self) -> None:
        authority = self._pick(2)
        if authority:
            self.note(f"{authority} is cut off")
            self.simulation.partition([authority], self._others(authority))

    def _one_way(self) -> None:
        authority = self._pick(2)
        if authority:
            deaf = self.chance.random() < 0.5
            self.note(f"{authority} {'hears' if deaf else 'reaches'} nobody")
            for other in self._others(authority):
                self.simulation.cut(*((other, authority) if deaf else (authority, other)))

    def _triangle(self) -> None:
        left, right = self._pick(3), self._pick(3)
        if left != right:
            self.note(f"no link between {left} and {right}")
            self.simulation.partition([left], [right])

    def _flap(self) -> None:
        authority = self._pick(2)
        if authority:
            period_s = self.chance.choice((0.3, 1.0, 2.5))
            self.note(f"links of {authority} flap every {period_s} s")
            for turn in range(0, 2 * self.chance.randint(2, 5), 2):
                self._after(turn * period_s, partial(self.simulation.partition, [authority], self._others(authority)))
                self._after((turn + 1) * period_s, partial(self._mend, authority))

    def _mend(self, authority: str) -> None:
        for source, target in self.simulation.links.cuts:
            if authority in (source, target):
                self.simulation.links.mend(source, target)

    def _pause(self) -> None:
        authority = self._pick(2)
        if authority:
            length_s = self.chance.choice((0.2, 1.5, 3.0, 6.0, 12.0, 18.0))
            self.note(f"{authority} is stopped for {length_s} s")
            self.simulation.pause(authority)
            self._after(length_s, partial(self._resume, authority, self.simulation.nodes[authority]))

    def _resume(self, authority: str, process: ControlNode) -> None:
        if authority in self.simulation.paused and self.simulation.nodes.get(authority) is process:
            self.simulation.resume(authority)

    def _weather(self) -> None:
        network = self.simulation.network
        network.loss = self.chance.choice((0.0, 0.0, 0.01, 0.1, 0.3))
        network.repeat = self.chance.choice((0.0, 0.0, 0.1, 0.3))
        network.delay_least_s = self.chance.choice((0.0005, 0.0005, 0.02, 0.1))
        network.delay_most_s = network.delay_least_s + self.chance.choice((0.0, 0.005, 0.05, 0.3))
        self.note(f"weather: {network}")

    def _heal(self) -> None:
        self.note("all links are mended")
        self.simulation.heal()
