"""Unloads idle activations, and warns when many of them are soon called again.

An activation that is unloaded and called again soon costs a load and a start each time, and a setting can avoid this.
So each kind counts how many of its unloaded activations were soon called again. If most of them were, an event names
the setting (SPEC CL-5, "frequent passivation").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from inaho.core.activation.idle import IdleWheel
from inaho.core.bounded_map import BoundedMap
from inaho.events import ActivationPassivated, PassivationFrequent

if TYPE_CHECKING:
    from inaho.runtime.activation.activation_host import ActivationHost

__all__ = ["Passivation"]

IDLE_SLICE: Final = 200
"""Activations checked in one loop iteration: half a millisecond at most."""

IDLE_PAUSE_S: Final = 0.005
"""Pause between slices: unloading is not urgent, so calls get most of the processor."""

STOP_SLICE: Final = 15
"""Activations whose `on_deactivate` begins in one loop iteration. Each is a Task. A hundred Tasks at a time would live
so long that Python's collector would move them to its old objects, and then visit all activations of the process."""

REMEMBERED_MAX: Final = 1_024
"""The last unloaded keys that are remembered, to notice those that are called again."""

FREQUENT_SHARE: Final = 0.5
"""The event is published if this share of the last `REMEMBERED_MAX // 8` unloaded activations returned in time."""


class Passivation:
    """The idle activations of one kind on one node (SPEC CL-5.3).

    Args:
        host: the kind.
        ttl_s: see `activation.idle_ttl_s`; above 0.

    Attributes:
        passivated: the number of unloaded activations.
        returned: how many of them were called again within the time to live.
    """

    def __init__(self, host: ActivationHost, ttl_s: float) -> None:
        self.passivated = 0
        self.returned = 0
        self._host = host
        self._ttl_s = ttl_s
        self._wheel = IdleWheel(ttl_s)
        self._left: BoundedMap[str, float] = BoundedMap(REMEMBERED_MAX)
        self._window = (0, 0)
        self._pausing = False

    def add(self, key: str, now: float) -> bool:
        """Adds a new activation. Returns whether one of this key was unloaded before, as far as remembered."""
        self._wheel.add(key, now)
        left_at = self._left.pop(key, None) if self._left else None
        if left_at is not None and now - left_at < self._ttl_s:
            self.returned += 1
        return left_at is not None

    def step(self, now: float) -> None:
        """Unloads, in slices, activations that were not called for the time to live."""
        if not self._pausing and len(self._wheel):
            self._slice(now)

    def _go_on(self) -> None:
        self._pausing = False
        if not self._host.local.closing:
            self._slice(self._host.local.now)

    def _slice(self, now: float) -> None:
        host = self._host

        def touched_at(key: str) -> float | None:
            grain = host.activations.get(key)
            if grain is None:
                return None
            if host.pool is not None and host.pool.busy(key):
                return now
            if key in host.timers and grain not in host.streams:
                return host.timers.used_at(key, now)
            used = host.lifecycle.is_in_use(grain) or grain in host.streams
            return now if used else grain._inaho_touched

        for key in self._wheel.due(now, touched_at, IDLE_SLICE, None if host.kind.plain_stop else STOP_SLICE):
            grain = host.activations.get(key)
            if grain is None:  # the wheel had the key twice, once from an earlier activation
                continue
            if host.local.events_wanted(ActivationPassivated):
                idle_s = now - grain._inaho_touched
                host.local.publish(ActivationPassivated(identity=grain.identity, idle_s=idle_s))
            self.passivated += 1
            self._left[key] = now
            host.deactivate_soon(grain, "idle")
        self._judge()
        if self._wheel.behind(now):
            self._pausing = True
            host.local.loop.call_later(IDLE_PAUSE_S, self._go_on)

    def _judge(self) -> None:
        """Reports, once per window, that most activations unloaded in the window were soon called again."""
        passivated, returned = self._window
        unloaded, back = self.passivated - passivated, self.returned - returned
        if unloaded < REMEMBERED_MAX // 8:
            return
        self._window = (self.passivated, self.returned)
        if back < unloaded * FREQUENT_SHARE:
            return
        host = self._host
        setting = "activation.idle_ttl_s" if host.kind.idle_ttl_s is None else f"idle_ttl_s of class {host.name}"
        host.local.log.warning(
            "%d of the last %d unloaded activations of %s were called again within %.1f s: raise %s",
            back, unloaded, host.name, self._ttl_s, setting,
        )  # fmt: skip
        host.local.publish(
            PassivationFrequent(kind=host.name, unloaded=unloaded, returned=back, ttl_s=self._ttl_s, setting=setting)
        )
