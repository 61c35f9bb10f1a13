"""The logs of `MemoryStorage`: lists in a dictionary.

As there, an operation is done when it is called, without a thread, an await or a clock.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence

import msgspec

from inaho.config import StorageConfig
from inaho.storage.log.base import LogBounds, LogRecord, LogStorage, log_conflict_of, open_conflict_of
from inaho.storage.log.chunks import ReadPortion, check_offset

__all__ = ["MemoryLog", "MemoryLogRows"]

_NONE = LogBounds(0, 0, 0, 0)


class MemoryLogRows(msgspec.Struct):
    """One log.

    Attributes:
        bounds: of it.
        firsts: offset of the first record of each chunk.
        chunks: the records of each append.
    """

    bounds: LogBounds = _NONE
    firsts: list[int] = []
    chunks: list[tuple[bytes, ...]] = []


class MemoryLog(LogStorage):
    """Logs that last as long as the storage object.

    Args:
        config: bounds.
        check_usable: see `LogStorage`.
        changes: called before each change; it counts as a commit of the storage.
    """

    def __init__(
        self, config: StorageConfig, check_usable: Callable[[str], None], changes: Callable[[str], None]
    ) -> None:
        super().__init__(config, check_usable)
        self._changes = changes
        self._logs: dict[str, MemoryLogRows] = {}

    def snapshot(self) -> Mapping[str, MemoryLogRows]:
        """A copy of all logs; for `restore`."""
        return {name: _copy(rows) for name, rows in self._logs.items()}

    def restore(self, snapshot: Mapping[str, MemoryLogRows]) -> None:
        """Goes back to `snapshot`."""
        self._logs = {name: _copy(rows) for name, rows in snapshot.items()}

    async def _open_log(self, log: str, epoch: int) -> LogBounds:
        rows = self._logs.get(log) or MemoryLogRows()
        conflict = open_conflict_of(log, rows.bounds, epoch=epoch)
        if conflict is not None:
            raise conflict
        self._changes(log)
        rows.bounds = msgspec.structs.replace(rows.bounds, epoch=epoch)
        self._logs[log] = rows
        return rows.bounds

    async def _bounds(self, log: str) -> LogBounds:
        return self._rows(log).bounds

    async def _append(self, log: str, records: Sequence[bytes], *, offset: int, epoch: int) -> None:
        rows = self._writable(log, epoch, offset)
        rows.firsts.append(offset)
        rows.chunks.append(tuple(records))
        size = rows.bounds.size_bytes + sum(map(len, records))
        rows.bounds = msgspec.structs.replace(rows.bounds, end=offset + len(records), size_bytes=size)

    async def _read(self, log: str, offset: int, *, records_max: int, bytes_max: int) -> list[LogRecord]:
        rows = self._rows(log)
        check_offset(log, rows.bounds, offset)
        portion = ReadPortion(log, offset, records_max=records_max, bytes_max=bytes_max)
        for at in range(max(0, bisect_right(rows.firsts, offset) - 1), len(rows.chunks)):
            if not portion.add(rows.firsts[at], rows.chunks[at]):
                break
        return portion.records

    async def _trim(self, log: str, upto: int, *, epoch: int) -> None:
        rows = self._writable(log, epoch, None)
        bounds = rows.bounds
        first = max(bounds.first, min(upto, bounds.end))
        # All chunks but the one in which `first` is, and those after it; none if nothing is left.
        gone = len(rows.chunks) if first == bounds.end else max(0, bisect_right(rows.firsts, first) - 1)
        size = bounds.size_bytes - sum(sum(map(len, chunk)) for chunk in rows.chunks[:gone])
        del rows.firsts[:gone], rows.chunks[:gone]
        rows.bounds = msgspec.structs.replace(bounds, first=first, size_bytes=size)

    def _rows(self, log: str) -> MemoryLogRows:
        return self._logs.get(log) or MemoryLogRows()

    def _writable(self, log: str, epoch: int, offset: int | None) -> MemoryLogRows:
        rows = self._rows(log)
        conflict = log_conflict_of(log, rows.bounds, epoch=epoch, offset=offset)
        if conflict is not None:
            raise conflict
        self._changes(log)
        return self._logs.setdefault(log, rows)


def _copy(rows: MemoryLogRows) -> MemoryLogRows:
    return MemoryLogRows(rows.bounds, list(rows.firsts), list(rows.chunks))
