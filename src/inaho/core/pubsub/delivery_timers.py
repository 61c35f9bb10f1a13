"""The times at which deliveries expire and pauses end: one heap of entries.

An entry has one valid item. Items of settled deliveries stay until their time, or until they outnumber the others: then
the heap is rebuilt, so that it is as small as what it is about. A later time is noticed when the earlier one has come.
"""

from __future__ import annotations

import heapq
from typing import Final

from inaho.core.pubsub.delivery_entries import Entry

__all__ = ["DeliveryTimers"]

STALE_MIN: Final = 256
"""The heap is not rebuilt for fewer stale items than this."""


class DeliveryTimers:
    """Entries by their time, `Entry.at`."""

    __slots__ = ("_heap", "_live", "_serial")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Entry]] = []
        self._live = 0
        self._serial = 0

    def arm(self, entry: Entry) -> None:
        """Sets the timer of an entry, or moves it to another time."""
        if not entry.timer:
            self._live += 1
        self._serial += 1
        entry.timer = self._serial
        heapq.heappush(self._heap, (entry.at, self._serial, entry))
        if len(self._heap) > 2 * self._live + STALE_MIN:
            self._heap = [item for item in self._heap if item[1] == item[2].timer]
            heapq.heapify(self._heap)

    def disarm(self, entry: Entry) -> None:
        """Clears the timer of an entry, if it has one."""
        if entry.timer:
            entry.timer = 0
            self._live -= 1

    def next_deadline(self) -> float | None:
        """When `pop` has something to return, at the earliest."""
        heap = self._heap
        while heap and heap[0][1] != heap[0][2].timer:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def pop(self, now: float) -> Entry | None:
        """An entry whose time has come, and clears its timer; None when there is none."""
        while (due := self.next_deadline()) is not None and due <= now:
            entry = heapq.heappop(self._heap)[2]
            self.disarm(entry)
            if entry.at <= now:
                return entry
            self.arm(entry)  # it was moved to a later time
        return None

    def check(self, armed: list[Entry]) -> None:
        """Asserts that `armed` are the entries that have a timer, and the bound."""
        valid = {item[1]: item[2] for item in self._heap if item[1] == item[2].timer}
        assert sorted(entry.timer for entry in armed) == sorted(valid), "timers and entries differ"
        assert all(valid[entry.timer] is entry for entry in armed)
        assert self._live == len(armed), f"{self._live} counted, {len(armed)} armed"
        assert len(self._heap) <= 2 * self._live + STALE_MIN + 1
