"""The times at which deliveries expire and pauses end: a line for those in order, and a heap for the others.

Most timers are set in the order of their times, since all deliveries of a subscription have the same time to be
acknowledged. Such a timer goes to the end of the line, which costs less than a heap; one that is due before the last of
the line goes to the heap.

An entry has one valid item. Items of settled deliveries stay until their time, or until they outnumber the others: then
they are removed, so that both are as small as what they are about. A later time is noticed when the earlier one has
come.
"""

from __future__ import annotations

import heapq
from collections import deque
from itertools import chain
from typing import Final

from inaho.core.pubsub.delivery_entries import Entry

__all__ = ["DeliveryTimers"]

STALE_MIN: Final = 256
"""Stale items are not removed while they are fewer than this."""

Item = tuple[float, int, Entry]


class DeliveryTimers:
    """Entries by their time, `Entry.at`."""

    __slots__ = ("_heap", "_line", "_live", "_serial")

    def __init__(self) -> None:
        self._heap: list[Item] = []
        self._line: deque[Item] = deque()
        self._live = 0
        self._serial = 0

    def arm(self, entry: Entry) -> None:
        """Sets the timer of an entry, or moves it to another time."""
        if not entry.timer:
            self._live += 1
        self._serial += 1
        entry.timer = self._serial
        line, heap = self._line, self._heap
        if not line or line[-1][0] <= entry.at:
            line.append((entry.at, self._serial, entry))
        else:
            heapq.heappush(heap, (entry.at, self._serial, entry))
        if len(heap) + len(line) > 2 * self._live + STALE_MIN:
            self._heap = [item for item in heap if item[1] == item[2].timer]
            heapq.heapify(self._heap)
            self._line = deque(item for item in line if item[1] == item[2].timer)

    def disarm(self, entry: Entry) -> None:
        """Clears the timer of an entry, if it has one."""
        if entry.timer:
            entry.timer = 0
            self._live -= 1

    def _first(self) -> Item | None:
        """The item that is due first; stale ones before it are removed."""
        line, heap = self._line, self._heap
        while line and line[0][1] != line[0][2].timer:
            line.popleft()
        while heap and heap[0][1] != heap[0][2].timer:
            heapq.heappop(heap)
        if line and heap:
            return min(line[0], heap[0])
        return line[0] if line else heap[0] if heap else None

    def next_deadline(self) -> float | None:
        """When `pop` has something to return, at the earliest."""
        first = self._first()
        return None if first is None else first[0]

    def pop(self, now: float) -> Entry | None:
        """An entry whose time has come, and clears its timer; None when there is none."""
        while (first := self._first()) is not None and first[0] <= now:
            entry = first[2]
            self.disarm(entry)  # its item is stale from here on
            if entry.at <= now:
                return entry
            self.arm(entry)  # it was moved to a later time
        return None

    def check(self, armed: list[Entry]) -> None:
        """Asserts that `armed` are the entries that have a timer, that the line is in order, and the bound."""
        items = list(chain(self._line, self._heap))
        valid = {item[1]: item[2] for item in items if item[1] == item[2].timer}
        assert sorted(entry.timer for entry in armed) == sorted(valid), "timers and entries differ"
        assert all(valid[entry.timer] is entry for entry in armed)
        assert self._live == len(armed), f"{self._live} counted, {len(armed)} armed"
        assert len(items) <= 2 * self._live + STALE_MIN + 1
        times = [item[0] for item in self._line]
        assert times == sorted(times), "the line is out of order"
