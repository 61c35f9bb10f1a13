"""Logs that keepers of this node have lost to keepers elsewhere: this node waits before it takes one again.

While views of the cluster disagree, as across a split over one storage, two nodes believe to own a partition. Each
keeper that begins takes the log from the other one, and callers on both sides have a keeper begun again at once. Each
time, what is in flight is delivered again. So a node that has lost a log leaves it to the other one for a while, and
longer each time: both sides are served in turn.
"""

from __future__ import annotations

from typing import Final

from inaho.core.back_off import back_off_s
from inaho.core.bounded_map import BoundedMap

__all__ = ["LostLogs"]

FIRST_S: Final = 1.0
LONGEST_S: Final = 8.0

FORGET_S: Final = 60.0
"""A log that was not lost again for so long begins with the first pause."""

LOGS_MAX: Final = 10_000


class LostLogs:
    """The losses of one node, by key of the keeper. Times are seconds of the loop's clock."""

    def __init__(self) -> None:
        self._lost: BoundedMap[str, tuple[int, float]] = BoundedMap(LOGS_MAX)

    def lost(self, key: str, now: float) -> None:
        """A keeper has found that another one has opened its log."""
        times, at = self._lost.get(key, (0, now))
        self._lost.renew(key, (1 if now - at > FORGET_S else times + 1, now))

    def wait_s(self, key: str, now: float) -> float:
        """For how long this node must leave that log alone; 0 if it may take it."""
        times, at = self._lost.get(key, (0, now))
        return max(0.0, at + back_off_s(FIRST_S, LONGEST_S, times) - now) if times else 0.0
