"""What the parts of the log-storage conformance suite share: reading a log, and checking what was read."""

from __future__ import annotations

from collections.abc import Sequence

from inaho.storage.log import LogRecord, LogStorage

__all__ = ["all_of", "consecutive"]


async def all_of(logs: LogStorage, log: str, offset: int = 0, *, records_max: int = 50) -> list[bytes]:
    """All records from `offset` on, read in portions."""
    found: list[bytes] = []
    while portion := await logs.read(log, offset + len(found), records_max=records_max):
        found += consecutive(portion, offset + len(found))
    return found


def consecutive(records: Sequence[LogRecord], offset: int) -> list[bytes]:
    """The data of records that must begin at `offset` and have no gap."""
    expected = list(range(offset, offset + len(records)))
    assert [record.offset for record in records] == expected, f"not without a gap from {offset}: {records!r:.500}"
    return [record.data for record in records]
