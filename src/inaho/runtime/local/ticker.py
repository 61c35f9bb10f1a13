"""What a node looks at ten times a second: deadlines, idle activations, the lag of its loop.

One timer for all of them, so that a million pending calls and idle activations cost none of their own. How late it
comes is the lag of the event loop, which others are told, since a node whose loop stands still looks dead to them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from inaho.core.inputs import LoadChanged, LoopLag

if TYPE_CHECKING:
    from inaho.runtime.node.node import Node

__all__ = ["Ticker"]

TICK_S: Final = 0.1
"""Pause between ticks."""

LAG_STEP_S: Final = 0.05
"""A change of loop lag smaller than this is not worth telling the control plane."""


class Ticker:
    """The one periodic timer of a node.

    Args:
        node: whose parts are looked at.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._local = node.local
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self.late_at = float("inf")
        """By the boot clock: whoever acts after it acts for a process that did not run for a while, see `woke`."""
        self._lag_told_s = 0.0
        self._load_told = -1

    def start(self) -> None:
        """Begins, or goes on: the next tick comes after the pause."""
        loop = self._local.loop
        self._due = self._local.boot_time() + TICK_S
        self.late_at = self._due + self._local.config.detection.lag_wedged_s
        self._timer = loop.call_later(TICK_S, self._tick)

    def stop(self) -> None:
        """No further tick comes."""
        if self._timer is not None:
            self._timer.cancel()

    def woke(self) -> None:
        """The process was stopped or the computer suspended: tells the control plane before anything else happens.

        Without it calls that have waited meanwhile would be answered until the next tick as if nothing had been.
        """
        node = self._node
        lag_s = max(0.0, self._local.boot_time() - self._due)
        self.late_at = float("inf")  # until the next tick, which is due
        if node.driver is not None:
            self._lag_told_s = lag_s
            node.driver.feed(LoopLag(lag_s))

    def _tick(self) -> None:
        node = self._node
        self._local.now = now = self._local.loop.time()
        lag_s = max(0.0, self._local.boot_time() - self._due)
        self.start()  # first: whatever fails below, deadlines must go on
        if node.driver is not None:
            if abs(lag_s - self._lag_told_s) > LAG_STEP_S:
                self._lag_told_s = lag_s
                node.driver.feed(LoopLag(lag_s))
            if node.activations.count != self._load_told:
                self._load_told = node.activations.count
                node.driver.feed(LoadChanged(self._load_told))
        node.associations.tick(now)
        node.remoting.tick(now)
        node.peers.expire(now)
        node.acceptor.expire(now)
        node.leases.expire()
        for host in node.hosts.values():
            if host.passivation is not None:
                host.passivation.step(now)
        node.terminations.tick(now)
        node.measures.tick(now, lag_s)
        if node.gateway is not None:
            node.gateway.keep()
