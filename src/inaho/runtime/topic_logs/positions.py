"""Where a subscription or a replay begins, as programs write it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from inaho.core.pubsub.arguments import is_whole
from inaho.errors import InvalidTopic
from inaho.runtime.topic_logs.keeper_messages import EARLIEST, LATEST, StartAt

__all__ = ["Start", "check_start", "start_at"]

Start = str | datetime | Mapping[int, int]
"""`latest`: after the newest message. `earliest`: at the oldest that is left. A time with its time zone: at the first
message that was published then or later. Offsets by partition, each of the next message to get; a partition that is not
named begins at the oldest."""

OFFSET_MAX: Final = (1 << 62) - 1


def check_start(start: Start, partitions: int) -> None:
    """Raises `InvalidTopic` for a beginning that is not one, or that names a partition that the topic has not."""
    for partition in range(partitions):
        start_at(start, partition)
    for partition in start if isinstance(start, Mapping) else ():
        if not is_whole(partition, 0, partitions - 1):
            raise InvalidTopic(f"offsets to start at are of partitions 0 to {partitions - 1}, not {partition!r}")


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
        if not is_whole(offset, 0, OFFSET_MAX):
            raise InvalidTopic(f"an offset to start at is a whole number from 0, not {offset!r}")
        return StartAt("offset", offset=offset)
    if start not in (EARLIEST, LATEST):
        raise InvalidTopic(f"start must be 'latest', 'earliest', a datetime or offsets by partition, not {start!r}")
    return StartAt(start)
