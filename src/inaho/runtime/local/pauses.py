"""Notices that this process did not run for a while, before code runs that could answer from what it knew before.

Other members may have removed this node meanwhile and have activated its grains elsewhere. The ticker says when its
next tick is due. Code that may answer, or call an activation here, first checks whether that time has long passed.
Without the check, what waited in a socket or for a timer could run before the tick.

The same holds for what this node knows for a limited time, such as that its activations have the stored state: also
after a short pause, code must not run before the timer that ends this time. `expires` says when that is.

Why not only timers: the event loop runs callbacks in the order in which they became ready, sockets first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

__all__ = ["Pauses"]

NEVER: Final = float("inf")


class Pauses:
    """Whether this process was stopped, or its event loop blocked, or the machine suspended.

    Args:
        loop: the event loop of the node.
        boot_time: see `LocalNode`.
        pause_s: a tick that is later than this means such a pause; `detection.lag_wedged_s`.

    Attributes:
        late_at: by the loop's clock: code that runs after it must call `check` or `noticed` before it calls an
            activation. The path of calls of the same node reads it directly; it does not see a suspended machine.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, boot_time: Callable[[], float], pause_s: float) -> None:
        self.late_at = NEVER
        self._loop = loop
        self._boot_time = boot_time
        self._pause_s = pause_s
        self._boot_late_at = NEVER
        self._tick_late_at = NEVER
        self._expires_at = NEVER
        self._due = 0.0
        self._ticks = 0
        self._expiries = 0
        self._observers: list[Callable[[float], None]] = []
        self._expired: list[Callable[[], None]] = []

    def observe(self, observer: Callable[[float], None]) -> None:
        """Calls `observer(lag_s)` when a pause is noticed, with the seconds that the process is late."""
        self._observers.append(observer)

    def observe_expiry(self, expired: Callable[[], None]) -> None:
        """Calls `expired()` when the time given to `expires` has passed, if no timer has done so before."""
        self._expired.append(expired)

    def expires(self, at: float) -> None:
        """From `at` on, by the loop's clock, what this node knows is too old; infinite if that does not happen."""
        self._expires_at = at
        self._expiries += 1
        self.late_at = min(at, self._tick_late_at)

    def expect(self, tick_s: float) -> None:
        """The next tick is due in `tick_s` seconds."""
        self._ticks += 1
        self._due = self._boot_time() + tick_s
        self._boot_late_at = self._due + self._pause_s
        self._tick_late_at = self._loop.time() + tick_s + self._pause_s
        self.late_at = min(self._expires_at, self._tick_late_at)

    def stop(self) -> None:
        """No further tick is expected."""
        self._tick_late_at = self._boot_late_at = NEVER
        self.late_at = self._expires_at

    def lag_s(self) -> float:
        """How late the tick is that is due, in seconds."""
        return max(0.0, self._boot_time() - self._due)

    def check(self) -> None:
        """Reports a pause, and a time that has passed, before a timer does. For callbacks, before they run turns."""
        if self._boot_time() > self._boot_late_at:
            self.stop()  # until the next tick, which is due
            lag_s = self.lag_s()
            for observer in self._observers:
                observer(lag_s)
        if self._loop.time() > self._expires_at:
            self.expires(NEVER)
            for expired in self._expired:
                expired()

    async def noticed(self) -> None:
        """Returns when a pause has been noticed. For Tasks, before they call an activation of this node.

        They wait for the timer, which is due: what follows may end turns, even the one that this Task runs. They wait
        for one pause only: a loop that is blocked in each of its iterations is late again when the timer has run.
        """
        ticks, expiries = self._ticks, self._expiries
        while (now := self._loop.time()) > self.late_at:
            ticks_late = now > self._tick_late_at and ticks == self._ticks
            if not ticks_late and not (now > self._expires_at and expiries == self._expiries):
                return
            await asyncio.sleep(0)  # the timer comes in the next iteration
