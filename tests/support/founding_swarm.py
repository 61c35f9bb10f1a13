"""Histories of nodes that found by a record, drawn from a seed: first faults, then none.

Each seed first draws which kinds of faults it has. In the first phase no node may found beside a registered member
(`FoundingWorld` checks every founding). In the second one all faults end, and the nodes must become one cluster; an
operator decides what no rule of the control plane can.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

from inaho.core.effects import Publish
from inaho.core.inputs import ResolveConflict
from inaho.core.node.lifecycle import FAILED, LEFT
from inaho.events import ViewConflict
from inaho.types import MemberStatus
from support.founding_world import FoundingWorld

__all__ = ["FoundingSwarm"]

FAULTY_S: Final = 40.0
BOUND_S: Final = 90.0
OPERATOR_AFTER_S: Final = 20.0


class FoundingSwarm:
    """One history.

    Args:
        seed: of the faults.
        faulty_s: how long there are faults, virtual seconds.
    """

    def __init__(self, seed: int, faulty_s: float = FAULTY_S) -> None:
        self.acts: list[str] = []
        self._chance = random.Random(f"founding swarm/{seed}")
        self._seed = seed
        self._faulty_s = faulty_s
        self._count = self._chance.choice((1, 2, 3, 4, 5, 6))
        self._pause_s = self._chance.choice((0.05, 0.5, 2.0))
        kinds: dict[str, Callable[[FoundingWorld], Awaitable[None]]] = {
            "restart": self._restart,
            "restart all": self._restart_all,
            "cut": self._cut,
            "split": self._split,
            "stop": self._stop,
            "away": self._away,
            "back end stops": self._back_end_stops,
            "record lost": self._lose_record,
            "entries lost": self._lose_entries,
        }
        chosen = [name for name in kinds if self._chance.random() < 0.4] or ["restart all"]
        self._kinds = {name: kinds[name] for name in chosen}

    def run(self) -> None:
        """Plays it; raises with the faults that were made."""
        try:
            FoundingWorld.run(self._story, self._seed)
        except AssertionError as error:
            error.add_note(f"seed {self._seed}: {'; '.join(self.acts)}")
            raise

    async def _story(self, world: FoundingWorld) -> None:
        everybody = [world.authority(index) for index in range(self._count)]
        self._chance.shuffle(everybody)
        for authority in everybody:
            world.start(authority)
            await asyncio.sleep(self._chance.choice((0.0, 0.0, 0.01, 0.3)))
        end = world.loop.time() + self._faulty_s
        while world.loop.time() < end:
            await asyncio.sleep(self._pause_s * 2 * self._chance.random())
            name = self._chance.choice(list(self._kinds))
            self.acts.append(f"{world.loop.time() - 1000.0:.3f} {name}")
            await self._kinds[name](world)
            self._tend(world, everybody)
        self._end_faults(world)
        await self._settle(world, everybody)

    async def _settle(self, world: FoundingWorld, everybody: list[str]) -> None:
        began, operated = world.loop.time(), 0
        while not world.simulation.converged() or len(world.nodes) < len(everybody):
            now = world.loop.time()
            stages = {name: (node.stage, str(node.control.table.live)) for name, node in world.nodes.items()}
            assert now < began + BOUND_S, f"no one cluster: {stages}, record {world.topology.record}"
            self._tend(world, everybody)
            if now > began + OPERATOR_AFTER_S * (1 + operated):
                operated += self._operate(world)
            await asyncio.sleep(0.2)

    def _tend(self, world: FoundingWorld, everybody: list[str]) -> None:
        """What a supervisor does: starts processes again."""
        for authority, node in [*world.nodes.items()]:
            if node.stage in (FAILED, LEFT) and authority not in world.simulation.paused:
                world.crash(authority)
        for authority in everybody:
            if authority not in world.nodes:
                world.start(authority)

    def _operate(self, world: FoundingWorld) -> bool:
        for _, who, effect in reversed(world.simulation.history):
            conflict = effect.event if isinstance(effect, Publish) else None
            if isinstance(conflict, ViewConflict) and who in world.nodes:
                record = world.nodes[who].control.table.get(conflict.authority)
                if record is not None and record.status is MemberStatus.REMOVED:
                    world.simulation.give(who, ResolveConflict(conflict.authority, keep=True))
                    return True
        return False

    def _end_faults(self, world: FoundingWorld) -> None:
        self.acts.append(f"{world.loop.time() - 1000.0:.3f} all is well")
        world.simulation.heal()
        world.topology.resume()
        for node in world.nodes.values():
            node.provider.reached = True
        for authority in world.simulation.paused:
            world.resume(authority)

    def _any(self, world: FoundingWorld) -> str:
        running = [authority for authority in world.nodes if authority not in world.simulation.paused]
        return self._chance.choice(running) if running else ""

    def _others(self, world: FoundingWorld, authority: str) -> list[str]:
        return [world.authority(index) for index in range(self._count) if world.authority(index) != authority]

    # Kinds.

    async def _restart(self, world: FoundingWorld) -> None:
        authority = self._any(world)
        if authority:
            world.crash(authority)
            await asyncio.sleep(self._chance.choice((0.0, 0.01, 0.3, 6.0)))

    async def _restart_all(self, world: FoundingWorld) -> None:
        world.crash(*world.nodes)
        await asyncio.sleep(self._chance.choice((0.0, 0.01, 0.3)))

    async def _cut(self, world: FoundingWorld) -> None:
        authority = self._any(world)
        if authority:
            world.simulation.partition([authority], self._others(world, authority))
            await asyncio.sleep(self._chance.choice((0.05, 1.0, 8.0)))
            world.simulation.heal()

    async def _split(self, world: FoundingWorld) -> None:
        if self._count > 1:
            side = self._chance.sample([world.authority(index) for index in range(self._count)], self._count // 2)
            rest = [world.authority(index) for index in range(self._count) if world.authority(index) not in side]
            world.simulation.partition(side, rest)
            await asyncio.sleep(self._chance.choice((0.5, 3.0, 15.0)))
            world.simulation.heal()

    async def _stop(self, world: FoundingWorld) -> None:
        authority = self._any(world)
        if authority:
            node = world.nodes[authority]
            world.pause(authority)
            await asyncio.sleep(self._chance.choice((0.01, 0.1, 1.0, 5.0, 14.0, 20.0)))
            if world.nodes.get(authority) is node:
                world.resume(authority)

    async def _away(self, world: FoundingWorld) -> None:
        authority = self._any(world)
        if authority:
            node = world.nodes[authority]
            node.provider.reached = False
            await asyncio.sleep(self._chance.choice((0.1, 3.0, 20.0)))
            node.provider.reached = True

    async def _back_end_stops(self, world: FoundingWorld) -> None:
        world.topology.pause()
        await asyncio.sleep(self._chance.choice((0.05, 1.0, 5.0, 20.0)))
        world.topology.resume()

    async def _lose_record(self, world: FoundingWorld) -> None:
        world.topology.record = ""

    async def _lose_entries(self, world: FoundingWorld) -> None:
        for authority, _ in world.topology.members():
            world.topology.expire(authority)
