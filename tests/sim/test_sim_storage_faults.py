"""Whole nodes whose storage loses requests and answers: one seed, one history, and no acknowledged save is lost."""

from __future__ import annotations

import asyncio

from inaho import Grain, InahoError, Struct
from inaho.testing import FaultyStorage, SimCluster, StorageFaults

TROUBLE = StorageFaults(refuse=0.05, lose_request=0.05, lose_answer=0.1, repeat=0.1, slow=0.3, slow_s=0.2)
QUIET = StorageFaults()


class Elements(Struct):
    names: list[str] = []  # noqa: RUF012  msgspec copies it


class Collection(Grain[Elements]):
    async def put(self, name: str) -> int:
        if name not in self.state.names:
            self.state.names.append(name)
        await self.save()
        return len(self.state.names)

    async def names(self) -> list[str]:
        return self.state.names


async def fill(sim: SimCluster, acknowledged: dict[str, set[str]]) -> None:
    """Puts elements from all nodes into a few collections, and notes which were acknowledged."""

    async def put(number: int) -> None:
        key, name = f"c{number % 4}", f"element-{number}"
        try:
            await sim.node(number % 3).grain(Collection, key).put(name)
        except InahoError:
            return
        acknowledged.setdefault(key, set()).add(name)

    for first in range(0, 60, 6):
        await asyncio.gather(*(put(number) for number in range(first, first + 6)))


def history(seed: int, faults: StorageFaults | None) -> tuple[str, dict[str, int]]:
    with SimCluster(nodes=3, seed=seed, grains=[Collection], storage_faults=faults) as sim:
        acknowledged: dict[str, set[str]] = {}
        sim.run(fill(sim, acknowledged))
        injected: dict[str, int] = {}
        if faults is not None:
            assert isinstance(sim.storage, FaultyStorage)
            injected = dict(sim.storage.injected)
            sim.storage.faults = QUIET
        sim.crash(2)
        sim.restart(2)
        sim.wait_converged()
        for key, names in sorted(acknowledged.items()):
            found = sim.run(sim.node(0).grain(Collection, key).names())
            assert names <= set(found), f"{key}: acknowledged and lost: {sorted(names - set(found))}"
        assert acknowledged
        return sim.trace_hash(), injected


def test_no_acknowledged_save_is_lost_and_one_seed_is_one_history(simulation_seed: int) -> None:
    trace, injected = history(simulation_seed, TROUBLE)
    assert {"lose_answer", "repeat", "slow"} <= set(injected)
    assert history(simulation_seed, TROUBLE) == (trace, injected)
    assert history(simulation_seed + 1000, TROUBLE)[0] != trace


def test_faults_are_part_of_the_history() -> None:
    quiet, _ = history(0, QUIET)
    assert quiet == history(0, None)[0], "faults that never happen change nothing"
    assert quiet != history(0, TROUBLE)[0]
