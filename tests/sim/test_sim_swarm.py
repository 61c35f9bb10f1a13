"""Everything at once, by chance: no acknowledged save is lost, and a healed cluster comes to agree."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter as Tally

import msgspec
import pytest

from inaho import ClusterIdentity, Grain, InahoError, Struct
from inaho.events import MemberRemoved, MemberUp, SelfRemoved
from inaho.testing import Faults, SimCluster

NODES = 5
KEYS = 8
STEPS = 12
FIRST = int(os.environ.get("INAHO_TEST_FIRST_SEED", "0"))
SEEDS = range(FIRST, FIRST + int(os.environ.get("INAHO_TEST_SEEDS", "100")))


class Count(Struct):
    value: int = 0


class Ledger(Grain[Count]):
    async def add(self) -> int:
        self.state.value += 1
        await self.save()
        return self.state.value


class Swarm:
    """A cluster, a load of calls, and misfortunes drawn from the seed."""

    def __init__(self, sim: SimCluster) -> None:
        self.sim = sim
        self.random = random.Random(f"{sim.seed}/swarm")
        self.tried: Tally[str] = Tally()
        self.saved: Tally[str] = Tally()
        self.crashed: set[int] = set()

    async def load(self) -> None:
        """One caller that goes on whatever happens."""
        while True:
            await asyncio.sleep(self.random.uniform(0.02, 0.2))
            alive = [index for index in range(NODES) if self.sim.is_member(index)]
            key = f"account-{self.random.randrange(KEYS)}"
            self.tried[key] += 1
            try:
                await self.sim.node(self.random.choice(alive)).grain(Ledger, key, timeout=1.0, retry=False).add()
            except InahoError:
                continue
            self.saved[key] += 1

    def misfortune(self) -> None:
        chance, sim = self.random, self.sim
        one, other = chance.sample(range(NODES), 2)
        match chance.randrange(8):
            case 0 if len(self.crashed) < 2 and one not in self.crashed:
                self.crashed.add(one)
                sim.crash(one, silent=chance.random() < 0.5)
            case 1 if self.crashed:
                sim.restart(self.crashed.pop())
            case 2:
                side = set(chance.sample(range(NODES), chance.randint(1, 2)))
                sim.partition(side, set(range(NODES)) - side)
            case 3 | 4:
                sim.heal()
            case 5:
                sim.cut(one, other)
            case 6 if one not in self.crashed:
                sim.pause(one, chance.uniform(0.5, 8.0))
            case _:
                sim.faults = Faults(
                    control_loss=chance.choice([0.0, 0.1, 0.3]),
                    control_repeat=chance.choice([0.0, 0.2]),
                    control_reorder=chance.choice([0.0, 0.3]),
                    delay_most_s=chance.choice([0.002, 0.05]),
                )

    async def scenario(self) -> None:
        loads = [asyncio.create_task(self.load()) for _ in range(3)]
        for _ in range(STEPS):
            await asyncio.sleep(self.random.uniform(0.5, 4.0))
            self.misfortune()
        self.sim.heal()
        self.sim.faults = Faults()
        for index in sorted(self.crashed):
            self.sim.restart(index)
        await self.sim.until(lambda: all(map(self.sim.is_member, range(NODES))), 30.0)
        for load in loads:
            load.cancel()
        await asyncio.gather(*loads, return_exceptions=True)

    async def stored(self, key: str) -> int:
        """The value on disk: an activation of the losing side of a partition may not know it yet."""
        record = await self.sim.storage.load(ClusterIdentity("Ledger", key))
        return 0 if record is None or record.data is None else msgspec.msgpack.decode(record.data, type=Count).value


def no_incarnation_comes_back(sim: SimCluster) -> bool:
    """Whether no process saw an incarnation up that it had seen removed, unless it gave up its view in between."""
    gone: dict[int, set[tuple[str, int]]] = {}
    for happened in sim.events:
        event, removed = happened.event, gone.setdefault(happened.process, set())
        if isinstance(event, SelfRemoved):
            removed.clear()
        elif isinstance(event, MemberRemoved):
            removed.add((event.member.node_id, event.member.incarnation))
        elif isinstance(event, MemberUp) and (event.member.node_id, event.member.incarnation) in removed:
            return False
    return True


@pytest.mark.parametrize("seed", SEEDS)
def test_misfortunes_lose_no_save_and_a_healed_cluster_agrees(seed: int):
    with SimCluster(nodes=NODES, seed=seed, grains=[Ledger]) as sim:
        swarm = Swarm(sim)
        sim.run(swarm.scenario())
        sim.wait_converged(within_s=40.0)
        sim.check()
        for key in sorted(swarm.tried):
            assert swarm.saved[key] <= sim.run(swarm.stored(key)) <= swarm.tried[key], key
        assert swarm.saved.total() > 50
        assert no_incarnation_comes_back(sim)
