"""The one periodic timer of a node: runs a list of callbacks ten times a second.

Deadlines, idle activations and silent connections need no timer of their own: one tick checks all of them. A timer per
deadline would cost each call two changes of the loop's heap. The ticker does not know its callbacks. It tells `Pauses`
when the next tick is due.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from inaho.runtime.local.local_node import LocalNode

__all__ = ["TICK_S", "Ticker"]

TICK_S: Final = 0.1
"""Pause between ticks."""


class Ticker:
    """Calls its callbacks at each tick, in the order in which they were added.

    Args:
        local: the node.
    """

    def __init__(self, local: LocalNode) -> None:
        self._local = local
        self._callbacks: list[Callable[[float, float], object]] = []
        self._timer: asyncio.TimerHandle | None = None

    def each(self, callback: Callable[[float, float], object]) -> None:
        """Calls `callback(now, lag_s)` at each tick: the loop's time, and how late this tick is, in seconds."""
        self._callbacks.append(callback)

    def start(self) -> None:
        """Begins, or continues: the next tick comes after the pause."""
        self._local.pauses.expect(TICK_S)
        self._timer = self._local.loop.call_later(TICK_S, self._tick)

    def stop(self) -> None:
        """No further tick comes."""
        if self._timer is not None:
            self._timer.cancel()
        self._local.pauses.stop()

    def _tick(self) -> None:
        self._local.now = now = self._local.loop.time()
        lag_s = self._local.pauses.lag_s()
        self.start()  # first, so that deadlines continue whatever fails below
        for callback in self._callbacks:
            callback(now, lag_s)
