"""Blocking queries: a request waits until its index is passed, or its time is over.

The rules of Consul (`api-docs/features/blocking`): `wait` is at most 10 min, 5 min without it, and up to a sixteenth of
it is added; a query with an index that is higher than the present one waits too; the return of a query says nothing by
itself. When a snapshot is restored all queries return.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import TypeVar

from aiohttp import web

from support.consul_double.durations import seconds
from support.consul_double.faults import Faults

WAIT_S, WAIT_MAX_S = 300.0, 600.0
JITTER = 1 / 16

Found = TypeVar("Found")


class Waiting:
    """Wakes queries that wait for a change."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._changed = asyncio.Event()
        self._generation = 0

    def changed(self) -> None:
        """Something was written: each query looks at its index."""
        self._changed.set()
        self._changed = asyncio.Event()

    def wake_all(self) -> None:
        """All queries return, whatever their index."""
        self._generation += 1
        self.changed()

    async def answer(self, request: web.Request, query: Callable[[], tuple[int, Found]]) -> tuple[int, Found]:
        """The index and the result, at once or after a change."""
        loop, generation = asyncio.get_running_loop(), self._generation
        seen = int(request.query.get("index", "0"))
        wait_s = min(seconds(request.query.get("wait", "0s")) or WAIT_S, WAIT_MAX_S)
        end = loop.time() + wait_s * (1.0 + JITTER * random.random())
        while True:
            changed = self._changed
            index, found = query()
            early = self._faults.early_wakes or generation != self._generation
            if not seen or index > seen or early or loop.time() >= end:
                return index, found
            try:
                async with asyncio.timeout_at(end):
                    await changed.wait()
            except TimeoutError:
                continue
