"""Draws histories of a simulated control plane from a seed: first faults, then none, checked in both phases.

Swarm style: each seed first draws which kinds of faults it has at all, and how often. Why not all kinds in each
history: faults mask each other (a crash ends a flapping link), and a failure that needs three pauses in a row happens
only if there are few other faults. In the safety phase no wrong statement may be made. In the liveness phase all faults
end, and the cluster must be one again within a bound; an operator decides what no rule can.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from inaho.config import ClusterConfig
from inaho.core.effects import Publish
from inaho.core.inputs import BlockNode, ResolveConflict
from inaho.events import ViewConflict
from inaho.testing.control_plane.checkers import BoundedConvergence, Checker, all_checkers
from inaho.testing.control_plane.simulation import ControlSimulation, Network
from inaho.testing.control_plane.trouble import KINDS, Swarm, Trouble
from inaho.types import MemberStatus

__all__ = ["KINDS", "Scenario", "Swarm"]

BOUND_S: Final = 45.0
OPERATOR_AFTER_S: Final = 20.0
SETTLED_S: Final = 15.0


class Scenario:
    """One history.

    Args:
        seed: of everything.
        swarm: its sizes and kinds of faults; drawn from the seed unless given.
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
        self._chance = random.Random(f"scenario/{seed}")
        self.swarm = swarm or Swarm.draw(self._chance, safety_s)
        self.checkers = tuple(all_checkers() if checkers is None else checkers)
        network = Network(evidence=self.swarm.evidence)
        self.simulation = ControlSimulation(seed, config, network, check_every=0, observers=self.checkers)
        self.trouble = Trouble(self.simulation, self.swarm, self._chance)
        # How often an operator had to settle a conflict.
        self.operated = 0

    def run(self) -> ControlSimulation:
        """Runs it all.

        Raises:
            CheckFailed: a condition does not hold.
        """
        self._safety()
        self._liveness()
        return self.simulation

    def story(self) -> str:
        """What happened, one line per event."""
        return "\n".join(f"{at - 1000.0:8.3f}  {act}" for at, act in self.trouble.acts)

    def _safety(self) -> None:
        simulation, trouble = self.simulation, self.trouble
        for authority in trouble.everybody[: self.swarm.nodes]:
            simulation.start(authority, trouble.seeds)
        end = simulation.now + self.swarm.safety_s
        act_at = simulation.now + 1.5 * self._chance.random()
        while True:
            planned_at = trouble.next_at()
            due = act_at if planned_at is None else min(act_at, planned_at)
            if due >= end:
                break
            simulation.run(max(0.0, due - simulation.now))
            self._bury()
            trouble.go_on()
            if act_at <= simulation.now:
                trouble.strike()
                act_at = simulation.now + self._chance.expovariate(1.0 / self.swarm.pause_s)
        simulation.run(max(0.0, end - simulation.now))

    def _liveness(self) -> None:
        simulation, trouble = self.simulation, self.trouble
        trouble.stop()
        simulation.network = Network(evidence=self.swarm.evidence)
        self._bury()
        for authority in trouble.absent():
            if authority in trouble.seeds or self._chance.random() < 0.5:
                trouble.start(authority)
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

    def _bury(self) -> None:
        """Ends processes that have left or failed."""
        for authority, node in list(self.simulation.nodes.items()):
            if node.stage in ("left", "failed") and authority not in self.simulation.paused:
                self.trouble.note(f"{authority} has {node.stage}")
                self.simulation.crash(authority)

    def _tend(self, started: float) -> None:
        """What a supervisor and an operator do: restart failed processes, and decide what no rule can."""
        simulation = self.simulation
        self._bury()
        for authority in self.trouble.seeds:
            self.trouble.start(authority)
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
                self.trouble.note(f"an operator keeps {who} and not {conflict.authority}")
                simulation.give(who, ResolveConflict(conflict.authority, keep=True))
                return
