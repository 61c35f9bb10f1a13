"""Decides what is appended to the log of one partition: no batch twice, no id twice, within the quota.

A publisher repeats a batch whose answer did not come, also at the next keeper. So the keeper remembers the number of
the last batch of each publisher. It is in the records too: a keeper that begins reads the end of the log, from where
the saved numbers stop. A publisher sends one batch to a partition at a time, so one number per publisher is enough, and
a number below it is a repetition.

An id is given by the user, and compared for `dedup_s`. The records since the oldest id that is remembered stay in the
log, so that the next keeper finds them.

What waits for the storage is known too: a batch that comes again meanwhile waits for the first one's outcome.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from inaho.core.pubsub.log_sizes import LogSizes
from inaho.core.pubsub.stored_message import LoggedMessage

__all__ = ["Admission", "LogMemory", "LogPolicy", "PartitionLog"]

PUBLISHER_IDLE_S: Final = 900.0
"""A publisher that was silent so long is forgotten: none repeats a batch for so long."""

IDS_MAX: Final = 200_000
"""Ids that are remembered. Beyond it the oldest are forgotten before their time."""


class LogPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Rules of one topic, see `TopicDefinition`, and the bound `pubsub.publishers_max`."""

    backlog_max: int = 1_000_000
    backlog_bytes_max: int = 1 << 30
    dedup_s: float = 120.0
    publishers_max: int = 4096


class LogMemory(msgspec.Struct, frozen=True):
    """What is saved of the publishers of a partition.

    Attributes:
        upto: offset up to which the numbers are those of the log.
        publishers: number of the last batch of each publisher.
        ids_from: offset of the oldest id that is remembered; `upto` if none is.
    """

    upto: int = 0
    publishers: dict[str, int] = {}
    ids_from: int = 0


class Admission(msgspec.Struct, frozen=True):
    """The decision about one batch.

    Attributes:
        ticket: for `stored` or `failed`; 0 if nothing is to be appended.
        indexes: which messages of the batch are to be appended.
        after: tickets whose outcome decides about the batch: wait until they are stored or have failed, and admit it
            again. Nothing was admitted.
        full: the quota refuses it. Nothing was admitted.
    """

    ticket: int = 0
    indexes: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    full: bool = False


class _Pending(msgspec.Struct):
    """A batch that waits for the storage."""

    publisher: str
    number: int
    ids: list[tuple[int, str]]
    count: int
    size_bytes: int


class PartitionLog:
    """The log of one partition as its only writer knows it. Times are Unix seconds, given by the caller.

    Args:
        policy: rules.
        first, end, size_bytes: bounds of the log.
        memory: saved by the last keeper.

    Attributes:
        sizes: of the stored records.
        appended: messages stored.
        repeated: messages not stored because their batch or id was known.
    """

    def __init__(self, policy: LogPolicy, first: int, end: int, size_bytes: int, memory: LogMemory) -> None:
        self.sizes = LogSizes(first, end, size_bytes)
        self.appended = 0
        self.repeated = 0
        self._policy = policy
        self._scanned = max(first, min(memory.upto, memory.ids_from, end))
        self._known_upto = memory.upto
        self._saved_upto = min(memory.upto, end)
        self._numbers: dict[str, tuple[int, float]] = {name: (n, 0.0) for name, n in memory.publishers.items()}
        self._ids: dict[str, tuple[int, float]] = {}
        self._pending: dict[int, _Pending] = {}
        self._pending_ids: dict[str, int] = {}
        self._ticket = 0

    # The end of the log is read.

    @property
    def scan_from(self) -> int | None:
        """Offset from which the log must be read before anything is admitted; None when all is known."""
        return self._scanned if self._scanned < self.sizes.end else None

    def scan(self, messages: Sequence[LoggedMessage], now: float) -> None:
        """Records from `scan_from` on."""
        for message in messages:
            stored, offset = message.stored, message.offset
            self._scanned = offset + 1
            if offset >= self._known_upto:
                self._set_number(stored.publisher, stored.number, now)
            at = min(stored.published_at, now)
            if stored.id and at + self._policy.dedup_s > now:
                self._remember(stored.id, offset, at)

    # Batches.

    def admit(
        self, publisher: str, number: int, ids: Sequence[str], size_bytes: int, now: float, needed_from: int
    ) -> Admission:
        """Decides about a batch.

        Args:
            publisher, number: of the batch.
            ids: of its messages, empty for none.
            size_bytes: of its records.
            now: Unix seconds.
            needed_from: first offset that a subscription needs, or the first one may need; the end of the log if none
                needs any.
        """
        pending = [ticket for ticket, each in self._pending.items() if each.publisher == publisher]
        last = self._numbers.get(publisher, (0, 0.0))[0]
        if number <= last:
            self.repeated += len(ids)
            return Admission()
        known = [ticket for ticket in pending if self._pending[ticket].number >= number]
        if known:
            return Admission(after=tuple(known))
        self._forget_old(now)
        fresh: list[int] = []
        after: list[int] = []
        seen: set[str] = set()
        for index, id_ in enumerate(ids):
            if id_ and (id_ in self._ids or id_ in seen):
                continue
            if id_ and id_ in self._pending_ids:
                after.append(self._pending_ids[id_])
                continue
            seen.add(id_)
            fresh.append(index)
        if after:  # were the rest stored now, the batch would count as stored, also if the other one fails
            return Admission(after=tuple(dict.fromkeys(after)))
        share = size_bytes * len(fresh) // max(1, len(ids))
        if fresh and self._is_full(len(fresh), share, needed_from):
            return Admission(full=True)
        self.repeated += len(ids) - len(fresh)
        if not fresh:
            return Admission()
        self._ticket += 1
        own = [(at, ids[index]) for at, index in enumerate(fresh) if ids[index]]
        self._pending[self._ticket] = _Pending(publisher, number, own, len(fresh), share)
        for _, id_ in own:
            self._pending_ids[id_] = self._ticket
        return Admission(self._ticket, tuple(fresh))

    def stored(self, ticket: int, offset: int, size_bytes: int, now: float) -> None:
        """What was admitted is in the log, from `offset` on. Calls come in the order of the log."""
        batch = self._take(ticket)
        assert offset == self.sizes.end, f"stored at {offset}, the log ends at {self.sizes.end}"
        self._scanned = offset + batch.count
        self.sizes.append(batch.count, size_bytes)
        self.appended += batch.count
        self._set_number(batch.publisher, batch.number, now)
        for at, id_ in batch.ids:
            self._remember(id_, offset + at, now)

    def failed(self, ticket: int) -> None:
        """What was admitted is not in the log, and will not be."""
        self._take(ticket)

    def _take(self, ticket: int) -> _Pending:
        batch = self._pending.pop(ticket)
        for _, id_ in batch.ids:
            del self._pending_ids[id_]
        return batch

    # The quota.

    def _is_full(self, count: int, size_bytes: int, needed_from: int) -> bool:
        messages, size = self.backlog(needed_from)
        if messages == 0 and not self._pending:  # one batch always fits
            return False
        return messages + count > self._policy.backlog_max or size + size_bytes > self._policy.backlog_bytes_max

    def backlog(self, needed_from: int) -> tuple[int, int]:
        """Messages and bytes from `needed_from` on, with what waits for the storage."""
        count = sum(batch.count for batch in self._pending.values())
        size = sum(batch.size_bytes for batch in self._pending.values())
        stored = max(0, self.sizes.end - max(self.sizes.first, needed_from))
        return stored + count, self.sizes.bytes_from(needed_from) + size

    def room_from(self, count: int, size_bytes: int, needed_from: int) -> int:
        """Up to which offset messages must be dropped so that a batch fits into the quota, or as far as there are any.

        Some more than needed are dropped (1/64 of the quota), so that not each batch must drop some.
        """
        messages, size = self.backlog(needed_from)
        excess = messages + count - self._policy.backlog_max
        drop = needed_from
        if excess > 0:
            drop = max(self.sizes.first, needed_from) + excess + self._policy.backlog_max // 64
        if size + size_bytes > self._policy.backlog_bytes_max:
            waiting = size - self.sizes.bytes_from(needed_from)
            allowed = self._policy.backlog_bytes_max - size_bytes - waiting - self._policy.backlog_bytes_max // 64
            drop = max(drop, self.sizes.offset_within(allowed))
        return min(drop, self.sizes.end)

    # Trimming and saving.

    def memory(self, now: float) -> LogMemory:
        """What the next keeper must know; see `saved`."""
        self._forget_old(now)
        numbers = {name: number for name, (number, _) in self._numbers.items()}
        return LogMemory(self.sizes.end, numbers, self._ids_from)

    def saved(self, memory: LogMemory) -> None:
        """That memory is saved: records before `upto` need not be read by the next keeper."""
        self._saved_upto = max(self._saved_upto, memory.upto)

    @property
    def saved_upto(self) -> int:
        """Offset up to which the numbers of publishers are saved."""
        return self._saved_upto

    def trim_upto(self, needed_from: int, retained_from: int, now: float) -> int:
        """Up to which offset records may be removed.

        Args:
            needed_from: first offset that a subscription needs.
            retained_from: first offset that is kept for replay.
            now: Unix seconds.
        """
        self._forget_old(now)
        return max(self.sizes.first, min(needed_from, retained_from, self._saved_upto, self._ids_from, self.sizes.end))

    @property
    def _ids_from(self) -> int:
        return next(iter(self._ids.values()))[0] if self._ids else self.sizes.end

    def _set_number(self, publisher: str, number: int, now: float) -> None:
        last = self._numbers.pop(publisher, (0, 0.0))[0]
        self._numbers[publisher] = (max(last, number), now)
        if len(self._numbers) > self._policy.publishers_max:
            del self._numbers[next(iter(self._numbers))]

    def _remember(self, id_: str, offset: int, at: float) -> None:
        self._ids.pop(id_, None)
        self._ids[id_] = (offset, at)
        if len(self._ids) > IDS_MAX:
            del self._ids[next(iter(self._ids))]

    def _forget_old(self, now: float) -> None:
        while self._ids:
            id_, (_, at) = next(iter(self._ids.items()))
            if at + self._policy.dedup_s > now:
                break
            del self._ids[id_]
        while self._numbers:
            publisher, (number, at) = next(iter(self._numbers.items()))
            if at == 0.0:  # of the last keeper: its time begins now
                del self._numbers[publisher]
                self._numbers[publisher] = (number, now)
            elif now > at + PUBLISHER_IDLE_S:
                del self._numbers[publisher]
            else:
                break

    def check(self) -> None:
        """Asserts what must hold after every step."""
        self.sizes.check()
        offsets = [offset for offset, _ in self._ids.values()]
        assert offsets == sorted(offsets), "ids are out of order"
        assert len(self._ids) <= IDS_MAX and len(self._numbers) <= self._policy.publishers_max
        pending = {id_: ticket for ticket, batch in self._pending.items() for _, id_ in batch.ids}
        assert pending == self._pending_ids, "ids that wait differ"
        assert not any(id_ in self._ids for id_ in self._pending_ids)
        for batch in self._pending.values():
            assert batch.number > self._numbers.get(batch.publisher, (0, 0.0))[0]
