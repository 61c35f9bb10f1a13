"""A grain whose timers write to a log, and the events of a simulated cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from inaho import Grain
from inaho.testing.cluster.sim_cluster import SimCluster

LOG: list[Any] = []

Start = Callable[..., SimCluster]


def now() -> float:
    return asyncio.get_running_loop().time()


class Ticker(Grain):
    """Its timers write to LOG."""

    async def begin(self, interval_s: float | None = 1.0, first_s: float | None = None) -> None:
        self.began = now()
        self.mine = self.timer(self.tick, interval_s, "tick", first_s=first_s)

    async def tick(self, what: str) -> None:
        LOG.append((what, round(now() - self.began, 3)))

    async def slowly(self, seconds: float) -> None:
        LOG.append(("begin", round(now() - self.began, 3)))
        await asyncio.sleep(seconds)
        LOG.append(("end", round(now() - self.began, 3)))

    async def begin_slow(self, interval_s: float, seconds: float, timeout_s: float | None = None) -> None:
        self.began = now()
        self.mine = self.timer(self.slowly, interval_s, seconds, timeout_s=timeout_s)

    async def work(self, seconds: float) -> None:
        LOG.append("work")
        await asyncio.sleep(seconds)
        LOG.append("worked")

    async def cancel(self) -> bool:
        self.mine.cancel()
        self.mine.cancel()
        return self.mine.active

    async def end(self) -> None:
        self.deactivate()

    async def counts(self) -> tuple[int, int, int, bool]:
        return self.mine.ticks, self.mine.failures, self.mine.skipped, self.mine.active

    async def touch(self) -> None:
        """Does nothing, and makes an activation."""


def events(sim: SimCluster, kind: type[Any]) -> list[Any]:
    return [each.event for each in sim.events if type(each.event) is kind]


class Own(Grain):
    async def begin(self) -> None:
        self.mine = self.timer(self.tick, 1.0)

    async def tick(self) -> None:
        LOG.append("begin")
        self.mine.cancel()
        await asyncio.sleep(1.0)
        LOG.append("end")

    async def on_deactivate(self, reason: str) -> None:
        LOG.append(reason)

    async def end(self) -> None:
        self.deactivate()
