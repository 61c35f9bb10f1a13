"""The contract of a log storage: open with an epoch, append a batch, read a range, trim.

A log is a row of records with consecutive offsets. One keeper writes to it, and two keepers can overlap while views of
the cluster disagree. So each keeper opens the log with the epoch of its activation. From then on the log refuses
appends and trims with a lower epoch. An append also names the offset at which it begins: it commits as a whole if the
log ends exactly there.

Why both: the epoch keeps an outdated keeper out for ever, and the offset makes an append that is repeated after an
unknown outcome safe, because it commits at most once. This is the fencing of BookKeeper's ledgers and of Kafka's leader
epochs (KIP-101), on a storage that has conditional writes.

A log storage belongs to a `Storage` (`Storage.log`) and uses its connections and threads: what is open, lost or down is
that of the storage. The checks that every back end needs are here once; a back end implements the hooks that begin with
an underscore.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final

import msgspec

from inaho.config import StorageConfig
from inaho.errors import InvalidArguments, LogConflict, LogTrimmed, StateTooLarge

__all__ = ["LOG_NAME_BYTES_MAX", "OFFSET_MAX", "LogBounds", "LogRecord", "LogStorage", "log_conflict_of"]

OFFSET_MAX: Final = (1 << 62) - 1
LOG_NAME_BYTES_MAX: Final = 1000


class LogBounds(msgspec.Struct, frozen=True):
    """The bounds of one log.

    Attributes:
        first: offset of the first record that is left; `end` when none is.
        end: offset after the last record; 0 for a log that never had one. It never falls.
        epoch: newest epoch that has opened the log; 0 when none has.
        size_bytes: bytes of the records that are left; a back end may count whole batches.
    """

    first: int
    end: int
    epoch: int
    size_bytes: int


class LogRecord(msgspec.Struct, frozen=True, gc=False):
    """One record.

    Attributes:
        offset: its place in the log.
        data: as appended.
    """

    offset: int
    data: bytes


def log_conflict_of(log: str, bounds: LogBounds, *, epoch: int, offset: int | None) -> LogConflict | None:
    """The rule of a conditional write to a log, in one place for all back ends.

    Args:
        log: for the error.
        bounds: of the log now.
        epoch: of the writer.
        offset: at which its append begins; None for a trim.

    Returns:
        The error to raise, or None if the write may commit.
    """
    if epoch != bounds.epoch:
        # A higher epoch that has not opened the log is refused too: its reads would not be the newest.
        reason = f"the writer of log {log!r} has epoch {epoch}, and epoch {bounds.epoch} has opened it"
    elif offset is not None and offset != bounds.end:
        reason = f"an append to log {log!r} begins at offset {offset}, and the log ends at {bounds.end}"
    else:
        return None
    return LogConflict(reason, end=bounds.end, epoch=bounds.epoch)


class LogStorage(ABC):
    """Durable logs by name, with conditional appends.

    What every back end guarantees, and `inaho.testing.log_storage_conformance` checks:

    - `open_log` sets the epoch if it is higher than or equal to the present one, otherwise it raises `LogConflict`.
      After it no append or trim with a lower epoch commits, also one that is on its way.
    - An append commits as a whole or not at all, and only if `epoch` is the epoch of the log and `offset` is its end.
      Otherwise it raises `LogConflict` and changes nothing.
    - An append that returned is durable in the sense of the storage, and every later read and `bounds` sees it.
    - An append that was cancelled, or that raised with `maybe_executed`, may or may not have committed. Open the log
      again before the next append: its end says which.
    - Records are read in order and without gaps. Trimmed offsets are never used again, also after the whole log was
      trimmed or the storage was restarted.
    - A trim may keep some records before `upto`, as many as were appended together; reads do not return them.

    Attributes:
        config: bounds of the storage.
        appends: appends acknowledged since the storage was made; a plain number for metrics, like the following.
        records: records in them.
        reads: reads answered.
    """

    def __init__(self, config: StorageConfig) -> None:
        self.config = config
        self.appends = 0
        self.records = 0
        self.reads = 0

    async def open_log(self, log: str, *, epoch: int) -> LogBounds:
        """Takes the log over for a keeper with that epoch; makes the log if there is none.

        Raises:
            LogConflict: a newer epoch has opened it.
            StorageFailed, StorageLost, InvalidArguments: as `Storage.save`.
        """
        self._check(log, epoch)
        return await self._open_log(log, epoch)

    async def bounds(self, log: str) -> LogBounds:
        """The bounds now; all 0 for a log that does not exist."""
        self._check(log, 0)
        return await self._bounds(log)

    async def append(self, log: str, records: Sequence[bytes], *, offset: int, epoch: int) -> None:
        """Appends records, which get the offsets `offset`, `offset + 1` and so on.

        Args:
            log: opened with `epoch`.
            records: at least one; each and together at most `config.data_bytes_max` bytes.
            offset: the end of the log.
            epoch: of the keeper.

        Raises:
            LogConflict: epoch or offset does not allow it. Nothing changed.
            StateTooLarge: too many bytes. Nothing changed.
            StorageFailed: the back end failed; `maybe_executed` tells whether the append may have committed.
            StorageLost: the storage has lost acknowledged data. Nothing changed.
            InvalidArguments: no record, or a name or number out of range. Nothing changed.
        """
        self._check(log, epoch)
        if not records:
            raise InvalidArguments(f"an append to log {log!r} without a record")
        if not 0 <= offset <= OFFSET_MAX - len(records):
            raise InvalidArguments(f"offset {offset} of log {log!r} is out of range")
        size = sum(map(len, records))
        if size > self.config.data_bytes_max:
            raise StateTooLarge(
                f"an append of {size} bytes to log {log!r} exceeds storage.data_bytes_max "
                f"({self.config.data_bytes_max})"
            )
        await self._append(log, records, offset=offset, epoch=epoch)
        self.appends += 1
        self.records += len(records)

    async def read(self, log: str, offset: int, *, records_max: int, bytes_max: int = 1 << 20) -> list[LogRecord]:
        """Records from `offset` on, in order.

        Args:
            log: its name.
            offset: of the first one, at most the end of the log.
            records_max: at most so many, at least 1.
            bytes_max: no further record once so many bytes are read. One record is always returned.

        Returns:
            The records; none at the end of the log.

        Raises:
            LogTrimmed: the record at `offset` is no longer in the log.
            StorageFailed, StorageLost, InvalidArguments: as `Storage.load`.
        """
        self._check(log, 0)
        if offset < 0 or records_max < 1 or bytes_max < 1:
            raise InvalidArguments(f"a read of log {log!r} from offset {offset}, {records_max} records")
        found = await self._read(log, offset, records_max=records_max, bytes_max=bytes_max)
        if found and found[0].offset != offset:
            raise LogTrimmed(f"log {log!r} begins at offset {found[0].offset}, after {offset}")
        self.reads += 1
        return found

    async def trim(self, log: str, upto: int, *, epoch: int) -> None:
        """Removes the records before offset `upto`, which is at most the end of the log; it may be repeated.

        Raises:
            LogConflict: the epoch does not allow it. Nothing changed.
            StorageFailed, StorageLost, InvalidArguments: as `append`.
        """
        self._check(log, epoch)
        if upto < 0:
            raise InvalidArguments(f"a trim of log {log!r} up to offset {upto}")
        await self._trim(log, upto, epoch=epoch)

    async def remove(self, log: str, *, epoch: int) -> None:
        """Removes all records. The end and the epoch stay, so that no offset is used twice. Errors as `trim`."""
        bounds = await self.open_log(log, epoch=epoch)
        await self.trim(log, bounds.end, epoch=epoch)

    def _check(self, log: str, epoch: int) -> None:
        try:
            size = len(log.encode())
        except UnicodeEncodeError as error:
            raise InvalidArguments(f"the name of log {log!r} must be valid Unicode") from error
        if not 0 < size <= LOG_NAME_BYTES_MAX or "\0" in log:
            raise InvalidArguments(f"the name of a log has 1 to {LOG_NAME_BYTES_MAX} bytes and no NUL, not {log!r}")
        if not 0 <= epoch <= (1 << 63) - 1:
            raise InvalidArguments(f"epoch {epoch} of log {log!r} is not in 0..2**63-1")

    @abstractmethod
    async def _open_log(self, log: str, epoch: int) -> LogBounds:
        """`open_log`, arguments checked."""

    @abstractmethod
    async def _bounds(self, log: str) -> LogBounds:
        """`bounds`, arguments checked."""

    @abstractmethod
    async def _append(self, log: str, records: Sequence[bytes], *, offset: int, epoch: int) -> None:
        """`append`, arguments checked. Atomic; see `log_conflict_of` for the rule."""

    @abstractmethod
    async def _read(self, log: str, offset: int, *, records_max: int, bytes_max: int) -> list[LogRecord]:
        """`read`, arguments checked. If the record at `offset` was trimmed: the first that is left, or `LogTrimmed`."""

    @abstractmethod
    async def _trim(self, log: str, upto: int, *, epoch: int) -> None:
        """`trim`, arguments checked."""
