"""Ticks of timers are no use of an activation, whatever they do: it is unloaded when nobody else calls it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from inaho import CallCycle, Grain
from inaho.testing import SimCluster


class Back(Grain):
    async def ask(self, kind: str, key: str) -> int:
        result: int = await self.cluster.call(kind, key, "number")
        return result


class Ticking(Grain, idle_ttl_s=3.0):
    """Its tick calls it, through a grain that may be on another node: that is refused as a cycle."""

    async def on_activate(self) -> None:
        self.timer(self.tick, 0.2)

    async def number(self) -> int:
        return 1

    async def tick(self) -> None:
        with contextlib.suppress(CallCycle):
            await self.cluster.grain(Back, f"back of {self.key}").ask("Ticking", self.key)


class Overlapping(Grain, idle_ttl_s=3.0):
    """The ticks of one timer wait behind those of the other."""

    async def on_activate(self) -> None:
        self.timer(self.long, 0.1)
        self.timer(self.short, 0.1)

    async def number(self) -> int:
        return 1

    async def long(self) -> None:
        await asyncio.sleep(0.3)

    async def short(self) -> None:
        await asyncio.sleep(0)


def alive(sim: SimCluster, kind: str) -> set[str]:
    return {key for index in (0, 1) for key in sim.node(index).runtime.hosts[kind].activations}


def test_ticks_that_come_back_by_way_of_another_member_keep_nothing_loaded(simulation_seed: int) -> None:
    kinds: list[Any] = [Ticking, Overlapping]
    with SimCluster(nodes=2, seed=simulation_seed, grains=[*kinds, Back]) as sim:
        keys = [f"k{number}" for number in range(8)]

        async def call() -> None:
            for kind in kinds:
                for key in keys:
                    assert await sim.node(0).grain(kind, key).number() == 1

        sim.run(call())
        sim.run_for(2)
        assert alive(sim, "Ticking") == alive(sim, "Overlapping") == set(keys)
        for _ in range(4):  # who is called stays
            sim.run(call())
            sim.run_for(2)
        assert alive(sim, "Ticking") == alive(sim, "Overlapping") == set(keys)
        sim.run_for(10)
        assert not alive(sim, "Ticking")
        assert not alive(sim, "Overlapping")
