"""Members leave and come back one after another: no call fails, and no key is silent for long."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from inaho import Grain, Struct
from inaho.testing import SimCluster
from inaho.testing.simulation.simulated_process import DEAD

KEYS = [f"key-{number}" for number in range(50)]
GAP_S = 0.2
"""Of virtual time: what the protocol takes, without the work of processors and disks."""


class Count(Struct):
    value: int = 0


class Counter(Grain[Count]):
    async def add(self) -> int:
        self.state.value += 1
        await self.save()
        return self.state.value


@pytest.mark.parametrize("seed", [0, 1, 5, 8])
def test_a_rolling_restart_keeps_no_caller_waiting(seed: int):
    with SimCluster(nodes=5, seed=seed, grains=[Counter]) as sim:
        answered: dict[str, list[float]] = {key: [] for key in KEYS}

        async def calls(key: str) -> None:
            counter = sim.node(0).grain(Counter, key)
            while True:
                assert await counter.add() == len(answered[key]) + 1
                answered[key].append(sim.time)
                await asyncio.sleep(0.05)

        async def restarts() -> None:
            callers = [asyncio.create_task(calls(key)) for key in KEYS]
            await asyncio.sleep(2.0)
            for index in range(1, 5):
                process = sim._nodes[index].process
                sim.leave(index)
                await sim.until(lambda process=process: process.state is DEAD, 20.0)  # type: ignore[misc]
                await asyncio.sleep(0.3)
                sim.restart(index)
                await sim.until(lambda index=index: sim.is_member(index), 20.0)  # type: ignore[misc]
                await asyncio.sleep(2.0)
            for caller in callers:
                assert not caller.done()
                caller.cancel()

        sim.run(restarts(), within_s=120.0)
        longest = {key: max(after - before for before, after in pairwise(times)) for key, times in answered.items()}
        assert {key: gap for key, gap in longest.items() if gap > GAP_S} == {}
