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
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

import msgspec

from inaho.config import StorageConfig
from inaho.errors import InvalidArguments, LogConflict, LogTrimmed, StateTooLarge, StorageFailed, StorageLost

__all__ = [
    "APPEND_RECORDS_MAX",
    "LOG_NAME_BYTES_MAX",
    "OFFSET_MAX",
    "LogBounds",
    "LogRecord",
    "LogStorage",
    "log_conflict_of",
    "open_conflict_of",
]

T = TypeVar("T")

OFFSET_MAX: Final = (1 << 62) - 1
LOG_NAME_BYTES_MAX: Final = 1000
APPEND_RECORDS_MAX: Final = 65_536


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
        # A higher epoch that has not opened the log is refused too: it does not know where the log ends.
        reason = f"the writer of log {log!r} has epoch {epoch}, and epoch {bounds.epoch} has opened it"
    elif offset is not None and offset != bounds.end:
        reason = f"an append to log {log!r} begins at offset {offset}, and the log ends at {bounds.end}"
    else:
        return None
    return LogConflict(reason, identity=log, end=bounds.end, epoch=bounds.epoch)


def open_conflict_of(log: str, bounds: LogBounds, *, epoch: int) -> LogConflict | None:
    """The rule of `open_log`, as `log_conflict_of`."""
    if epoch >= bounds.epoch:
        return None
    reason = f"a keeper with epoch {epoch} opens log {log!r}, and epoch {bounds.epoch} has opened it"
    return LogConflict(reason, identity=log, end=bounds.end, epoch=bounds.epoch)


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
    - A trim may keep the bytes of some records before `upto`, as many as were appended together; reads do not return
      them, and `first` is exact.
    - If the storage keeps marks (`Storage.instances`), whatever finds a loss of states refuses its logs too, and the
      other way round, until `Storage.accept`.

    Args:
        config: bounds of the storage.
        check_usable: raises the error of a storage that is closed, or that has lost data, for operations on the log
            with that name; None if a back end of your own checks it in its hooks.

    Attributes:
        config: as given.
        appends: appends acknowledged since the storage was made; a plain number for metrics, like the following.
        records: records in them.
        reads: reads answered.
        conflicts: operations refused with `LogConflict`.
        failures: operations that ended in `StorageFailed` or `StorageLost`.
    """

    def __init__(self, config: StorageConfig, check_usable: Callable[[str], None] | None = None) -> None:
        self.config = config
        self.appends = 0
        self.records = 0
        self.reads = 0
        self.conflicts = 0
        self.failures = 0
        self._check_usable = check_usable

    async def open_log(self, log: str, *, epoch: int) -> LogBounds:
        """Takes the log over for a keeper with that epoch, 1 to 2**63-1; makes the log if there is none.

        Raises:
            LogConflict: a newer epoch has opened it.
            StorageFailed, StorageLost, InvalidArguments: as `Storage.save`.
        """
        self._check(log, epoch)
        return await self._counted(self._open_log(log, epoch))

    async def bounds(self, log: str) -> LogBounds:
        """The bounds now; all 0 for a log that does not exist."""
        self._check(log)
        return await self._counted(self._bounds(log))

    async def append(self, log: str, records: Sequence[bytes], *, offset: int, epoch: int) -> None:
        """Appends records, which get the offsets `offset`, `offset + 1` and so on.

        Args:
            log: opened with `epoch`.
            records: 1 to `APPEND_RECORDS_MAX`; together at most `config.data_bytes_max` bytes. A record may be empty.
            offset: the end of the log.
            epoch: of the keeper.

        Raises:
            LogConflict: epoch or offset does not allow it. Nothing changed.
            StateTooLarge: too many bytes. Nothing changed.
            StorageFailed: the back end failed; `maybe_executed` tells whether the append may have committed.
            StorageLost: the storage has lost acknowledged data. Nothing changed.
            InvalidArguments: no record, too many, one that is not bytes, or a name or number out of range. Nothing
                changed.
        """
        self._check(log, epoch)
        if not 0 < len(records) <= APPEND_RECORDS_MAX:
            raise InvalidArguments(
                f"an append to log {log!r} has 1 to {APPEND_RECORDS_MAX} records, not {len(records)}"
            )
        for record in records:
            if type(record) is not bytes:  # a bytearray could change while it waits for its commit
                raise InvalidArguments(f"a record of log {log!r} must be bytes, not {type(record).__name__}")
        if not 0 <= offset <= OFFSET_MAX - len(records):
            raise InvalidArguments(f"offset {offset} of log {log!r} is out of range")
        size = sum(map(len, records))
        if size > self.config.data_bytes_max:
            raise StateTooLarge(
                f"an append of {size} bytes to log {log!r} exceeds storage.data_bytes_max "
                f"({self.config.data_bytes_max})",
                identity=log,
            )
        await self._counted(self._append(log, records, offset=offset, epoch=epoch))
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
            InvalidArguments: a number out of range, or an offset after the end of the log.
            StorageFailed, StorageLost: as `Storage.load`.
        """
        self._check(log)
        if not 0 <= offset <= OFFSET_MAX or records_max < 1 or bytes_max < 1:
            raise InvalidArguments(
                f"a read of log {log!r} from offset {offset}, {records_max} records, {bytes_max} bytes"
            )
        found = await self._counted(self._read(log, offset, records_max=records_max, bytes_max=bytes_max))
        if found and found[0].offset != offset:
            raise LogTrimmed(f"log {log!r} begins at offset {found[0].offset}, after {offset}", identity=log)
        self.reads += 1
        return found

    async def trim(self, log: str, upto: int, *, epoch: int) -> None:
        """Removes the records before offset `upto`; it may be repeated.

        An `upto` after the end removes what is there now; records that are appended later stay.

        Raises:
            LogConflict: the epoch does not allow it. Nothing changed.
            StorageFailed, StorageLost, InvalidArguments: as `append`.
        """
        self._check(log, epoch)
        if not 0 <= upto <= OFFSET_MAX:
            raise InvalidArguments(f"a trim of log {log!r} up to offset {upto}")
        await self._counted(self._trim(log, upto, epoch=epoch))

    async def remove(self, log: str, *, epoch: int) -> None:
        """Removes all records. The end and the epoch stay, so that no offset is used twice. Errors as `trim`."""
        bounds = await self.open_log(log, epoch=epoch)
        await self.trim(log, bounds.end, epoch=epoch)

    def _check(self, log: str, epoch: int | None = None) -> None:
        try:
            size = len(log.encode())
        except UnicodeEncodeError as error:
            raise InvalidArguments(f"the name of log {log!r} must be valid Unicode") from error
        if not 0 < size <= LOG_NAME_BYTES_MAX or "\0" in log:
            raise InvalidArguments(f"the name of a log has 1 to {LOG_NAME_BYTES_MAX} bytes and no NUL, not {log!r}")
        if epoch is not None and not 1 <= epoch <= (1 << 63) - 1:
            raise InvalidArguments(f"epoch {epoch} of log {log!r} is not in 1..2**63-1")
        if self._check_usable is not None:
            try:
                self._check_usable(log)
            except (StorageFailed, StorageLost):
                self.failures += 1
                raise

    async def _counted(self, work: Awaitable[T]) -> T:
        try:
            return await work
        except LogConflict:
            self.conflicts += 1
            raise
        except (StorageFailed, StorageLost):
            self.failures += 1
            raise

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
        """`read`, numbers checked; see `chunks.check_offset` for offsets that are not in the log."""

    @abstractmethod
    async def _trim(self, log: str, upto: int, *, epoch: int) -> None:
        """`trim`, arguments checked."""
