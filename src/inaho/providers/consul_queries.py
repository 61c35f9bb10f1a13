"""Rules of Consul's blocking queries: which index the next query takes, and when it may be sent.

A blocking query waits until the index of its result is passed. The return of a query does not mean that anything has
changed, and some defects of servers make every query return at once. So queries are limited by a bucket of tokens: two
may follow each other at once, later ones come twice a second. While queries return early and bring nothing, the time
between them doubles, up to 15 s.

An index that is lower than before means that the server has lost history: an older snapshot was restored, or deleted
keys were forgotten. A query with the old index would miss changes until the index is passed again.

Why not a fixed pause: it would delay each change, also where changes are rare.
"""

from __future__ import annotations

from typing import Final

__all__ = ["BURST", "PERIOD_MAX_S", "PERIOD_MIN_S", "QueryPace", "usable_index"]

BURST: Final = 2.0
"""So many queries may follow each other at once."""

PERIOD_MIN_S: Final = 0.5
"""Time between queries that bring changes. A member that joins in a burst of changes is seen that much later."""

PERIOD_MAX_S: Final = 15.0
"""Time between queries that return early for nothing."""


def usable_index(text: str) -> int:
    """The index of an answer, or of a position, as the next query takes it.

    At least 1: a query with index 0 does not wait, and some versions of Consul answer 0 by mistake. With index 1 a
    query waits while there is nothing.
    """
    return max(int(text), 1) if text.isdecimal() else 1


class QueryPace:
    """When the next query may be sent.

    Args:
        now: seconds.
    """

    def __init__(self, now: float) -> None:
        self._tokens = BURST
        self._period_s = PERIOD_MIN_S
        self._at = now

    def delay_s(self, now: float) -> float:
        """How long the next query must wait, in seconds; call it once for each query."""
        tokens = min(BURST, self._tokens + max(0.0, now - self._at) / self._period_s)
        wait_s = max(0.0, 1.0 - tokens) * self._period_s
        self._tokens = max(0.0, tokens - 1.0)
        self._at = now + wait_s
        return wait_s

    def answered(self, *, for_nothing: bool) -> None:
        """A query has returned.

        Args:
            for_nothing: before its time was over, and with the same index.
        """
        self._period_s = min(2.0 * self._period_s, PERIOD_MAX_S) if for_nothing else PERIOD_MIN_S
