"""Holds pending calls in a timer wheel and finds those whose deadline has passed.

The low bits of a correlation id name the slot in which the call expires. So adding a call, finding it by its reply and
forgetting it are one dict operation each, and there is no timer object. A turn of the wheel looks only at the slots
that have passed. The resolution is one slot: a call expires at its deadline or up to `SLOT_S` later, never earlier. Why
not `call_later` per call: a timer costs more than the call.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Generic, TypeVar

from inaho.errors import Overloaded

__all__ = ["SLOTS", "SLOT_S", "PendingWheel"]

SLOT_BITS: Final = 9
SLOTS: Final = 1 << SLOT_BITS
SLOT_MASK: Final = SLOTS - 1
SLOTS_PER_S: Final = 10.0
SLOT_S: Final = 1 / SLOTS_PER_S
COUNT_MASK: Final = (1 << (32 - SLOT_BITS)) - 1
SPAN_S: Final = (SLOTS - 2) * SLOT_S
"""How far the wheel reaches beyond its last turn."""

Entry = TypeVar("Entry")


class PendingWheel(Generic[Entry]):
    """Pending calls of one connection by correlation id.

    Attributes:
        slots: by slot, correlation id to entry. The call path reads and pops here directly.
        far: deadlines of calls that pass their slot more than once; mostly empty.
        count: calls added so far, modulo 2**23; makes the ids.
        horizon: a deadline beyond it (monotonic seconds) is remembered in `far`. It moves when the wheel turns, not
            with
            the clock: after a pause the missed slots must still be turned, and a new call in them would look like one
            of the turn before.
    """

    __slots__ = ("_turned_to", "count", "far", "horizon", "slots")

    def __init__(self, now: float) -> None:
        self.slots: list[dict[int, Entry]] = [{} for _ in range(SLOTS)]
        self.count = 0
        self.far: dict[int, float] = {}
        self._turned_to = int(now * SLOTS_PER_S)
        self.horizon = self._turned_to * SLOT_S + SPAN_S

    def add(self, entry: Entry, deadline: float, now: float) -> int:
        """Remembers a call until `deadline` and returns its correlation id (32 bits).

        The count wraps after eight million calls, while a stream may last for days: an id that is still pending is
        skipped. `Outgoing.call` contains the usual case itself, because it is the call path.

        Args:
            entry: what waits for the answer.
            deadline: monotonic seconds; one that has passed expires at the next turn.
            now: monotonic seconds.

        Raises:
            Overloaded: every id of the slot is pending.
        """
        slot = max(int(max(deadline, now) * SLOTS_PER_S), self._turned_to) + 1 & SLOT_MASK
        entries = self.slots[slot]
        if len(entries) > COUNT_MASK:
            raise Overloaded(f"{len(entries)} calls of one connection expire within {SLOT_S} s")
        count = (self.count + 1) & COUNT_MASK
        while count << SLOT_BITS | slot in entries:
            count = (count + 1) & COUNT_MASK
        self.count = count
        correlation = count << SLOT_BITS | slot
        if deadline > self.horizon:
            self.far[correlation] = deadline
        entries[correlation] = entry
        return correlation

    def get(self, correlation: int) -> Entry | None:
        """The entry, which stays."""
        return self.slots[correlation & SLOT_MASK].get(correlation)

    def pop(self, correlation: int) -> Entry | None:
        """The entry, which is forgotten; None when it is unknown or has expired."""
        if self.far:
            self.far.pop(correlation, None)
        return self.slots[correlation & SLOT_MASK].pop(correlation, None)

    def expire(self, now: float) -> list[tuple[int, Entry]]:
        """Takes out and returns what has expired by `now`, in the order of the slots and, within one, of the calls."""
        target = int(now * SLOTS_PER_S)
        first = max(self._turned_to + 1, target - SLOT_MASK)
        self._turned_to = max(target, self._turned_to)
        self.horizon = self._turned_to * SLOT_S + SPAN_S
        expired: list[tuple[int, Entry]] = []
        for turn in range(first, target + 1):
            slot = self.slots[turn & SLOT_MASK]
            if not slot:
                continue
            for correlation in list(slot):
                if self.far and self.far.get(correlation, now) > now:
                    continue
                self.far.pop(correlation, None)
                expired.append((correlation, slot.pop(correlation)))
        return expired

    def drain(self) -> list[Entry]:
        """Takes out and returns all entries: the connection is gone."""
        entries = [entry for slot in self.slots for entry in slot.values()]
        for slot in self.slots:
            slot.clear()
        self.far.clear()
        return entries

    def __len__(self) -> int:
        return sum(map(len, self.slots))

    def __iter__(self) -> Iterator[Entry]:
        for slot in self.slots:
            yield from slot.values()

    def check(self) -> None:
        """Asserts that every entry is in the slot that its id names, and that nothing is remembered for no entry."""
        for number, slot in enumerate(self.slots):
            for correlation in slot:
                assert correlation & SLOT_MASK == number, f"call {correlation} is in slot {number}"
        for correlation in self.far:
            assert correlation in self.slots[correlation & SLOT_MASK], f"call {correlation} is far but not pending"
