"""The logs of `PostgresStorage`: one row with the bounds of each log, and one row for each append.

Appends to different logs that wait together are one statement, and so one round trip and one flush, as saves are. Each
locks the row of its log, and commits only if epoch and end are what its keeper thinks. `open_log` needs the same lock:
it waits for an append that runs at that moment, and refuses those that come later with a lower epoch.

What "durable" means is that of `storage`. The tables are those of the states' table with `_log` and `_log_chunk` behind
its name. The first operation makes them, if the user may; else they need to be there, with SELECT, INSERT, UPDATE and
DELETE on both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from inaho.config import StorageConfig
from inaho.storage.instances import Instances
from inaho.storage.log.base import OFFSET_MAX, LogBounds, LogRecord, LogStorage, log_conflict_of, open_conflict_of
from inaho.storage.log.chunks import ReadPortion, check_offset, encode_chunk
from inaho.storage.log.openings import Openings, opened_again
from inaho.storage.postgres.log_statements import LogFound, LogRequest
from inaho.storage.server_queue import Lanes

__all__ = ["PostgresLog"]


class PostgresLog(LogStorage):
    """Logs in the database of a `PostgresStorage`.

    Args:
        config: bounds.
        check_usable: see `LogStorage`.
        lanes: returns the queue of the open storage.
        instances: the marks that the storage has seen.
    """

    def __init__(
        self,
        config: StorageConfig,
        check_usable: Callable[[str], None],
        *,
        lanes: Callable[[], Lanes[Any, Any]],
        instances: Instances,
    ) -> None:
        super().__init__(config, check_usable)
        self._lanes = lanes
        self._instances = instances
        self._openings = Openings()

    async def _open_log(self, log: str, epoch: int) -> LogBounds:
        await self._lanes().settled(_key(log))  # an append that was cancelled: its outcome decides the end
        number, opener = self._openings.next(), self._openings.opener
        request = LogRequest(log, "open", epoch, opener=opener, opening=number, seen=self._instances.seen())
        found = await self._ask(request)
        if not found.done:
            raise open_conflict_of(log, found.bounds, epoch=epoch) or opened_again(log, found.bounds)
        self._openings.opened(log, number)
        return found.bounds

    async def _bounds(self, log: str) -> LogBounds:
        return (await self._ask(LogRequest(log, "read", seen=self._instances.seen()))).bounds

    async def _append(self, log: str, records: Sequence[bytes], *, offset: int, epoch: int) -> None:
        chunk = encode_chunk(records)
        request = LogRequest(
            log,
            "append",
            epoch,
            offset,
            len(records),
            chunk=chunk,
            opener=self._openings.opener,
            opening=self._openings.of(log),
            seen=self._instances.seen(),
        )
        found = await self._ask(request)
        if not found.done:
            raise log_conflict_of(log, found.bounds, epoch=epoch, offset=offset) or opened_again(log, found.bounds)

    async def _read(self, log: str, offset: int, *, records_max: int, bytes_max: int) -> list[LogRecord]:
        count, size = min(records_max, OFFSET_MAX), min(bytes_max, OFFSET_MAX)
        found = await self._ask(LogRequest(log, "read", 0, offset, count, size, seen=self._instances.seen()))
        check_offset(log, found.bounds, offset)
        portion = ReadPortion(log, offset, records_max=records_max, bytes_max=bytes_max)
        for first, chunk in found.chunks:
            portion.add_encoded(first, chunk)
            if portion.full:
                break
        return portion.records

    async def _trim(self, log: str, upto: int, *, epoch: int) -> None:
        found = await self._ask(LogRequest(log, "trim", epoch, upto, seen=self._instances.seen()))
        if not found.done:
            raise log_conflict_of(log, found.bounds, epoch=epoch, offset=None) or opened_again(log, found.bounds)

    async def _ask(self, request: LogRequest) -> LogFound:
        key = None if request.operation == "read" else _key(request.about)
        found = await self._lanes().submit(key, request, len(request.chunk))
        assert isinstance(found, LogFound)
        # As for states: only what was acknowledged is certain to stay.
        rises = found.done and request.operation != "read"
        self._instances.check(request.seen, found.mark, identity=request.about, rises=rises)
        return found


def _key(log: str) -> tuple[str, str]:
    """For `Lanes.settled`: no identity of a grain is equal to it."""
    return ("log", log)
