"""Runs work that may wait in slices: in one loop iteration only so much that calls are not delayed.

After a change of topology a node has much to check: partitions, cached Pids, activations, saved versions. None of it is
urgent, since code that needs one answer at once can compute that one. So each such job is an iterator of small steps,
and the jobs take turns: some steps now, the rest in later loop iterations. A small cluster is done within the first
iteration, and a large one does not block the loop.

Why steps state their cost, and no clock is read: the same history must take the same steps in a simulation, where time
stands still while code runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final

__all__ = ["Slices"]

TURN_US: Final = 2_000
"""What the steps of one loop iteration may cost together, in microseconds on a slow machine. One step may exceed it."""


class Slices:
    """The waiting work of one node.

    Args:
        loop: of the node.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._jobs: dict[str, Iterator[int]] = {}
        self._ends: dict[str, list[asyncio.Future[None]]] = {}
        """Futures of callers that wait for the end of a job."""
        self._scheduled = False
        self._running = False

    def __contains__(self, name: str) -> bool:
        return name in self._jobs

    def add(self, name: str, steps: Iterator[int]) -> None:
        """Queues a job; it begins in a later loop iteration, or with `run`.

        Args:
            name: a running job of the same name is given up, and this one takes its place in the order.
            steps: each step yields about how many microseconds it took.
        """
        self._jobs[name] = steps
        self._schedule()

    def run(self, taken_us: int = 0) -> None:
        """Takes as many steps as fit in one loop iteration, and continues in the next one.

        Args:
            taken_us: what the caller has used of the iteration already.
        """
        if self._running:
            return
        self._running = True
        left_us = TURN_US - taken_us
        try:
            while self._jobs and left_us > 0:
                name, steps = next(iter(self._jobs.items()))
                step_us = None
                try:
                    step_us = next(steps, None)
                finally:
                    if step_us is None and self._jobs.get(name) is steps:  # it has ended, or failed
                        self.drop(name)
                left_us -= step_us or 0
            if self._jobs:  # the others have their turn
                name = next(iter(self._jobs))
                self._jobs[name] = self._jobs.pop(name)
        finally:
            self._running = False
            self._schedule()

    def drop(self, name: str) -> None:
        """Gives a job up, if there is one."""
        self._jobs.pop(name, None)
        for future in self._ends.pop(name, ()):
            if not future.done():
                future.set_result(None)

    async def ended(self, name: str) -> None:
        """Returns when there is no job of that name, because it has ended or was given up."""
        while name in self._jobs:
            future = self._loop.create_future()
            self._ends.setdefault(name, []).append(future)
            await future

    def stop(self) -> None:
        """The node stops: gives all jobs up."""
        for name in tuple(self._jobs):
            self.drop(name)

    def _schedule(self) -> None:
        if self._jobs and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._scheduled = False
        self.run()
