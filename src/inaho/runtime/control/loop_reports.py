"""Reports the lag of the event loop and the number of activations to the control plane.

A lagging loop makes this node suspect itself before it suspects others (Lifeguard). The load is gossiped, for placement
on the member that has the least. Both are reported only when they have changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from inaho.core.inputs import Input, LoadChanged, LoopLag
from inaho.runtime.activation.activation_count import ActivationCount

__all__ = ["LoopReports"]

LAG_STEP_S: Final = 0.05
"""A change of the lag smaller than this, in seconds, is not reported."""


class LoopReports:
    """Reports lag and load of one member.

    Args:
        feed: passes an input to the control plane.
        activations: the number of activations of this node.
    """

    def __init__(self, feed: Callable[[Input], None], activations: ActivationCount) -> None:
        self._feed = feed
        self._activations = activations
        self._lag_s = 0.0
        self._load = -1

    def woke(self, lag_s: float) -> None:
        """The process did not run for `lag_s` seconds."""
        self._lag_s = lag_s
        self._feed(LoopLag(lag_s))

    def tick(self, _now: float, lag_s: float) -> None:
        """Reports what has changed since the last tick."""
        if abs(lag_s - self._lag_s) > LAG_STEP_S:
            self.woke(lag_s)
        if self._activations.count != self._load:
            self._load = self._activations.count
            self._feed(LoadChanged(self._load))
