"""Reads the log of one partition for its keeper. What was just appended is served from memory.

A subscriber that keeps up asks for what was appended a moment ago, so it costs no read of the storage. What is kept is
bounded in bytes, and only while somebody reads at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from inaho.core.pubsub.stored_message import LoggedMessage, StoredMessage
from inaho.errors import LogTrimmed
from inaho.wire.codec import decoder

if TYPE_CHECKING:
    from inaho.storage.log import LogStorage

__all__ = ["PartitionRecords"]

FRESH_BYTES_MAX: Final = 4 << 20
"""Bytes of records that are kept after they were appended."""

READ_BYTES: Final = 1 << 20
"""Bytes of one read of the storage."""

_decode: Final[Callable[[bytes], StoredMessage]] = decoder(StoredMessage)


class PartitionRecords:
    """The records of one log.

    Args:
        log: the log storage, open.
        name: of the log.
        bounds: first offset and end of the log now.

    Attributes:
        readers: who reads new messages; without any nothing is kept.
    """

    def __init__(self, log: LogStorage, name: str, bounds: Callable[[], tuple[int, int]]) -> None:
        self.readers = 0
        self._log = log
        self._name = name
        self._bounds = bounds
        self._fresh: dict[int, LoggedMessage] = {}
        self._fresh_bytes = 0

    def appended(self, messages: list[LoggedMessage]) -> None:
        """Messages that are in the log now, the next ones."""
        if self.readers == 0:
            if self._fresh:
                self._fresh.clear()
                self._fresh_bytes = 0
            return
        fresh = self._fresh
        for message in messages:
            fresh[message.offset] = message
            self._fresh_bytes += message.size_bytes
        while self._fresh_bytes > FRESH_BYTES_MAX:
            oldest = next(iter(fresh))
            self._fresh_bytes -= fresh.pop(oldest).size_bytes

    def fresh(self, offset: int, count: int) -> list[LoggedMessage]:
        """Messages from `offset` on that are in memory; none if that one is not."""
        fresh = self._fresh
        found: list[LoggedMessage] = []
        for at in range(offset, offset + count):
            message = fresh.get(at)
            if message is None:
                break
            found.append(message)
        return found

    async def read(self, offset: int, count: int) -> list[LoggedMessage]:
        """Messages from `offset` on, from memory or the storage; those of one read. Raises as `LogStorage.read`."""
        found = self.fresh(offset, count)
        if found:
            return found
        _, end = self._bounds()
        if offset >= end:
            return []
        records = await self._log.read(self._name, offset, records_max=count, bytes_max=READ_BYTES)
        return [LoggedMessage(each.offset, len(each.data), _decode(each.data)) for each in records if each.offset < end]

    async def offset_at(self, time: float) -> int:
        """The first message published at that time or later, in Unix seconds; the end if there is none.

        Clocks of publishers differ, so it is exact up to their difference.
        """
        low, high = self._bounds()
        while low < high:
            middle = (low + high) // 2
            try:
                found = await self.read(middle, 1)
            except LogTrimmed:
                low = max(self._bounds()[0], middle + 1)
                continue
            if not found or found[0].stored.published_at >= time:
                high = middle
            else:
                low = middle + 1
        return low
