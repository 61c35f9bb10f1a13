"""Decides which reminders of one shard are due, which were missed, and what happens to missed ones.

A reminder is a request to call a grain at a time of the wall clock, once or every `period_s` seconds, whether or not
anything runs at that time. So its times are Unix seconds and not the loop's. The interesting case is a late one: the
cluster was down, or the grain refused. Occurrences that have passed are *pending*. The reminder's own `catch_up` policy
decides about them, again at each attempt:

- `once` (the default): one call for all of them, due at the last; `Reminder.missed` counts the others.
- `skip`: as `once`, but nothing that is later than `late_s` is delivered at all.
- `all`: one call after another for each, the newest `catch_up_max` of them.

A record has the time of its first occurrence that is neither delivered nor dropped, and advances only when a delivery
is reported as ended. A crash before that repeats the occurrence: delivery is at least once. It keeps the schedule,
because the next time is counted from the previous one and not from the end of the call.

Some reminders were given as "in 10 s" and not as a time of day. Their times are Unix seconds too, because the next
keeper must understand them. But while the keeper that got the delay lives, they keep the delay when the wall clock is
set (`shift`).

Why a heap with stale entries and not a wheel: reminders are sparse (days ahead) and seldom change. The number of stale
entries is bounded: the heap is rebuilt when they outnumber the live ones.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import Final

import msgspec

from inaho.core.activation.reminder_records import (
    CATCH_UP,
    Reminder,
    ReminderRecord,
    occurrences_passed,
    validate_reminder,
)
from inaho.errors import Overloaded

__all__ = ["CATCH_UP", "Delivery", "Dropped", "Reminder", "ReminderRecord", "ReminderSchedule", "validate_reminder"]

STALE_MIN: Final = 64
"""The heap is not rebuilt for fewer stale entries than this."""


class Dropped(msgspec.Struct, frozen=True):
    """Occurrences of a reminder that are not delivered, by its policy."""

    record: ReminderRecord
    count: int


class _Entry:
    """A record and where its delivery stands."""

    __slots__ = ("attempts", "dropped", "flying", "record", "refusals", "relative", "retrying", "serial", "shifted_s")

    def __init__(self, record: ReminderRecord, *, relative: bool = False) -> None:
        self.record = record
        self.relative = relative
        """It was set as a delay."""
        self.shifted_s = 0.0
        """By how much the clock was set since the present delivery began; it applies to the next occurrence."""
        self.attempts = 0
        self.refusals = 0
        self.flying = False
        self.retrying = False
        """It waits for another attempt, not for its due time."""
        self.serial = 0
        """Number of its valid item in the heap; 0 while it has none."""
        self.dropped = 0
        """Pending occurrences that were reported as dropped already, so that each is reported once."""


class Delivery(msgspec.Struct, frozen=True, eq=False):
    """One call to make.

    Attributes:
        record: the reminder.
        reminder: the argument of `on_reminder`.
        refusals: how often the call of this occurrence was postponed since it last ran.
        entry: for the schedule.
    """

    record: ReminderRecord
    reminder: Reminder
    refusals: int
    entry: _Entry


class ReminderSchedule:
    """The reminders of one shard.

    Args:
        records_max: reminders of the shard.
        grain_max: reminders of one grain.
        catch_up_max: most occurrences that `all` delivers after a pause.
        late_s: an occurrence that is later than this is dropped by `skip`.
        flying_max: bound of the deliveries that run at once.

    Attributes:
        flying: deliveries that are running.
    """

    def __init__(
        self, *, records_max: int, grain_max: int, catch_up_max: int, late_s: float, flying_max: int = 256
    ) -> None:
        self._records_max = records_max
        self._grain_max = grain_max
        self._catch_up_max = catch_up_max
        self._late_s = late_s
        self._flying_max = flying_max
        self._grains: dict[tuple[str, str], dict[str, _Entry]] = {}
        self._heap: list[tuple[float, int, _Entry]] = []
        self._count = 0
        self._serial = 0
        self._latest = float("-inf")
        self.flying = 0

    def __len__(self) -> int:
        return self._count

    # Requests of the grains.

    def set(self, record: ReminderRecord, *, relative: bool = False) -> None:
        """Sets a reminder, or replaces the one of that name; a present delivery of the old one no longer counts.

        Args:
            record: the reminder.
            relative: its time was computed from a delay, see `shift`.

        Raises:
            InvalidArguments: see `validate_reminder`.
            Overloaded: the grain or the shard has too many; nothing changed.
        """
        validate_reminder(record)
        owner = (record.kind, record.key)
        entries = self._grains.get(owner, {})
        if record.name not in entries:
            identity = f"{record.kind}/{record.key}"
            if len(entries) >= self._grain_max:
                raise Overloaded(
                    f"the grain has {len(entries)} reminders (activation.reminders_per_grain_max)", identity=identity
                )
            if self._count >= self._records_max:
                raise Overloaded(
                    f"{self._count} reminders are in this shard (activation.reminders_max)", identity=identity
                )
        self.forget(record.kind, record.key, record.name)
        entry = _Entry(record, relative=relative)
        self._grains.setdefault(owner, {})[record.name] = entry
        self._count += 1
        self._push(entry, record.due)

    def forget(self, kind: str, key: str, name: str) -> bool:
        """Removes a reminder; False when there is none. A delivery that is running continues and no longer counts."""
        entries = self._grains.get((kind, key))
        entry = None if entries is None else entries.pop(name, None)
        if entries is None or entry is None:
            return False
        if not entries:
            del self._grains[kind, key]
        self._count -= 1
        entry.serial = 0
        return True

    def of(self, kind: str, key: str) -> list[Reminder]:
        """The reminders of one grain, sorted by name."""
        entries = self._grains.get((kind, key), {})
        records = [entries[name].record for name in sorted(entries)]
        return [Reminder(record.name, record.due, record.period_s, record.catch_up) for record in records]

    # The clock.

    def due(self, now: float) -> tuple[list[Delivery], list[Dropped]]:
        """Takes the reminders that are due; call `ended` or `failed` for each delivery.

        Args:
            now: Unix seconds. A clock that was set back delays no second attempt.

        Returns:
            Calls to make now, and occurrences that will never be delivered, each reported once.
        """
        self._notice_time(now)
        deliveries: list[Delivery] = []
        dropped: list[Dropped] = []
        heap = self._heap
        while heap and self.flying < self._flying_max:
            when, serial, entry = heap[0]
            if serial != entry.serial:
                heapq.heappop(heap)
                continue
            if when > now:
                break
            heapq.heappop(heap)
            entry.serial = 0
            reminder, count = self._judge(entry, now)
            if count > entry.dropped:
                dropped.append(Dropped(entry.record, count - entry.dropped))
                entry.dropped = count
            if reminder is None:
                last = entry.record.due + (count - 1) * entry.record.period_s
                self._move_on(entry, last, entry.record.missed + count)
                continue
            entry.attempts += 1
            entry.flying = True
            entry.retrying = False
            self.flying += 1
            deliveries.append(Delivery(entry.record, reminder, entry.refusals, entry))
        return deliveries, dropped

    def ended(self, delivery: Delivery, *, delivered: bool = True) -> bool:
        """The occurrence is delivered or given up: the reminder advances to its next occurrence, or is removed.

        Returns:
            Whether that changed a record; False when it was forgotten or replaced meanwhile.
        """
        entry = delivery.entry
        if not self._landed(entry):
            return False
        self._move_on(entry, delivery.reminder.due, 0 if delivered else delivery.reminder.missed + 1)
        return True

    def failed(self, delivery: Delivery, retry_at: float) -> None:
        """The delivery failed and will be tried again, not before `retry_at` (Unix seconds)."""
        delivery.entry.refusals = 0
        self._put_off(delivery.entry, retry_at)

    def postponed(self, delivery: Delivery, retry_at: float) -> None:
        """As `failed`, for a call that probably did not run: it does not count as an attempt."""
        delivery.entry.attempts -= 1
        delivery.entry.refusals += 1
        self._put_off(delivery.entry, retry_at)

    def shift(self, by_s: float) -> bool:
        """The wall clock was set: reminders that were given as a delay keep this delay.

        An occurrence whose delivery has begun keeps its time, because the grain recognises a repeated delivery by it;
        the next occurrence moves.

        Args:
            by_s: seconds by which the clock was set forward; below 0: back.

        Returns:
            Whether that changed a record.
        """
        changed = False
        for entries in list(self._grains.values()):
            for entry in entries.values():
                if not entry.relative:
                    continue
                if entry.flying or entry.retrying:
                    entry.shifted_s += by_s
                    continue
                entry.record = msgspec.structs.replace(entry.record, due=entry.record.due + by_s)
                self._push(entry, entry.record.due)
                changed = True
        return changed

    def next_deadline(self) -> float | None:
        """When `due` should be called next, in Unix seconds; None if there is nothing to wait for."""
        heap = self._heap
        while heap and heap[0][1] != heap[0][2].serial:
            heapq.heappop(heap)
        return heap[0][0] if heap and self.flying < self._flying_max else None

    # What is stored.

    def records(self) -> list[ReminderRecord]:
        """All records, in the order in which grains and reminders were first set."""
        return [entry.record for entries in self._grains.values() for entry in entries.values()]

    def restore(self, records: Iterable[ReminderRecord]) -> None:
        """Takes over what was stored, whatever the bounds are now: accepted reminders are kept.

        A stored time is a time of day, also if it was given as a delay: `shift` does not move it.
        """
        for record in records:
            self.forget(record.kind, record.key, record.name)
            entry = _Entry(record)
            self._grains.setdefault((record.kind, record.key), {})[record.name] = entry
            self._count += 1
            self._push(entry, record.due)

    # Inside.

    def _judge(self, entry: _Entry, now: float) -> tuple[Reminder | None, int]:
        """What to deliver of the pending occurrences, if anything, and how many are dropped for good."""
        record = entry.record
        now -= entry.shifted_s  # by the clock by which this occurrence was scheduled
        pending = occurrences_passed(record, now)
        missed = max(0, pending - self._catch_up_max) if record.catch_up == "all" else pending - 1
        due = record.due + missed * record.period_s
        if record.catch_up == "skip" and now > due + self._late_s:
            return None, pending
        told = record.missed + missed
        return Reminder(record.name, due, record.period_s, record.catch_up, told, entry.attempts + 1), missed

    def _move_on(self, entry: _Entry, done: float, missed: int) -> None:
        """Ends the occurrence of that time and those before it; `missed` of them since the last delivered one."""
        record = entry.record
        entry.attempts = 0
        entry.refusals = 0
        entry.dropped = 0
        entry.retrying = False
        if not record.period_s:
            self.forget(record.kind, record.key, record.name)
            return
        following = done + record.period_s + entry.shifted_s
        entry.shifted_s = 0.0
        entry.record = msgspec.structs.replace(record, due=following, missed=missed)
        self._push(entry, entry.record.due)

    def _put_off(self, entry: _Entry, retry_at: float) -> None:
        if self._landed(entry):
            entry.retrying = True
            self._push(entry, retry_at)

    def _landed(self, entry: _Entry) -> bool:
        """Ends a delivery; True when its reminder is still the one for which it was made."""
        if not entry.flying:
            raise ValueError("the delivery is over already")
        entry.flying = False
        self.flying -= 1
        record = entry.record
        return self._grains.get((record.kind, record.key), {}).get(record.name) is entry

    def _push(self, entry: _Entry, when: float) -> None:
        self._serial += 1
        entry.serial = self._serial
        heapq.heappush(self._heap, (when, self._serial, entry))
        if len(self._heap) > 2 * self._count + STALE_MIN:
            self._heap = [item for item in self._heap if item[1] == item[2].serial]
            heapq.heapify(self._heap)

    def _notice_time(self, now: float) -> None:
        """A clock that was set back must not delay further attempts, whose time was computed with it."""
        if now < self._latest:
            for entries in list(self._grains.values()):
                for entry in entries.values():
                    if entry.retrying:
                        self._push(entry, now)
        self._latest = now

    def check(self) -> None:
        """Asserts the counts, the bound of the heap, and that every reminder either waits or is being delivered."""
        entries = [entry for grain in self._grains.values() for entry in grain.values()]
        assert len(entries) == self._count, "reminders are counted wrongly"
        assert all(self._grains.values()), "a grain is kept without a reminder"
        assert 0 <= self.flying <= self._flying_max
        assert sum(entry.flying for entry in entries) <= self.flying
        assert len(self._heap) <= 2 * self._count + STALE_MIN, "too many stale entries"
        valid = {serial for _, serial, entry in self._heap if serial == entry.serial}
        for entry in entries:
            assert (entry.serial in valid) != entry.flying, (
                f"{entry.record} is neither waited for nor under way, or both"
            )
            assert entry.record.catch_up in CATCH_UP
