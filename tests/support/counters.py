"""A grain that counts in a simulated cluster: a key of it that chosen nodes own, and calls to it."""

from __future__ import annotations

import asyncio

from inaho import Grain, Struct
from inaho.core.identity.hashing import node_digest, rendezvous_score
from inaho.testing import SimCluster


class Count(Struct):
    value: int = 0


class Counter(Grain[Count]):
    async def add(self, seconds: float = 0.0) -> int:
        await asyncio.sleep(seconds)
        self.state.value += 1
        await self.save()
        return self.state.value

    async def look(self) -> int:
        return self.state.value

    async def where(self) -> str:
        return self.cluster.authority


def key_of(sim: SimCluster, kind: type[Counter], *owners: tuple[set[int], int], prefix: str = "k") -> str:
    """A key that each of these sets of nodes gives to the node that is named with it."""

    def owner(key: str, among: set[int]) -> int:
        partition = sim.node(0).runtime.topology.lookup.partition(kind.__name__, key)
        return max(among, key=lambda index: rendezvous_score(node_digest(sim.authority(index)), partition))

    keys = (f"{prefix}{number}" for number in range(10_000))
    return next(key for key in keys if all(owner(key, among) == index for among, index in owners))


def owns(sim: SimCluster, index: int, key: str) -> bool:
    """Whether node `index` takes itself for the owner."""
    return sim.is_member(index) and sim.node(index).runtime.leases.owns("Counter", key)


def is_active(sim: SimCluster, index: int, key: str) -> bool:
    return key in sim.node(index).runtime.hosts["Counter"].activations


def add(
    sim: SimCluster, index: int, key: str, seconds: float = 0.0, *, kind: type[Counter] = Counter
) -> asyncio.Task[int]:
    """A call through node `index`, begun now; one that takes time is not tried again."""
    return asyncio.ensure_future(sim.node(index).grain(kind, key, timeout=60.0, retry=not seconds).add(seconds))
