"""All members of a cluster are told to end at once and are started again, as by a supervisor."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

import pytest

from inaho import Grain, InahoError
from inaho.testing import SimCluster

NODES = 10
START_S = 0.6
"""What a new process needs before it asks to be let in."""


class Busy(Grain):
    async def nap(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@pytest.mark.parametrize("seed", [1, 3])
def test_they_agree_soon_though_some_still_leave_when_others_are_back(seed: int) -> None:
    """A member that leaves must not have the new cluster give way to a view that ends with it."""
    chance = random.Random(seed)
    with SimCluster(nodes=NODES, seed=seed, grains=[Busy], within_s=300) as sim:

        async def nap(number: int, seconds: float) -> None:
            owns = sim.node(number).runtime.leases.owns
            key = next(f"k{n}" for n in range(10_000) if owns("Busy", f"k{n}"))
            with suppress(InahoError):
                await sim.node((number + 1) % NODES).grain(Busy, key).nap(seconds)

        async def end_and_start(number: int) -> None:
            holding = asyncio.ensure_future(nap(number, chance.uniform(0.0, 3.0)))
            await asyncio.sleep(0.02)
            sim.leave(number)
            await sim.until(lambda: sim._nodes[number].process.state == "dead", within_s=20.0)
            await asyncio.sleep(START_S)
            sim.restart(number)
            await holding

        async def end_all() -> None:
            await asyncio.gather(*(end_and_start(number) for number in range(NODES)))

        sim.run(end_all())
        assert sim.wait_converged(60.0) < 4.0
