"""`FaultyLog`: the logs of a `FaultyStorage`. Requests to them meet the same faults as those about states."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from inaho.errors import LogConflict
from inaho.storage.log import LogBounds, LogRecord, LogStorage
from inaho.testing.storage.fault_path import FaultyPath
from inaho.types import ClusterIdentity

__all__ = ["LOG_KIND", "FaultyLog"]

LOG_KIND: Final = "inaho.log"
"""Kind of the identity with which a fault of a log is observed; its key is the name of the log."""


class FaultyLog(LogStorage):
    """`inner` with faults on the way to it.

    Args:
        inner: has the records.
        path: draws the faults.
        check_usable: see `LogStorage`.
    """

    def __init__(self, inner: LogStorage, path: FaultyPath, check_usable: Callable[[str], None]) -> None:
        super().__init__(inner.config, check_usable)
        self._inner = inner
        self._path = path

    async def _open_log(self, log: str, epoch: int) -> LogBounds:
        return await self._path.write(
            _name(log), lambda: self._inner.open_log(log, epoch=epoch), LogConflict, once=False
        )

    async def _bounds(self, log: str) -> LogBounds:
        return await self._path.read(_name(log), lambda: self._inner.bounds(log))

    async def _append(self, log: str, records: Sequence[bytes], *, offset: int, epoch: int) -> None:
        await self._path.write(
            _name(log), lambda: self._inner.append(log, records, offset=offset, epoch=epoch), LogConflict
        )

    async def _read(self, log: str, offset: int, *, records_max: int, bytes_max: int) -> list[LogRecord]:
        return await self._path.read(
            _name(log), lambda: self._inner.read(log, offset, records_max=records_max, bytes_max=bytes_max)
        )

    async def _trim(self, log: str, upto: int, *, epoch: int) -> None:
        await self._path.write(_name(log), lambda: self._inner.trim(log, upto, epoch=epoch), LogConflict, once=False)


def _name(log: str) -> ClusterIdentity:
    return ClusterIdentity(LOG_KIND, log)
