"""Which messages of a partition a subscription has settled: all before one offset, and ranges above it.

Messages are settled out of order, because one that fails holds back its key and not the partition. Ranges are small
where most messages are settled: their number is that of the messages that are not, plus one.

Why not a bitmap: a message that fails for an hour would keep a bit for each message of that hour.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable

__all__ = ["SubscriptionPositions"]


class SubscriptionPositions:
    """The settled offsets of one subscription.

    Args:
        acknowledged: all offsets before this one are settled.
        above: ranges above it, from a first offset to the one after the last; in any order.

    Attributes:
        acknowledged: as given, and grown since; the first offset that is not settled.
        settled_above: offsets above it that are settled.
    """

    __slots__ = ("_starts", "_stops", "acknowledged", "settled_above")

    def __init__(self, acknowledged: int, above: Iterable[tuple[int, int]] = ()) -> None:
        self.acknowledged = acknowledged
        self.settled_above = 0
        self._starts: list[int] = []
        self._stops: list[int] = []
        last = acknowledged
        for start, stop in sorted(above):
            start = max(start, last)
            if stop <= start:
                continue
            if start == self.acknowledged:
                self.acknowledged = stop
            elif self._stops and self._stops[-1] == start:
                self._stops[-1] = stop
                self.settled_above += stop - start
            else:
                self._starts.append(start)
                self._stops.append(stop)
                self.settled_above += stop - start
            last = stop

    def __contains__(self, offset: int) -> bool:
        """Whether that offset is settled."""
        if offset < self.acknowledged:
            return True
        at = bisect_right(self._starts, offset) - 1
        return at >= 0 and offset < self._stops[at]

    def __len__(self) -> int:
        """The number of ranges."""
        return len(self._starts)

    def first_unsettled(self, offset: int) -> int:
        """The first offset from that one on that is not settled."""
        if offset < self.acknowledged:
            return self.acknowledged
        at = bisect_right(self._starts, offset) - 1
        return self._stops[at] if at >= 0 and offset < self._stops[at] else offset

    def ranges(self) -> list[tuple[int, int]]:
        """The ranges above `acknowledged`, in order."""
        return list(zip(self._starts, self._stops, strict=True))

    def settle(self, offset: int) -> bool:
        """Settles one offset. Returns whether it was not settled before."""
        if offset == self.acknowledged:
            self.acknowledged += 1
            self._join_first()
            return True
        if offset in self:
            return False
        starts, stops = self._starts, self._stops
        at = bisect_left(starts, offset)
        after_one = at > 0 and stops[at - 1] == offset
        before_one = at < len(starts) and starts[at] == offset + 1
        if after_one and before_one:
            stops[at - 1] = stops[at]
            del starts[at], stops[at]
        elif after_one:
            stops[at - 1] = offset + 1
        elif before_one:
            starts[at] = offset
        else:
            starts.insert(at, offset)
            stops.insert(at, offset + 1)
        self.settled_above += 1
        return True

    def settle_before(self, offset: int) -> int:
        """Settles all before `offset`. Returns how many of them were not settled."""
        if offset <= self.acknowledged:
            return 0
        settled = 0
        while self._starts and self._starts[0] < offset:
            start, stop = self._starts[0], self._stops[0]
            if stop <= offset:
                del self._starts[0], self._stops[0]
                settled += stop - start
            else:
                self._starts[0] = offset
                settled += offset - start
        self.settled_above -= settled
        count = offset - self.acknowledged - settled
        self.acknowledged = offset
        self._join_first()
        return count

    def _join_first(self) -> None:
        if self._starts and self._starts[0] == self.acknowledged:
            self.settled_above -= self._stops[0] - self._starts[0]
            self.acknowledged = self._stops[0]
            del self._starts[0], self._stops[0]

    def check(self) -> None:
        """Asserts that ranges are apart, in order and above `acknowledged`."""
        last = self.acknowledged
        for start, stop in zip(self._starts, self._stops, strict=True):
            assert last < start < stop, f"range {start}..{stop} after {last}"
            last = stop
        assert self.settled_above == sum(self._stops) - sum(self._starts)
