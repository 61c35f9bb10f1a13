"""A grain that yields in many ways, and a consumer of its streams in a simulated cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from inaho import Grain, Struct
from inaho.testing.cluster.sim_cluster import SimCluster

LOG: list[str] = []


class Consumer:
    """Reads one stream to its end.

    Args:
        stream: what to read.
        pause_s: seconds after each item.

    Attributes:
        items: that came.
        error: with which it ended; None when it ended by itself.
        over: it has ended.
    """

    def __init__(self, stream: AsyncIterator[Any], pause_s: float = 0.0) -> None:
        self.items: list[Any] = []
        self.error: BaseException | None = None
        self.over = False
        self._stream = stream
        self._pause_s = pause_s

    async def start(self) -> None:
        """Reads from now on."""
        self._task = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        try:
            async for item in self._stream:
                self.items.append(item)
                await asyncio.sleep(self._pause_s)
        except Exception as error:
            self.error = error
        finally:
            self.over = True


def key_at(sim: SimCluster, index: int, kind: type[Any]) -> str:
    """A key that this node owns."""
    leases = sim.node(index)._node.leases
    return next(key for key in map(str, range(1000)) if leases.owns(kind.inaho_kind.name, key))


PLACES = pytest.mark.parametrize("place", [0, 1], ids=["here", "elsewhere"])
"""Where the grain is; the consumer is at node 0."""


class Count(Struct):
    value: int = 0


class Ticker(Grain[Count]):
    """Yields its state every second."""

    async def watch(self) -> AsyncIterator[int]:
        LOG.append("begun")
        try:
            while True:
                yield self.state.value
                await asyncio.sleep(1.0)
        finally:
            await asyncio.sleep(0.1)
            LOG.append("closed")

    async def steadily(self) -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            LOG.append("closed")

    async def saving(self) -> AsyncIterator[int]:
        while True:
            self.state.value += 1
            await self.save()
            yield self.state.value

    async def once(self) -> AsyncIterator[int]:
        yield 1
        await asyncio.sleep(3.0)
        self.deactivate()
        await asyncio.sleep(2.0)
        yield 2

    async def hanging(self) -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.sleep(3600.0)
        finally:
            LOG.append("closing")
            await asyncio.sleep(1800.0)
            LOG.append("closed")

    async def stubborn(self) -> AsyncIterator[int]:
        while True:
            try:
                yield 1
                await asyncio.sleep(3600.0)
            except asyncio.CancelledError:
                LOG.append("caught")

    async def deaf(self) -> AsyncIterator[int]:
        yield 1
        while "enough" not in LOG:
            try:
                await asyncio.sleep(5.0)
            except asyncio.CancelledError:
                LOG.append("caught")

    async def add(self) -> int:
        self.state.value += 1
        await self.save()
        return self.state.value

    async def long(self) -> int:
        self.deactivate()
        await asyncio.sleep(3.0)
        return self.state.value

    async def stop(self) -> None:
        self.deactivate()

    async def fail(self) -> None:
        self.state.value = 99
        raise ValueError("no")

    async def on_deactivate(self, reason: str) -> None:
        LOG.append(reason)


def follow(sim: SimCluster, kind: type[Any], key: str, method: str = "watch", pause_s: float = 0.0) -> Consumer:
    """A consumer at node 0 that has got something."""
    consumer = Consumer(getattr(sim.node(0).grain(kind, key), method)(), pause_s)
    sim.run(consumer.start())
    sim.run_for(2.5)
    assert consumer.items and not consumer.over
    return consumer
