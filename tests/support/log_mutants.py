"""Logs that break one rule each, for `test_log_conformance_mutants`: what they break, and the test that must fail."""

# Mutants change what is private.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from inaho.errors import LogConflict, LogTrimmed
from inaho.storage.log import LogBounds, LogRecord
from inaho.storage.log.memory import MemoryLog, MemoryLogRows

replace = msgspec.structs.replace


class AppendsAnywhere(MemoryLog):
    caught_by = "test_append_elsewhere_than_at_the_end_changes_nothing"

    async def _append(self, log: str, records: Sequence[bytes], *, offset: int, epoch: int) -> None:
        await super()._append(log, records, offset=self._rows(log).bounds.end, epoch=epoch)


class AppendsByAnOlderKeeper(MemoryLog):
    caught_by = "test_newer_epoch_takes_over"

    async def _append(self, log: str, records: Sequence[bytes], *, offset: int, epoch: int) -> None:
        await super()._append(log, records, offset=offset, epoch=max(epoch, self._rows(log).bounds.epoch))


class AppendsByANewerKeeperThatDidNotOpen(MemoryLog):
    caught_by = "test_epoch_that_has_not_opened_the_log_is_refused"

    async def _append(self, log: str, records: Sequence[bytes], *, offset: int, epoch: int) -> None:
        present = self._rows(log).bounds.epoch
        await super()._append(log, records, offset=offset, epoch=present if present else epoch)


class RepeatedAppendIsASuccess(MemoryLog):
    caught_by = "test_append_that_is_repeated_commits_once"

    async def _append(self, log: str, records: Sequence[bytes], *, offset: int, epoch: int) -> None:
        rows = self._rows(log)
        if rows.chunks and rows.firsts[-1] == offset and rows.chunks[-1] == tuple(records):
            return
        await super()._append(log, records, offset=offset, epoch=epoch)


class RefusedAppendIsStored(MemoryLog):
    caught_by = "test_append_elsewhere_than_at_the_end_changes_nothing"

    async def _append(self, log: str, records: Sequence[bytes], *, offset: int, epoch: int) -> None:
        try:
            await super()._append(log, records, offset=offset, epoch=epoch)
        except LogConflict:
            await super()._append(log, records, offset=self._rows(log).bounds.end, epoch=epoch)
            raise


class ConflictWithoutNumbers(MemoryLog):
    caught_by = "test_append_elsewhere_than_at_the_end_changes_nothing"

    async def _append(self, log: str, records: Sequence[bytes], *, offset: int, epoch: int) -> None:
        try:
            await super()._append(log, records, offset=offset, epoch=epoch)
        except LogConflict as conflict:
            raise LogConflict(conflict.reason) from None


class DropsEmptyRecords(MemoryLog):
    caught_by = "test_append_then_read"

    async def _append(self, log: str, records: Sequence[bytes], *, offset: int, epoch: int) -> None:
        await super()._append(log, [each for each in records if each] or [b""], offset=offset, epoch=epoch)


class ChecksThenWaits(MemoryLog):
    caught_by = "test_one_append_wins_each_offset"

    async def _append(self, log: str, records: Sequence[bytes], *, offset: int, epoch: int) -> None:
        self._writable(log, epoch, offset)
        await asyncio.sleep(0)
        await super()._append(log, records, offset=self._rows(log).bounds.end, epoch=self._rows(log).bounds.epoch)


class AppendsRecordByRecord(MemoryLog):
    caught_by = "test_cancelled_append_happens_wholly_or_not_at_all"

    async def _append(self, log: str, records: Sequence[bytes], *, offset: int, epoch: int) -> None:
        for at, record in enumerate(records, offset):
            await super()._append(log, [record], offset=at, epoch=epoch)
            await asyncio.sleep(0)


class CancelledAppendIsDoneLater(MemoryLog):
    caught_by = "test_cancelled_append_happens_wholly_or_not_at_all"

    async def _append(self, log: str, records: Sequence[bytes], *, offset: int, epoch: int) -> None:
        try:
            await asyncio.sleep(0)
            await super()._append(log, records, offset=offset, epoch=epoch)
        except asyncio.CancelledError:
            self._force(log, tuple(records), 3)
            raise

    def _force(self, log: str, records: tuple[bytes, ...], turns: int) -> None:
        if turns:
            asyncio.get_running_loop().call_soon(self._force, log, records, turns - 1)
            return
        rows = self._rows(log)
        rows.firsts.append(rows.bounds.end)
        rows.chunks.append(records)
        rows.bounds = replace(rows.bounds, end=rows.bounds.end + len(records))


class OlderKeeperOpens(MemoryLog):
    caught_by = "test_newer_epoch_takes_over"

    async def _open_log(self, log: str, epoch: int) -> LogBounds:
        rows = self._rows(log)
        rows.bounds = replace(rows.bounds, epoch=min(rows.bounds.epoch, epoch))
        return await super()._open_log(log, epoch)


class SameKeeperMayNotOpenAgain(MemoryLog):
    caught_by = "test_append_then_read"

    async def _open_log(self, log: str, epoch: int) -> LogBounds:
        if epoch == self._rows(log).bounds.epoch:
            raise LogConflict("it is open")
        return await super()._open_log(log, epoch)


class OpeningFencesNobody(MemoryLog):
    caught_by = "test_newer_epoch_takes_over"

    async def _open_log(self, log: str, epoch: int) -> LogBounds:
        rows = self._rows(log)
        if not rows.bounds.epoch:
            return await super()._open_log(log, epoch)
        return replace(rows.bounds, epoch=epoch)


class OldEndIsTold(MemoryLog):
    caught_by = "test_reads_see_every_acknowledged_append"

    async def _bounds(self, log: str) -> LogBounds:
        rows = self._rows(log)
        return replace(rows.bounds, end=rows.firsts[-1] if rows.firsts else rows.bounds.end)


class LastAppendIsNotReadYet(MemoryLog):
    caught_by = "test_reads_see_every_acknowledged_append"

    async def _read(self, log: str, offset: int, *, records_max: int, bytes_max: int) -> list[LogRecord]:
        found = await super()._read(log, offset, records_max=records_max, bytes_max=bytes_max)
        return [each for each in found if each.offset < self._rows(log).firsts[-1]]


class TrimIsRounded(MemoryLog):
    caught_by = "test_first_is_exact_after_a_trim"

    async def _trim(self, log: str, upto: int, *, epoch: int) -> None:
        await super()._trim(log, upto, epoch=epoch)
        rows = self._rows(log)
        if rows.firsts:
            rows.bounds = replace(rows.bounds, first=rows.firsts[0])


class TrimTakesAWholeChunk(MemoryLog):
    caught_by = "test_first_is_exact_after_a_trim"

    async def _trim(self, log: str, upto: int, *, epoch: int) -> None:
        ends = [*self._rows(log).firsts, self._rows(log).bounds.end]
        await super()._trim(log, min((end for end in ends if end >= upto), default=upto), epoch=epoch)


class TrimByAnOlderKeeper(MemoryLog):
    caught_by = "test_newer_epoch_takes_over"

    async def _trim(self, log: str, upto: int, *, epoch: int) -> None:
        await super()._trim(log, upto, epoch=self._rows(log).bounds.epoch)


class TrimOfWhatComesLater(MemoryLog):
    caught_by = "test_trim_after_the_end_keeps_later_records"

    async def _trim(self, log: str, upto: int, *, epoch: int) -> None:
        await super()._trim(log, upto, epoch=epoch)
        rows = self._rows(log)
        rows.bounds = replace(rows.bounds, first=max(rows.bounds.first, upto))


class TrimGoesBack(MemoryLog):
    caught_by = "test_trim_may_be_repeated_and_never_goes_back"

    async def _trim(self, log: str, upto: int, *, epoch: int) -> None:
        await super()._trim(log, upto, epoch=epoch)
        rows = self._rows(log)
        rows.bounds = replace(rows.bounds, first=min(rows.bounds.first, upto))


class TrimFreesNothing(MemoryLog):
    caught_by = "test_trim_frees_bytes"

    async def _trim(self, log: str, upto: int, *, epoch: int) -> None:
        rows = self._writable(log, epoch, None)
        first = max(rows.bounds.first, min(upto, rows.bounds.end))
        rows.bounds = replace(rows.bounds, first=first)


class EmptiedLogBeginsAnew(MemoryLog):
    caught_by = "test_emptied_log_goes_on_where_it_ended"

    async def _trim(self, log: str, upto: int, *, epoch: int) -> None:
        await super()._trim(log, upto, epoch=epoch)
        rows = self._rows(log)
        if rows.bounds.first == rows.bounds.end:
            rows.bounds = replace(rows.bounds, first=0, end=0)


class EmptiedLogForgetsItsKeeper(MemoryLog):
    caught_by = "test_removed_log_keeps_end_and_epoch"

    async def _trim(self, log: str, upto: int, *, epoch: int) -> None:
        await super()._trim(log, upto, epoch=epoch)
        rows = self._rows(log)
        if rows.bounds.first == rows.bounds.end:
            rows.bounds = replace(rows.bounds, epoch=1)


class TrimmedRecordsAreRead(MemoryLog):
    caught_by = "test_first_is_exact_after_a_trim"

    async def _read(self, log: str, offset: int, *, records_max: int, bytes_max: int) -> list[LogRecord]:
        rows = self._rows(log)
        bounds, rows.bounds = rows.bounds, replace(rows.bounds, first=rows.firsts[0] if rows.firsts else 0)
        try:
            return await super()._read(log, offset, records_max=records_max, bytes_max=bytes_max)
        finally:
            rows.bounds = bounds


class TrimmedOffsetReadsAsTheEnd(MemoryLog):
    caught_by = "test_emptied_log_goes_on_where_it_ended"

    async def _read(self, log: str, offset: int, *, records_max: int, bytes_max: int) -> list[LogRecord]:
        try:
            return await super()._read(log, offset, records_max=records_max, bytes_max=bytes_max)
        except LogTrimmed:
            return []


class TrimmedOffsetReadsTheNext(MemoryLog):
    """The base class notices it where records are left, not where none is."""

    caught_by = "test_emptied_log_goes_on_where_it_ended"

    async def _read(self, log: str, offset: int, *, records_max: int, bytes_max: int) -> list[LogRecord]:
        offset = max(offset, self._rows(log).bounds.first)
        return await super()._read(log, offset, records_max=records_max, bytes_max=bytes_max)


class ReadsFromTheBeginningOfAnAppend(MemoryLog):
    caught_by = "test_reads_begin_and_end_anywhere"

    async def _read(self, log: str, offset: int, *, records_max: int, bytes_max: int) -> list[LogRecord]:
        first = max((each for each in self._rows(log).firsts if each <= offset), default=offset)
        return await super()._read(log, first, records_max=records_max, bytes_max=bytes_max)


class ReadsWholeAppends(MemoryLog):
    caught_by = "test_reads_begin_and_end_anywhere"

    async def _read(self, log: str, offset: int, *, records_max: int, bytes_max: int) -> list[LogRecord]:
        ends = [*self._rows(log).firsts, self._rows(log).bounds.end]
        end = min((each for each in ends if each >= offset + records_max), default=offset + records_max)
        return await super()._read(log, offset, records_max=max(1, end - offset), bytes_max=bytes_max)


class ReadsAnyNumberOfBytes(MemoryLog):
    caught_by = "test_read_ends_when_it_has_bytes_max"

    async def _read(self, log: str, offset: int, *, records_max: int, bytes_max: int) -> list[LogRecord]:
        return await super()._read(log, offset, records_max=records_max, bytes_max=1 << 40)


class LargeRecordIsNeverRead(MemoryLog):
    caught_by = "test_read_ends_when_it_has_bytes_max"

    async def _read(self, log: str, offset: int, *, records_max: int, bytes_max: int) -> list[LogRecord]:
        found = await super()._read(log, offset, records_max=records_max, bytes_max=bytes_max)
        return [] if found and len(found[0].data) > bytes_max else found


class ReadAfterTheEndIsEmpty(MemoryLog):
    caught_by = "test_read_after_the_end_is_refused"

    async def _read(self, log: str, offset: int, *, records_max: int, bytes_max: int) -> list[LogRecord]:
        offset = min(offset, self._rows(log).bounds.end)
        return await super()._read(log, offset, records_max=records_max, bytes_max=bytes_max)


class NamesWithoutCase(MemoryLog):
    caught_by = "test_logs_are_told_apart"

    def _rows(self, log: str) -> MemoryLogRows:
        return super()._rows(log.lower())

    def _writable(self, log: str, epoch: int, offset: int | None) -> MemoryLogRows:
        return super()._writable(log.lower(), epoch, offset)

    async def _open_log(self, log: str, epoch: int) -> LogBounds:
        return await super()._open_log(log.lower(), epoch)


class TrimBehindAReader(MemoryLog):
    """A read that takes its bounds first, and its records a moment later."""

    caught_by = "test_reads_during_trims_have_no_gap"

    async def _read(self, log: str, offset: int, *, records_max: int, bytes_max: int) -> list[LogRecord]:
        bounds = self._rows(log).bounds
        await asyncio.sleep(0)
        rows = self._rows(log)
        if offset >= bounds.first and offset < rows.bounds.first:
            return []
        return await super()._read(log, offset, records_max=records_max, bytes_max=bytes_max)


class LossIsNotNoticed(MemoryLog):
    caught_by = "test_lost_logs_refuse_all"

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self._check_usable = None
        self._changes = lambda _: None


class ChangesAreNotCounted(MemoryLog):
    caught_by = "test_an_old_copy_of_logs_refuses_all"

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self._changes = lambda _: None


MUTANTS: list[Any] = [
    value
    for value in tuple(globals().values())
    if isinstance(value, type) and issubclass(value, MemoryLog) and value is not MemoryLog
]
