"""Decides which of many equal warnings are logged, and counts the others (SPEC VA-4.4).

The first retry of a kind is information; the thousandth says nothing new, and a log with a line for each makes the
outage worse. So per kind and period the first few warnings are logged, the others are counted, and their number is
reported once when the period is over.

Why not a token bucket: it lets a line through now and then for as long as the problem lasts, and has no moment at which
the count of the others is complete.
"""

from __future__ import annotations

from typing import Final

import msgspec

__all__ = ["OTHER", "Suppressed", "WarningThrottle"]

OTHER: Final = "other"
"""The name under which kinds beyond the bound are counted together."""


class Suppressed(msgspec.Struct, frozen=True):
    """The number of warnings about a kind that were not logged in a period that is over."""

    kind: str
    count: int


class _Period:
    __slots__ = ("admitted", "ends_at", "suppressed")

    def __init__(self, ends_at: float) -> None:
        self.ends_at = ends_at
        self.admitted = 0
        self.suppressed = 0


class WarningThrottle:
    """A bound on warnings per kind and period.

    Args:
        warnings_max: warnings of one kind that pass in one period.
        period_s: its length, from the first warning of the kind, in seconds.
        kinds_max: kinds told apart at once; further ones share the bound of `OTHER`.

    Raises:
        ValueError: a bound is not above 0.
    """

    __slots__ = ("_kinds_max", "_over", "_period_s", "_periods", "_warnings_max")

    def __init__(self, warnings_max: int, period_s: float, kinds_max: int) -> None:
        if warnings_max < 1 or kinds_max < 1 or not period_s > 0:
            raise ValueError("the bounds of a throttle must be above 0")
        self._warnings_max = warnings_max
        self._period_s = period_s
        self._kinds_max = kinds_max
        self._periods: dict[str, _Period] = {}
        self._over: dict[str, int] = {}

    def admit(self, kind: str, now: float) -> bool:
        """Whether a warning about `kind` is to be logged now. If not, it is counted.

        Args:
            kind: what it is about.
            now: seconds, not before the last call.
        """
        name = kind if kind in self._periods or len(self._periods) < self._kinds_max else OTHER
        period = self._periods.get(name)
        if period is None or period.ends_at <= now:
            self._end(name, period)
            period = self._periods[name] = _Period(now + self._period_s)
        if period.admitted < self._warnings_max:
            period.admitted += 1
            return True
        period.suppressed += 1
        return False

    def due(self, now: float) -> list[Suppressed]:
        """The counts of the periods that are over by `now`, sorted by kind. Each is returned once."""
        for name, period in list(self._periods.items()):
            if period.ends_at <= now:
                del self._periods[name]
                self._end(name, period)
        over, self._over = self._over, {}
        return [Suppressed(kind, over[kind]) for kind in sorted(over)]

    def _end(self, name: str, period: _Period | None) -> None:
        if period is not None and period.suppressed:
            known = name if name in self._over or len(self._over) < self._kinds_max else OTHER
            self._over[known] = self._over.get(known, 0) + period.suppressed

    def check(self) -> None:
        """Asserts the invariants."""
        assert len(self._periods) <= self._kinds_max + 1  # `OTHER` is one more
        assert len(self._over) <= self._kinds_max + 1
        for period in self._periods.values():
            assert 1 <= period.admitted <= self._warnings_max
            assert period.suppressed == 0 or period.admitted == self._warnings_max
        assert all(count > 0 for count in self._over.values())
