"""Random histories of a simulated control plane, drawn from a seed: trouble first, then calm, and both are checked.

Swarm style: each seed first draws which kinds of trouble it has at all, and how often. Why not all kinds in each
history: trouble masks trouble (a crash ends a flapping link), and what needs three pauses in a row happens only where
little else does. In the safety phase nothing wrong may be said or shown; in the liveness phase everything is healed,
and the cluster must be one again within a bound, with an operator to settle what no rule can.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from inaho.config import ClusterConfig
from inaho.core.effects import Publish
from inaho.core.inputs import BlockNode, ResolveConflict
from inaho.events import ViewConflict
from inaho.testing.control_checkers import BoundedConvergence, Checker, all_checkers
from inaho.testing.control_simulation import ControlSimulation, Network
from inaho.types import MemberStatus

__all__ = ["KINDS", "Scenario", "Swarm"]

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
"""Kinds of trouble, and the ends of some."""

BOUND_S: Final = 45.0
OPERATOR_AFTER_S: Final = 20.0
SETTLED_S: Final = 15.0


class Swarm(msgspec.Struct, frozen=True):
    """What one history is made of.

    Attributes:
        nodes: at the start.
        nodes_max: at any time.
        seeds: how many of them are seeds.
        kinds: which trouble there is.
        pause_s: mean time between two events, virtual seconds.
        safety_s: how long there is trouble, virtual seconds.
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


class Scenario:
    """One history.

    Args:
        seed: of everything.
        swarm: what it is made of; drawn from the seed unless given.
        checkers: what is checked; one of each unless given.
        config: of every node.
        safety_s: length of the safety phase of a swarm that is drawn, virtual seconds.
    """

    def __init__(
        self,
        seed: int,
        swarm: Swarm | None = None,
        checkers: Sequence[Checker] | None = None,
        config: ClusterConfig | None = None,
        safety_s: float = 30.0,
    ) -> None:
        self.chance = random.Random(f"scenario/{seed}")
        self.swarm = swarm or Swarm.draw(self.chance, safety_s)
        self.checkers = tuple(all_checkers() if checkers is None else checkers)
        network = Network(evidence=self.swarm.evidence)
        self.simulation = ControlSimulation(seed, config, network, check_every=0, observers=self.checkers)
        # What was done, with times: the story of a failure.
        self.acts: list[tuple[float, str]] = []
        self.operated = 0
        self._seeds = tuple(self.simulation.authority(index) for index in range(min(self.swarm.seeds, self.swarm.nodes)))
        self._later: list[tuple[float, Callable[[], None]]] = []
        self._acts: dict[str, Callable[[], None]] = {kind: getattr(self, f"_{kind}") for kind in KINDS}

    def run(self) -> ControlSimulation:
        """Runs it all.

        Raises:
            CheckFailed: a claim does not hold.
        """
        self.trouble()
        self.calm()
        return self.simulation

    def trouble(self) -> None:
        """The safety phase."""
        simulation = self.simulation
        for index in range(self.swarm.nodes):
            simulation.start(simulation.authority(index), self._seeds)
        end = simulation.now + self.swarm.safety_s
        act_at = simulation.now + 1.5 * self.chance.random()
        while True:
            due = min([act_at, *(at for at, _ in self._later)])
            if due >= end:
                break
            simulation.run(max(0.0, due - simulation.now))
            self._bury()
            for item in [item for item in self._later if item[0] <= simulation.now]:
                self._later.remove(item)
                item[1]()
            if act_at <= simulation.now:
                self._acts[self.chance.choice(self.swarm.kinds)]()
                act_at = simulation.now + self.chance.expovariate(1.0 / self.swarm.pause_s)
        simulation.run(max(0.0, end - simulation.now))

    def calm(self) -> None:
        """The liveness phase."""
        simulation = self.simulation
        self._later.clear()
        self._note("all is well")
        simulation.heal()
        for authority in simulation.paused:
            simulation.resume(authority)
        simulation.network = Network(evidence=self.swarm.evidence)
        self._bury()
        for authority in (*self._seeds, *self._absent()):
            if authority not in simulation.nodes and (authority in self._seeds or self.chance.random() < 0.5):
                simulation.start(authority, self._seeds)
        self._settle(BOUND_S)
        simulation.run(SETTLED_S)
        self._check_end()
        some = next(iter(simulation.nodes))
        simulation.give(some, BlockNode(some))
        self._settle(2.0)
        simulation.run(SETTLED_S)
        self._check_end()

    def _settle(self, bound_s: float) -> None:
        started = self.simulation.now
        own = [checker for checker in self.checkers if isinstance(checker, BoundedConvergence)]
        for checker in own or [BoundedConvergence()]:
            checker.settle(self.simulation, bound_s, lambda: self._tend(started))

    def _check_end(self) -> None:
        for checker in self.checkers:
            checker.at_end(self.simulation)

    def story(self) -> str:
        """What was done, one line each."""
        return "\n".join(f"{at - 1000.0:8.3f}  {act}" for at, act in self.acts)

    # Tending.

    def _bury(self) -> None:
        """Ends processes that have left or failed."""
        for authority, node in list(self.simulation.nodes.items()):
            if node.stage in ("left", "failed") and authority not in self.simulation.paused:
                self._note(f"{authority} has {node.stage}")
                self.simulation.crash(authority)

    def _tend(self, started: float) -> None:
        """What a supervisor and an operator do: restart what failed, and settle what no rule can."""
        simulation = self.simulation
        self._bury()
        for authority in self._seeds:
            if authority not in simulation.nodes:
                simulation.start(authority, self._seeds)
        if simulation.now - started < OPERATOR_AFTER_S * (1 + self.operated):
            return
        for at, who, effect in reversed(simulation.history):
            if at < simulation.now - OPERATOR_AFTER_S:
                return
            conflict = effect.event if isinstance(effect, Publish) else None
            if not isinstance(conflict, ViewConflict) or who not in simulation.nodes:
                continue
            record = simulation.nodes[who].table.get(conflict.authority)
            if record is not None and record.status is MemberStatus.REMOVED:
                self.operated += 1
                self._note(f"an operator keeps {who} and not {conflict.authority}")
                simulation.give(who, ResolveConflict(conflict.authority, keep=True))
                return

    # Trouble.

    def _note(self, act: str) -> None:
        self.acts.append((self.simulation.now, act))

    def _running(self) -> list[str]:
        return [authority for authority in self.simulation.nodes if authority not in self.simulation.paused]

    def _absent(self) -> list[str]:
        everybody = [self.simulation.authority(index) for index in range(self.swarm.nodes_max)]
        return [authority for authority in everybody[: self.swarm.nodes] if authority not in self.simulation.nodes]

    def _pick(self, least: int) -> list[str]:
        """All running nodes in random order; none when there are fewer than `least`."""
        running = self._running()
        self.chance.shuffle(running)
        return running if len(running) >= least else []

    def _join(self) -> None:
        for index in range(self.swarm.nodes_max):
            authority = self.simulation.authority(index)
            if authority not in self.simulation.nodes:
                self._note(f"{authority} starts")
                self.simulation.start(authority, self._seeds)
                return

    def _restart(self) -> None:
        absent = self._absent()
        if absent:
            authority = self.chance.choice(absent)
            self._note(f"{authority} starts again")
            self.simulation.start(authority, self._seeds)

    def _leave(self) -> None:
        for authority in self._pick(3)[:1]:
            self._note(f"{authority} is asked to leave")
            self.simulation.leave(authority)

    def _crash(self) -> None:
        for authority in self._pick(2)[:1]:
            self._note(f"{authority} crashes")
            self.simulation.crash(authority)
            if self.chance.random() < 0.5:
                self._after(self.chance.choice((0.05, 0.5, 3.0, 9.0)), lambda: self._revive(authority))

    def _revive(self, authority: str) -> None:
        if authority not in self.simulation.nodes:
            self._note(f"{authority} is started again")
            self.simulation.start(authority, self._seeds)

    def _after(self, wait_s: float, act: Callable[[], None]) -> None:
        self._later.append((self.simulation.now + wait_s, act))

    def _everybody(self) -> list[str]:
        return [self.simulation.authority(index) for index in range(self.swarm.nodes_max)]

    def _partition(self) -> None:
        everybody = self._everybody()
        side = self.chance.sample(everybody, self.chance.randint(1, len(everybody) - 1))
        self._note(f"cut off together: {sorted(side)}")
        self.simulation.partition(side, [authority for authority in everybody if authority not in side])

    def _isolate(self) -> None:
        for authority in self._pick(2)[:1]:
            self._note(f"{authority} is cut off")
            self.simulation.partition([authority], [other for other in self._everybody() if other != authority])

    def _one_way(self) -> None:
        for authority in self._pick(2)[:1]:
            others = [other for other in self._everybody() if other != authority]
            deaf = self.chance.random() < 0.5
            self._note(f"{authority} {'hears' if deaf else 'reaches'} nobody")
            for other in others:
                self.simulation.cut(*((other, authority) if deaf else (authority, other)))

    def _triangle(self) -> None:
        pair = self._pick(3)[:2]
        if pair:
            self._note(f"no link between {pair[0]} and {pair[1]}")
            self.simulation.partition(pair[:1], pair[1:])

    def _flap(self) -> None:
        for authority in self._pick(2)[:1]:
            period_s = self.chance.choice((0.3, 1.0, 2.5))
            self._note(f"links of {authority} flap every {period_s} s")
            others = [other for other in self._everybody() if other != authority]
            for turn in range(0, 2 * self.chance.randint(2, 5), 2):
                self._after(turn * period_s, lambda: self.simulation.partition([authority], others))
                self._after((turn + 1) * period_s, lambda: self._mend(authority))

    def _mend(self, authority: str) -> None:
        for source, target in self.simulation.links.cuts:
            if authority in (source, target):
                self.simulation.links.mend(source, target)

    def _pause(self) -> None:
        for authority in self._pick(2)[:1]:
            process = self.simulation.nodes[authority]
            length_s = self.chance.choice((0.2, 1.5, 3.0, 6.0, 12.0, 18.0))
            self._note(f"{authority} is stopped for {length_s} s")
            self.simulation.pause(authority)

            def resume() -> None:
                if authority in self.simulation.paused and self.simulation.nodes.get(authority) is process:
                    self.simulation.resume(authority)

            self._after(length_s, resume)

    def _weather(self) -> None:
        network = self.simulation.network
        network.loss = self.chance.choice((0.0, 0.0, 0.01, 0.1, 0.3))
        network.repeat = self.chance.choice((0.0, 0.0, 0.1, 0.3))
        network.delay_least_s = self.chance.choice((0.0005, 0.0005, 0.02, 0.1))
        network.delay_most_s = network.delay_least_s + self.chance.choice((0.0, 0.005, 0.05, 0.3))
        self._note(f"weather: {network}")

    def _heal(self) -> None:
        self._note("all links are mended")
        self.simulation.heal()
