"""The stored sends of one partition: takes them over, ends them, and says what their log must keep.

A send is a call of a grain that is in a log before its sender is told so. It runs at least once, whatever dies. Its
keeper calls the grain; `SendLines` says when. After too many failed calls a send is a dead letter, which stays until
somebody cancels it or sends it again.

**Log.** What is decided here becomes durable by records (`send_records`). The keeper appends them in the order in which
they were made, and reports each append (`stored`). Ends of sends are logged late, in groups: a crash before that
repeats calls, which "at least once" allows.

**Trimming.** A log can be trimmed up to the oldest record that is still needed. A send that is delayed by a day, or a
dead letter, would hold up the trim for so long. So such entries are written again at the end of the log as soon as the
log has more than twice as many records as entries. Each record then costs at most one further record. Why not a
snapshot of all entries instead: it would have to be written in one piece while sends wait.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice
from typing import Final

import msgspec

from inaho.core.bounded_map import BoundedMap
from inaho.core.pubsub.send_history import SendHistory
from inaho.core.pubsub.send_lines import Line, PendingSend, SendLines, State
from inaho.core.pubsub.send_records import (
    ClockSet,
    DurableSend,
    NewSend,
    SendFailed,
    SendRecord,
    SendsSettled,
    StoredSend,
    made_id,
)
from inaho.errors import InvalidArguments, Overloaded

__all__ = ["DELAY_MAX_S", "PendingSend", "StoredSends"]

CARRY_MIN: Final = 4096
"""Entries are not written again for fewer records than this that are not needed."""

CARRY_BATCH: Final = 256
"""Entries that are written again at once."""

DELAY_MAX_S: Final = 1e10
"""Delays are below this, in seconds: about 300 years."""


class StoredSends:
    """The stored sends of one partition.

    Args:
        pending_max: sends that have not ended, dead letters included; also ids that are remembered.
        bytes_max: bytes of their arguments.
        attempts_max: failed calls of one send; then it is a dead letter.
        dedup_s: the id that a sender gave is remembered so long after the end of the send.
        flying_max: calls under way at once.
        senders_max: senders of which the last request is remembered.
        carry_min: see `CARRY_MIN`.

    Attributes:
        end: offset after the last record that was reported.
        pending_bytes: of the arguments of sends that have not ended.
    """

    def __init__(
        self,
        *,
        pending_max: int,
        bytes_max: int,
        attempts_max: int,
        dedup_s: float,
        flying_max: int = 256,
        senders_max: int = 4096,
        carry_min: int = CARRY_MIN,
    ) -> None:
        self.end = 0
        self.pending_bytes = 0
        self._pending_max = pending_max
        self._bytes_max = bytes_max
        self._attempts_max = attempts_max
        self._dedup_s = dedup_s
        self._carry_min = carry_min
        self._lines = SendLines(flying_max)
        self._entries: OrderedDict[int, PendingSend] = OrderedDict()  # in the order of their newest records
        self._dead: dict[int, PendingSend] = {}
        self._known: OrderedDict[tuple[str, str, str], PendingSend] = OrderedDict()  # in the order of their ends
        self._senders: BoundedMap[str, int] = BoundedMap(senders_max)
        self._carried: dict[int, None] = {}
        self._settled: list[int] = []
        self._decisions: list[SendRecord] = []
        self._number = 0
        self._needed = 0

    @property
    def pending(self) -> int:
        """Sends that have not ended."""
        return self._lines.pending

    @property
    def dead(self) -> int:
        """Dead letters."""
        return len(self._dead)

    @property
    def undecided(self) -> bool:
        """Whether `decided` has something to log."""
        return bool(self._decisions or self._settled)

    # Requests.

    def put(
        self, sender: str, sequence: int, sends: list[NewSend], now: float
    ) -> tuple[list[DurableSend], list[SendRecord]]:
        """Takes sends over. Append what `decided` returns before the records of this call.

        Args:
            sender: node id of the sender.
            sequence: number of the first send there. One that is not above the last of that sender is a repetition.
            sends: in their order.
            now: Unix seconds.

        Returns:
            A handle for each, and the records to append; fewer where sends are repeated or have a known id.

        Raises:
            Overloaded: the partition is full; nothing changed.
            InvalidArguments: a delay is out of range; nothing changed.
        """
        size = 0
        for new in sends:
            size += len(new.body)
            if not 0 <= new.after_s < DELAY_MAX_S:
                raise InvalidArguments(f"a send is due in 0 to {DELAY_MAX_S:.0e} seconds, not {new.after_s}")
        if self.pending + len(sends) > self._pending_max or self.pending_bytes + size > self._bytes_max:
            raise Overloaded(
                f"{self.pending} sends of {self.pending_bytes} bytes wait in this partition, {self.dead} of them are "
                "dead letters (pubsub.sends_max, pubsub.sends_bytes_max)"
            )
        last = self._senders.get(sender, 0)
        handles: list[DurableSend] = []
        records: list[SendRecord] = []
        for place, new in enumerate(sends, sequence):
            earlier = self._find(new) if new.id else None
            if earlier is not None:
                handles.append(earlier.send.handle)
                continue
            due = now + new.after_s
            if place <= last:
                handles.append(DurableSend(new.id or made_id(sender, place), new.kind, new.key, new.method, due))
                continue
            self._number += 1
            record = StoredSend(
                self._number, sender, place, new.kind, new.key, new.method, new.arity, new.body, new.id, due,
                new.after_s > 0,
            )  # fmt: skip
            self._entries[record.number] = self._lines.add(record)
            self.pending_bytes += len(new.body)
            handles.append(record.handle)
            records.append(record)
        self._senders.renew(sender, max(last, sequence + len(sends) - 1))
        return handles, records

    def _find(self, new: NewSend) -> PendingSend | None:
        return self._lines.find(new.kind, new.key, new.id) or self._known.get((new.kind, new.key, new.id))

    def listed(self, kind: str, key: str, count_max: int | None = None) -> list[DurableSend]:
        """Sends that have not ended: to one grain, in the order in which they were stored; with an empty key to all
        grains of the kind, and with an empty kind to all, in the order of their newest records."""
        if key:
            return [entry.send.handle for entry in self._lines.of(kind, key)[:count_max]]
        found = (
            entry.send.handle
            for entry in self._entries.values()
            if entry.state is not State.ENDED and kind in ("", entry.send.kind)
        )
        return list(islice(found, count_max))

    def dead_letters(self, count_max: int) -> list[DurableSend]:
        """The oldest dead letters of the partition."""
        return [self._dead[number].send.handle for number in sorted(self._dead)[:count_max]]

    def cancel(self, kind: str, key: str, name: str, now: float) -> bool:
        """Ends a send that waits, or a dead letter.

        Returns:
            Whether it is not called any more. False if there is none, or if its call is under way: that call is not
            repeated when it fails.
        """
        entry = self._lines.find(kind, key, name)
        if entry is None or entry.state is State.STORING:
            return False
        if entry.state is State.FLYING:
            entry.cancelled = True
            return False
        self._lines.withdraw(entry)
        self._end(entry, now)
        return True

    def send_again(self, kind: str, key: str, name: str) -> bool:
        """Puts a dead letter at the end of its line, with no attempts. Returns whether there was one."""
        entry = self._lines.find(kind, key, name)
        if entry is None or entry.state is not State.DEAD:
            return False
        del self._dead[entry.send.number]
        self._judge(entry, SendFailed(entry.send.number, 0, False, ""))
        entry.again = True
        self._lines.enter(entry)
        return True

    # Calls.

    def due(self, now: float) -> list[PendingSend]:
        """Takes the sends that may be called now; call `ended`, `failed` or `postponed` for each."""
        return self._lines.due(now)

    def next_deadline(self) -> float | None:
        """When `due` should be called next, in Unix seconds; None if there is nothing to wait for."""
        return self._lines.next_deadline()

    def ended(self, entry: PendingSend, now: float) -> None:
        """The call has ended well."""
        self._lines.leave(entry)
        self._end(entry, now)

    def failed(self, entry: PendingSend, retry_at: float, reason: str, now: float) -> bool:
        """The call failed, and counts as an attempt.

        Args:
            entry: of `due`.
            retry_at: Unix seconds of the next attempt, if there is one.
            reason: for the dead letter.
            now: Unix seconds.

        Returns:
            Whether the send was given up.
        """
        attempts = entry.send.attempts + 1
        dead = attempts >= self._attempts_max
        if entry.cancelled:
            self._lines.leave(entry)
            self._end(entry, now)
            return True
        self._judge(entry, SendFailed(entry.send.number, attempts, dead, reason))
        entry.refusals = 0
        if not dead:
            self._lines.put_off(entry, retry_at)
            return False
        self._lines.leave(entry)
        self._bury(entry)
        return True

    def postponed(self, entry: PendingSend, retry_at: float, now: float) -> None:
        """The call certainly did not run: it is tried again and does not count as an attempt."""
        if entry.cancelled:
            self._lines.leave(entry)
            self._end(entry, now)
            return
        entry.refusals += 1
        self._lines.put_off(entry, retry_at)

    def _judge(self, entry: PendingSend, record: SendFailed) -> None:
        self._decisions.append(record)
        entry.send = record.applied(entry.send)

    def _bury(self, entry: PendingSend) -> None:
        entry.state = State.DEAD
        self._dead[entry.send.number] = entry

    def _end(self, entry: PendingSend, now: float) -> None:
        """A send that is in no queue has ended; its id stays if its sender gave one."""
        send = entry.send
        self._lines.end(entry)
        self._dead.pop(send.number, None)
        self._settled.append(send.number)
        self.pending_bytes -= len(send.body)
        if send.id:
            entry.send = msgspec.structs.replace(send, body=b"", settled_at=now)
            self._known[send.kind, send.key, send.id] = entry
        else:
            del self._entries[send.number]

    def clock_set(self, before: float, by_s: float) -> None:
        """The wall clock was set by `by_s` seconds when it showed `before`: what waits, waits as long as before."""
        record = ClockSet(before, by_s)
        self._decisions.append(record)
        for entry in self._entries.values():
            entry.send = record.applied(entry.send)
        self._lines.move(record)

    # The log.

    def decided(self, now: float) -> list[SendRecord]:
        """Takes what was decided since the last call and is not in the log, and entries that are to move to its end."""
        records, self._decisions = self._decisions, []
        settled, self._settled = self._settled, []
        if settled:
            records.append(SendsSettled(now, settled))
        while self._known:  # ids that are old enough, and the oldest of too many
            name, entry = next(iter(self._known.items()))
            if entry.send.settled_at + self._dedup_s > now and len(self._known) <= self._pending_max:
                break
            del self._known[name]
            del self._entries[entry.send.number]
        return records + self._carry()

    def _carry(self) -> list[SendRecord]:
        """The oldest entries, if so many records are not needed that the log should be trimmed."""
        records: list[SendRecord] = []
        if self._carried or self.end - self.trimmable() <= 2 * len(self._entries) + self._carry_min:
            return records
        while len(records) < CARRY_BATCH and self._entries:
            number, entry = next(iter(self._entries.items()))
            if entry.offset < 0 or number in self._carried:
                break
            records.append(entry.send)
            self._carried[number] = None
            self._entries.move_to_end(number)
        return records

    def stored(self, offset: int, records: list[SendRecord]) -> None:
        """Records are in the log, from that offset on. New sends among them may be called from now on."""
        for place, record in enumerate(records, offset):
            if not isinstance(record, StoredSend):
                continue
            self._carried.pop(record.number, None)
            entry = self._entries.get(record.number)
            if entry is not None:
                entry.offset = place
                if entry.state is State.STORING:
                    self._lines.place(entry)
        self.end = offset + len(records)

    def trimmable(self) -> int:
        """Records before this offset are not needed."""
        if not self._carried:
            oldest = next(iter(self._entries.values()), None)
            self._needed = self.end if oldest is None or oldest.offset < 0 else oldest.offset
        return self._needed

    # The start.

    def restore(self, history: SendHistory, end: int) -> None:
        """Takes over what a predecessor has logged, up to offset `end`; nothing was put before."""
        self.end = end
        self._number = history.number
        for sender, sequence in history.senders.items():
            self._senders[sender] = sequence
        for number, (offset, send) in history.sends.items():
            entry = PendingSend(send, Line()) if send.settled_at else self._lines.add(send)
            entry.offset = offset
            self._entries[number] = entry
            self.pending_bytes += len(send.body)
        for entry in sorted(self._entries.values(), key=lambda entry: (entry.send.settled_at, entry.send.number)):
            if entry.send.settled_at:
                entry.state = State.ENDED
                self._known[entry.send.kind, entry.send.key, entry.send.id] = entry
            elif entry.send.dead:
                self._bury(entry)
            else:
                self._lines.place(entry)

    def check(self) -> None:
        """Asserts that counts are right, and that every entry is in the log and in one place."""
        self._lines.check()
        ended = [entry for entry in self._entries.values() if entry.state is State.ENDED]
        assert len(self._entries) == self.pending + len(ended), "an entry is lost"
        assert len(ended) == len(self._known), "an id is remembered without its entry"
        assert all(entry.send.id and entry.send.settled_at for entry in ended), "an ended send without an id is kept"
        assert sum(len(entry.send.body) for entry in self._entries.values()) == self.pending_bytes
        dead = [number for number, entry in self._entries.items() if entry.state is State.DEAD]
        assert sorted(dead) == sorted(self._dead) and all(self._entries[number].send.dead for number in dead)
        needed = self.trimmable()
        assert needed <= self.end
        offsets = [entry.offset for number, entry in self._entries.items() if number not in self._carried]
        stored = [offset for offset in offsets if offset >= 0]
        assert stored == sorted(stored), "entries are not in the order of the log"
        for number, entry in self._entries.items():
            assert (entry.offset < 0) == (entry.state is State.STORING) or entry.state is State.ENDED
            assert entry.offset < 0 or entry.offset >= needed, f"the record of send {number} may be trimmed"
