"""A stall of the event loop: the longest time between two of its turns, by the clock and by processor time."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time

from measuring import Figures


class Stall:
    """The longest time between two turns of the loop, while it is entered, in milliseconds.

    Attributes:
        wall_ms: by the clock, all included.
        cpu_ms: processor time of the thread, without the collector.
        all_ms: processor time, with the collector.
        collector_ms: the longest collection.
    """

    def __init__(self) -> None:
        self.wall_ms = self.cpu_ms = self.all_ms = self.collector_ms = 0.0
        self._collected_ms = self._began = 0.0
        self._watching: asyncio.Task[None] | None = None

    def _collecting(self, phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.thread_time()
            return
        took_ms = (time.thread_time() - self._began) * 1e3
        self.collector_ms = max(self.collector_ms, took_ms)
        self._collected_ms += took_ms

    async def _watch(self) -> None:
        wall, cpu = time.perf_counter(), time.thread_time()
        while True:
            self._collected_ms = 0.0
            await asyncio.sleep(0)
            wall_now, cpu_now = time.perf_counter(), time.thread_time()
            all_ms = (cpu_now - cpu) * 1e3
            self.wall_ms = max(self.wall_ms, (wall_now - wall) * 1e3)
            self.all_ms = max(self.all_ms, all_ms)
            self.cpu_ms = max(self.cpu_ms, all_ms - self._collected_ms)
            wall, cpu = wall_now, cpu_now

    async def __aenter__(self) -> Stall:
        gc.callbacks.append(self._collecting)
        self._watching = asyncio.create_task(self._watch())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        gc.callbacks.remove(self._collecting)
        assert self._watching is not None
        self._watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._watching

    def figures(self, name: str, judged_ms: float) -> Figures:
        return {
            f"{name}_ms": judged_ms,
            f"{name}_wall_ms": self.wall_ms,
            f"{name}_collector_ms": self.collector_ms,
        }
