"""Decides what happens to an actor that raised: resume, restart, stop or escalate, and how many restarts.

A strategy decides about the actor whose `Props` carry it. This is the model of the typed actors of Pekko, not of its
classic ones, where the parent has one strategy for all children. Here the line that spawns an actor says what happens
when it fails, and topmost actors need no exception. Only `Escalate` involves the parent: the failure becomes the
parent's own, and the parent's strategy decides about the parent.

Everything here is pure: time and randomness are arguments.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

import msgspec

from inaho.errors import InvalidConfig

__all__ = [
    "Directive",
    "Escalate",
    "RandomSource",
    "Restart",
    "RestartLedger",
    "Resume",
    "Stop",
    "Supervisor",
    "decide",
]

_EXPONENT_MAX = 62  # 2 ** 62 times any pause exceeds every useful maximum, and no float overflows


class RandomSource(Protocol):
    """The part of `random.Random` that back-off needs."""

    def random(self) -> float:
        """A number in [0, 1)."""
        ...


class Restart(msgspec.Struct, frozen=True):
    """Replace the instance by a new one. The reference, the mailbox and the watches stay; children are stopped.

    The n-th restart within `within_s` waits `back_off_s * 2 ** (n - 1)`, at most `back_off_max_s`, less a random part
    of up to `jitter` of it, so that actors which failed together do not come back together.

    Attributes:
        max_restarts: restarts allowed within `within_s`; at the next failure the actor is stopped. 0 allows none.
        within_s: length of the sliding window, in seconds.
        back_off_s: the first pause. 0 restarts at once, always.
        back_off_max_s: the longest pause.
        jitter: share of the pause that is random, 0 to 1.
    """

    max_restarts: int = 10
    within_s: float = 60.0
    back_off_s: float = 0.05
    back_off_max_s: float = 5.0
    jitter: float = 0.2

    def __post_init__(self) -> None:
        if self.max_restarts < 0:
            raise InvalidConfig(f"Restart.max_restarts must be 0 or more, not {self.max_restarts}")
        if not self.within_s > 0:
            raise InvalidConfig(f"Restart.within_s must be above 0, not {self.within_s}")
        if not 0 <= self.back_off_s <= self.back_off_max_s:
            raise InvalidConfig(
                f"Restart.back_off_s ({self.back_off_s}) must be between 0 and back_off_max_s ({self.back_off_max_s})"
            )
        if not 0 <= self.jitter <= 1:
            raise InvalidConfig(f"Restart.jitter must be between 0 and 1, not {self.jitter}")


class Resume(msgspec.Struct, frozen=True):
    """Drop the failed message and continue with the same instance. An actor that never started is stopped."""


class Stop(msgspec.Struct, frozen=True):
    """Stop the actor."""


class Escalate(msgspec.Struct, frozen=True):
    """Make the failure the parent's own. The actor handles nothing until the parent's strategy has decided.

    If the parent resumes, so does the actor; if the parent restarts or stops, the actor is stopped as its child. If the
    topmost actor escalates, it is stopped.
    """


Directive = Restart | Resume | Stop | Escalate
Supervisor = Directive | Callable[[Exception], Directive]


def decide(supervisor: Supervisor, error: Exception) -> Directive:
    """The directive of `supervisor` for `error`.

    Raises:
        InvalidConfig: a decider returned something that is no directive. What a decider raises passes through.
    """
    if isinstance(supervisor, Directive):
        return supervisor
    directive = supervisor(error)
    if not isinstance(directive, Directive):  # pyright: ignore[reportUnnecessaryIsInstance]  user code may be untyped
        raise InvalidConfig(f"the supervisor returned {directive!r}; it must return Restart, Resume, Stop or Escalate")
    return directive


class RestartLedger:
    """Times of the restarts of one actor; at most `max_restarts` of them are kept."""

    __slots__ = ("_times_s",)

    def __init__(self) -> None:
        self._times_s: deque[float] = deque()

    def admit(self, now: float, limit: Restart, random: RandomSource) -> float | None:
        """Counts one more restart.

        Args:
            now: seconds, monotonic.
            limit: the number of allowed restarts, and the pause.
            random: source of the jitter.

        Returns:
            The pause before the restart in seconds, or None when the limit is reached and the actor must stop.
        """
        while self._times_s and now - self._times_s[0] >= limit.within_s:
            self._times_s.popleft()
        if len(self._times_s) >= limit.max_restarts:
            return None
        self._times_s.append(now)
        exponent = min(len(self._times_s) - 1, _EXPONENT_MAX)
        pause_s = min(limit.back_off_s * 2.0**exponent, limit.back_off_max_s)
        return pause_s * (1.0 - limit.jitter * random.random())
