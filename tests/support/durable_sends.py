"""A grain that notes what is sent to it, senders that wait for each acknowledgement, and what must hold of both."""

from __future__ import annotations

import asyncio
from typing import Any

from inaho import Cluster, DurableSend, Grain
from inaho.errors import InahoError
from inaho.runtime.topic_logs.send_partition import KEEPER, partition_of
from inaho.testing.cluster.sim_cluster import SimCluster

__all__ = ["FAIL", "LOG", "SIM", "Cart", "Senders", "begin", "items", "keeper_of", "send"]

SIM: list[SimCluster] = []

LOG: list[tuple[str, str, float]] = []
"""Key, what was added, and the virtual time."""

FAIL: dict[str, int] = {}
"""How many of the next calls with this item fail."""


class Cart(Grain):
    """Notes what is added."""

    async def add(self, item: str, n: int = 1) -> None:
        LOG.append((self.key, item if n == 1 else f"{n} {item}", SIM[-1].time if SIM else 0.0))
        if FAIL.get(item, 0) > 0:
            FAIL[item] -= 1
            raise ValueError(f"no {item}")

    async def place(self) -> str:
        return self.cluster.authority

    async def plan(self, durable: bool, after: float, *, id: str = "") -> None:
        LOG.append((self.key, f"plan {durable} {after} {id}", 0.0))


def begin(nodes: int = 3, seed: int = 0, **options: Any) -> SimCluster:
    """A simulated cluster, which the caller ends."""
    LOG.clear()
    FAIL.clear()
    sim = SimCluster(nodes=nodes, seed=seed, grains=options.pop("grains", (Cart,)), **options)
    SIM.append(sim)
    sim.__enter__()
    return sim


def items(key: str = "a") -> list[str]:
    """What was added to that cart, in order."""
    return [item for each, item, _ in LOG if each == key]


async def send(cluster: Cluster, key: str, item: str, **options: Any) -> DurableSend:
    return await cluster.send(cluster.grain(Cart, key).add, item, durable=True, **options)


def keeper_of(sim: SimCluster, key: str = "a") -> int:
    """Index of the node that keeps the sends to `Cart/key`."""
    partition = partition_of("Cart", key, 16)
    [found] = [
        index
        for index in range(len(sim._nodes))
        if sim.is_member(index) and partition in sim.node(index)._node.hosts[KEEPER].activations
    ]
    return found


class Senders:
    """One sender for each cart, on any node that lives, which waits for each acknowledgement.

    Attributes:
        stored: what was acknowledged, by key, in order.
        failed: errors of sends.
    """

    def __init__(self, sim: SimCluster, keys: int, pause_s: float = 0.2) -> None:
        self.stored: dict[str, list[str]] = {f"k{number}": [] for number in range(keys)}
        self.failed: list[InahoError] = []
        self._sim = sim
        self._pause_s = pause_s
        self._over = False

    async def run(self) -> None:
        """Sends until `end`."""
        await asyncio.gather(*(self._send(number, key) for number, key in enumerate(self.stored)))

    def end(self) -> None:
        self._over = True

    async def _send(self, number: int, key: str) -> None:
        sent = 0
        while not self._over:
            nodes = [index for index in range(len(self._sim._nodes)) if self._sim.is_member(index)]
            if nodes:
                try:
                    await send(self._sim.node(nodes[number % len(nodes)]), key, str(sent))
                    self.stored[key].append(str(sent))
                except InahoError as error:
                    self.failed.append(error)
                sent += 1
            await asyncio.sleep(self._pause_s)

    def missing(self) -> list[str]:
        """What was acknowledged and has not reached its cart."""
        return [f"{key}/{item}" for key, stored in self.stored.items() for item in set(stored) - set(items(key))]

    def check(self) -> None:
        """All that was acknowledged has arrived, and in order, apart from repetitions."""
        assert not self.missing(), "acknowledged sends are lost"
        for key, stored in self.stored.items():
            acknowledged = set(stored)
            first = [item for item in dict.fromkeys(items(key)) if item in acknowledged]
            assert first == stored, f"sends to {key} came in another order"
