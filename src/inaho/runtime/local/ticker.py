"""The one periodic timer of a node: runs a list of callbacks ten times a second.

Deadlines, idle activations and silent connections need no timer of their own: one tick checks all of them. A timer per
deadline would cost each call two changes of the loop's heap. The ticker does not know its callbacks. It measures how
late a tick is, because a process that did not run for a while must learn that before it answers a call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from inaho.runtime.local.local_node import LocalNode

__all__ = ["Ticker"]

TICK_S: Final = 0.1
"""Pause between ticks."""


class Ticker:
    """Calls its callbacks at each tick, in the order in which they were added.

    Args:
        local: the node.
        woke: called with the lag, in seconds, when the process turns out to have been stopped or suspended.

    Attributes:
        late_at: by the boot clock: code that runs after it runs in a process that was stopped for a while, see `wake`.
    """

    def __init__(self, local: LocalNode, woke: Callable[[float], None]) -> None:
        self.late_at = float("inf")
        self._local = local
        self._woke = woke
        self._callbacks: list[Callable[[float, float], object]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    def each(self, callback: Callable[[float, float], object]) -> None:
        """Calls `callback(now, lag_s)` at each tick: the loop's time, and how late this tick is, in seconds."""
        self._callbacks.append(callback)

    def start(self) -> None:
        """Begins, or continues: the next tick comes after the pause."""
        self._due = self._local.boot_time() + TICK_S
        self.late_at = self._due + self._local.config.detection.lag_wedged_s
        self._timer = self._local.loop.call_later(TICK_S, self._tick)

    def stop(self) -> None:
        """No further tick comes."""
        if self._timer is not None:
            self._timer.cancel()

    def wake(self) -> None:
        """The process was stopped or the computer suspended: this is reported before anything else happens.

        Otherwise waiting calls would be answered until the next tick as if nothing had happened.
        """
        self.late_at = float("inf")  # until the next tick, which is due
        self._woke(max(0.0, self._local.boot_time() - self._due))

    def _tick(self) -> None:
        self._local.now = now = self._local.loop.time()
        lag_s = max(0.0, self._local.boot_time() - self._due)
        self.start()  # first, so that deadlines continue whatever fails below
        for callback in self._callbacks:
            callback(now, lag_s)
