"""Control planes whose membership is a provider, under faults from a seed: rules of every step, one view at the end."""

from __future__ import annotations

import random

import pytest

from inaho.core.node.lifecycle import FAILED, LEFT
from inaho.testing.control_plane.checkers import Checker, Conservation, MonotonicViews, NoReturn, StopsBeforeReturn
from support.provider_members import ProviderWorld

PARTS = 5
SEEDS = range(60)
FAULTY_S = 30.0
BOUND_S = 60.0
KINDS = ("restart", "crash", "stop", "split", "cut off", "away", "lapse", "down", "slow reads", "relief")


class Swarm:
    """One history."""

    def __init__(self, seed: int) -> None:
        self.acts: list[str] = []
        self._chance = random.Random(f"provider swarm/{seed}")
        checkers: tuple[Checker, ...] = (MonotonicViews(), NoReturn(), StopsBeforeReturn(), Conservation())
        self._world = ProviderWorld(seed, checkers)
        self._world.period_s = self._chance.choice((0.0, 0.3, 1.0))
        self._count = self._chance.choice((2, 3, 4, 5, 6))
        self._kinds = [kind for kind in KINDS if self._chance.random() < 0.5] or ["lapse"]

    def run(self) -> None:
        world, chance = self._world, self._chance
        everybody = world.cluster(self._count)
        end = world.simulation.now + FAULTY_S
        while world.simulation.now < end:
            self._strike(chance.choice(self._kinds), everybody)
            world.run(chance.choice((0.1, 0.5, 2.0, 6.0)))
            self._tend()
        self._relieve()
        world.period_s = min(world.period_s, 0.3)

        def agreed() -> bool:
            self._tend()
            for index in range(self._count):
                if world.authority(index) not in world.nodes:
                    world.start(index)
            return world.agreed()

        assert world.until(agreed, BOUND_S), world.show()
        world.run(10.0)
        assert world.agreed(), world.show()
        assert world.until(world.simulation.converged, BOUND_S), "gossip does not find all reachable"

    def _tend(self) -> None:
        for authority, node in [*self._world.nodes.items()]:
            if node.stage in (LEFT, FAILED) and authority not in self._world.simulation.paused:
                self._world.simulation.crash(authority)

    def _relieve(self) -> None:
        world = self._world
        world.simulation.heal()
        world.away.clear()
        world.down = False
        for authority in world.simulation.paused:
            world.simulation.resume(authority)

    def _strike(self, kind: str, everybody: list[str]) -> None:
        world, chance = self._world, self._chance
        simulation = world.simulation
        running = [authority for authority in everybody if authority in world.nodes]
        one = chance.choice(running) if running else ""
        self.acts.append(f"{simulation.now - 1000.0:.2f} {kind} {one}")
        if kind in ("restart", "crash") and one:
            simulation.crash(one)
        elif kind == "stop" and one and one not in simulation.paused:
            simulation.pause(one)
        elif kind == "split":
            side = chance.sample(everybody, max(1, self._count // 2))
            simulation.partition(side, [authority for authority in everybody if authority not in side])
        elif kind == "cut off" and one:
            simulation.partition([one], [authority for authority in everybody if authority != one])
        elif kind == "away" and one:
            world.away[one] = None
        elif kind == "lapse" and one:
            world.expire(one)
        elif kind == "down":
            world.down = not world.down
        elif kind == "slow reads":
            world.period_s = chance.choice((0.0, 0.3, 1.0, 3.0))
        elif kind == "relief":
            self._relieve()
        if kind == "restart":
            for index, authority in enumerate(everybody):
                if authority not in world.nodes:
                    world.start(index)


@pytest.mark.parametrize("part", range(PARTS))
def test_no_fault_breaks_a_rule_and_all_agree_in_the_end(part: int) -> None:
    for seed in SEEDS[part::PARTS]:
        swarm = Swarm(seed)
        try:
            swarm.run()
        except AssertionError as error:
            error.add_note(f"seed {seed}: {'; '.join(swarm.acts)}")
            raise
