"""A grain for tests that stand outside of the simulated processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from inaho import Grain, Struct


class Count(Struct):
    n: int = 0


class Local(Grain[Count], placement="prefer_local"):
    alive = 0

    async def get(self) -> int:
        return self.state.n

    async def slow_save(self, seconds: float) -> int:
        await asyncio.sleep(seconds)
        self.state.n += 1
        await self.save()
        return self.state.n

    async def begin(self) -> None:
        self.task = asyncio.create_task(self._live())

    async def _live(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            type(self).alive += 1

    async def add(self, n: int) -> None:
        self.state.n += n
        await self.save()

    async def twice_and(self, n: int) -> None:
        self.state.n = 2 * self.state.n + n
        await self.save()

    async def owner(self) -> str:
        return self.cluster.authority

    async def fail(self) -> None:
        raise LookupError("as the grain said")

    async def lines(self) -> AsyncIterator[int]:
        for number in range(5):
            await asyncio.sleep(0.2)
            yield number
