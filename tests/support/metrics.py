"""Grains whose calls are counted, and the metrics of a cluster by name and labels."""

from __future__ import annotations

import asyncio

import inaho
from inaho import Grain, method


class Purse(inaho.Struct):
    coins: int = 0


class Wallet(Grain[Purse]):
    async def put(self, coins: int) -> int:
        self.state.coins += coins
        await self.save()
        return self.state.coins

    async def refuse(self) -> None:
        raise ValueError("no")


class Slow(Grain):
    def __init__(self) -> None:
        self.waiting = asyncio.Event()

    @method(timeout=0.15)
    async def hang(self) -> None:
        await self.waiting.wait()

    async def wait(self) -> None:
        await self.waiting.wait()

    async def lag(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


Figures = dict[str, dict[tuple[str, ...], float]]


def shown(cluster: inaho.Cluster) -> Figures:
    """`Cluster.metrics` by name and values of labels."""
    return {
        name: {tuple(labels.values()): value for labels, value in samples}
        for name, samples in cluster.metrics().items()
    }
