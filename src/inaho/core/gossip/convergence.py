"""Measures how long the tables take to become equal after a change (SPEC CL-7.1, CL-7.5).

The time runs from the first new statement until enough peers have acknowledged the table.
"""

from __future__ import annotations

__all__ = ["ConvergenceClock"]


class ConvergenceClock:
    """Measures one period of different tables after another.

    Args:
        expected_s: a longer period is late, which is reported once per period.
    """

    def __init__(self, expected_s: float) -> None:
        self._expected_s = expected_s
        self._since: float | None = None
        self._reported = False

    def start(self, now: float) -> None:
        """There is a new statement; a running period continues."""
        if self._since is None:
            self._since, self._reported = now, False

    def stop(self, now: float) -> float | None:
        """The tables are equal: how long the period took, None when there was none."""
        since, self._since = self._since, None
        return None if since is None else now - since

    def late(self, now: float) -> float | None:
        """How long a period lasts that is late and was not reported yet."""
        if self._since is None or self._reported or now < self._since + self._expected_s:
            return None
        self._reported = True
        return now - self._since

    def next_deadline(self) -> float | None:
        """When the period becomes late."""
        return None if self._since is None or self._reported else self._since + self._expected_s
