"""How many bytes a part of a log has, without a number per record: sums of segments, and fewer the more there are.

A quota in bytes asks how much of the log is not acknowledged. Within a segment records count as if they had one size.
When there are too many segments, neighbours are joined, so the error stays a small share of the whole.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

__all__ = ["LogSizes"]

SEGMENTS_MAX: Final = 512


class LogSizes:
    """Sizes of one log.

    Args:
        first, end: bounds of the log.
        size_bytes: of its records.

    Attributes:
        first: of the first record that is left.
        end: offset after the last record.
        size_bytes: of all records that are left.
    """

    __slots__ = ("_grain", "_sizes", "_starts", "end", "first", "size_bytes")

    def __init__(self, first: int, end: int, size_bytes: int) -> None:
        self.first = first
        self.end = end
        self.size_bytes = size_bytes if end > first else 0
        self._grain = 64
        self._starts = [first] if end > first else []
        self._sizes = [self.size_bytes] if end > first else []

    def append(self, count: int, size_bytes: int) -> None:
        """Records were appended."""
        if self._starts and self.end - self._starts[-1] < self._grain:
            self._sizes[-1] += size_bytes
        else:
            self._starts.append(self.end)
            self._sizes.append(size_bytes)
            if len(self._starts) > SEGMENTS_MAX:
                self._join()
        self.end += count
        self.size_bytes += size_bytes

    def _join(self) -> None:
        """Joins each two neighbours, but for the last one, which still grows."""
        sizes = self._sizes
        pairs = range(0, len(sizes) - 1, 2)
        self._sizes = [sum(sizes[at : min(at + 2, len(sizes) - 1)]) for at in pairs] + sizes[-1:]
        self._starts = [self._starts[at] for at in pairs] + self._starts[-1:]
        self._grain *= 2

    def trim(self, upto: int) -> None:
        """The records before `upto` are gone."""
        if upto <= self.first:
            return
        at = bisect_right(self._starts, upto) - 1
        if upto >= self.end:
            self._starts.clear()
            self._sizes.clear()
        else:
            rest = self._part_from(at, upto)
            del self._starts[:at], self._sizes[:at]
            self._starts[0], self._sizes[0] = upto, rest
        self.first = min(upto, self.end)
        self.size_bytes = sum(self._sizes)

    def bytes_from(self, offset: int) -> int:
        """Bytes of the records from `offset` on."""
        if offset <= self.first:
            return self.size_bytes
        if offset >= self.end:
            return 0
        at = bisect_right(self._starts, offset) - 1
        return self._part_from(at, offset) + sum(self._sizes[at + 1 :])

    def offset_within(self, bytes_max: int) -> int:
        """The first offset from which on the log has at most so many bytes."""
        if bytes_max >= self.size_bytes:
            return self.first
        left = max(0, bytes_max)
        at = len(self._sizes)
        while at and self._sizes[at - 1] <= left:
            at -= 1
            left -= self._sizes[at]
        stop = self._starts[at] if at < len(self._starts) else self.end
        start, size = self._starts[at - 1], self._sizes[at - 1]
        return stop - (stop - start) * left // size

    def _part_from(self, at: int, offset: int) -> int:
        """Bytes of a segment from `offset` on, rounded up."""
        start = self._starts[at]
        stop = self._starts[at + 1] if at + 1 < len(self._starts) else self.end
        return -(-self._sizes[at] * (stop - offset) // (stop - start))

    def check(self) -> None:
        """Asserts that the segments cover the log."""
        assert len(self._starts) == len(self._sizes) <= SEGMENTS_MAX
        assert bool(self._starts) == (self.end > self.first)
        assert self.size_bytes == sum(self._sizes)
        if self._starts:
            assert self._starts[0] == self.first and self._starts[-1] < self.end
            assert all(one < other for one, other in zip(self._starts, self._starts[1:], strict=False))
