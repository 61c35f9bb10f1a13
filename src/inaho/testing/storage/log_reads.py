"""What the parts of the log-storage conformance suite share: reading a log, and checks of answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from inaho.errors import InahoError
from inaho.storage.log import LogRecord, LogStorage

__all__ = ["all_of", "all_raise", "consecutive"]


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


async def all_raise(error: type[InahoError], match: str | None, *operations: Callable[[], Awaitable[Any]]) -> list[Any]:
    """Each of the operations must raise such an error; returns the errors."""
    raised: list[Any] = []
    for operation in operations:
        with pytest.raises(error, match=match) as caught:
            await operation()
        raised.append(caught.value)
    return raised
