"""The logs of `SqliteStorage`: on the event loop. `log_requests` has what its threads do.

Appends, trims and openings go to the writing thread, where they share commits with saves. So an opening that follows a
cancelled append comes after it. Reads go to the reading thread, and wait for no commit: an append that was acknowledged
is committed, and the reader sees every commit.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from inaho.config import StorageConfig
from inaho.storage.instances import Mark
from inaho.storage.log.base import LogBounds, LogRecord, LogStorage
from inaho.storage.log.chunks import encode_chunk
from inaho.storage.sqlite.log_requests import (
    AppendChunk,
    LogChanged,
    LogFound,
    LogRequest,
    OpenLog,
    ReadBounds,
    ReadRecords,
    RecordsFound,
    TrimLog,
)

__all__ = ["LogThreads", "SqliteLog"]


class LogThreads(Protocol):
    """Carries requests to the threads of the storage."""

    def __call__(self, request: LogRequest, size: int) -> Awaitable[LogFound]:
        """Runs a request that takes `size` bytes in the queue; raises what it found to be wrong."""
        ...


class SqliteLog(LogStorage):
    """Logs in the file of a `SqliteStorage`.

    Args:
        config: bounds.
        check_usable: see `LogStorage`.
        seen: the mark of the storage, to be taken before a request.
        threads: carries requests.
    """

    def __init__(
        self,
        config: StorageConfig,
        check_usable: Callable[[str], None],
        seen: Callable[[], Mark | None],
        threads: LogThreads,
    ) -> None:
        super().__init__(config, check_usable)
        self._seen = seen
        self._threads = threads

    async def _open_log(self, log: str, epoch: int) -> LogBounds:
        found = await self._threads(OpenLog(log=log, seen=self._seen(), epoch=epoch), 0)
        assert isinstance(found, LogChanged)
        assert found.bounds is not None
        return found.bounds

    async def _bounds(self, log: str) -> LogBounds:
        found = await self._threads(ReadBounds(log=log, seen=self._seen()), 0)
        assert isinstance(found, LogBounds)
        return found

    async def _append(self, log: str, records: Sequence[bytes], *, offset: int, epoch: int) -> None:
        value = encode_chunk(records)
        request = AppendChunk(
            log=log,
            seen=self._seen(),
            offset=offset,
            epoch=epoch,
            records=len(records),
            size_bytes=sum(map(len, records)),
            value=value,
        )
        await self._threads(request, len(value))

    async def _read(self, log: str, offset: int, *, records_max: int, bytes_max: int) -> list[LogRecord]:
        request = ReadRecords(log=log, seen=self._seen(), offset=offset, records_max=records_max, bytes_max=bytes_max)
        found = await self._threads(request, 0)
        assert isinstance(found, RecordsFound)
        return found.records

    async def _trim(self, log: str, upto: int, *, epoch: int) -> None:
        unfinished = True
        while unfinished:
            found = await self._threads(TrimLog(log=log, seen=self._seen(), upto=upto, epoch=epoch), 0)
            unfinished = isinstance(found, LogChanged) and found.unfinished
