"""Where a subscription or a replay begins, as programs write it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from inaho.errors import InvalidTopic
from inaho.runtime.topic_logs.keeper_messages import EARLIEST, LATEST, StartAt

__all__ = ["Start", "start_at"]

Start = str | datetime | Mapping[int, int]
"""`latest`: after the newest message. `earliest`: at the oldest that is left. A time with its time zone: at the first
message that was published then or later. Offsets by partition, each of the next message to get; a partition that is not
named begins at the oldest."""

OFFSET_MAX: Final = (1 << 62) - 1


def start_at(start: Start, partition: int) -> StartAt:
    """The beginning in one partition. Raises `InvalidTopic` for a beginning that is not one."""
    if isinstance(start, datetime):
        if start.tzinfo is None:
            raise InvalidTopic("a time to start at needs a time zone: datetime(…, tzinfo=UTC)")
        return StartAt("time", time=start.timestamp())
    if isinstance(start, Mapping):
        offset = start.get(partition)
        if offset is None:
            return StartAt(EARLIEST)
        if type(offset) is not int or not 0 <= offset <= OFFSET_MAX:
            raise InvalidTopic(f"an offset to start at is a whole number from 0, not {offset!r}")
        return StartAt("offset", offset=offset)
    if start not in (EARLIEST, LATEST):
        raise InvalidTopic(f"start must be 'latest', 'earliest', a datetime or offsets by partition, not {start!r}")
    return StartAt(start)
