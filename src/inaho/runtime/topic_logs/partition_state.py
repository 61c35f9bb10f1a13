"""The saved state of the keeper of a partition: positions of its subscriptions, and numbers of its publishers.

Messages are in the log and not here, so a save is small whatever the backlog is.
"""

from __future__ import annotations

from typing import Final

from inaho.core.pubsub.partition_log import LogMemory
from inaho.types import Struct
from inaho.wire.codec import decoder
from inaho.wire.features import FEATURES, TOPIC_LOGS
from inaho.wire.stored import future_format

__all__ = ["PartitionState", "SavedSubscription", "decode_partition"]


class SavedSubscription(Struct, frozen=True):
    """One subscription.

    Attributes:
        name: of the subscription.
        acknowledged: offset before which all messages are settled.
        above: ranges of settled offsets above it.
        failures: of messages that are not settled: offset, failed deliveries, and how many of these do not count for
            `attempts_max`, because others may have ended the consumer.
    """

    name: str
    acknowledged: int
    above: list[tuple[int, int]] = []  # noqa: RUF012  Structs copy mutable defaults
    failures: list[tuple[int, int, int]] = []  # noqa: RUF012


class PartitionState(Struct, frozen=True):
    """State of a keeper.

    Attributes:
        created_at: of the topic, Unix seconds. If a topic of that name was deleted and created again, it differs, and
            the log is that of the old one.
        memory: numbers of publishers.
        subscriptions: by name.
        subscribed: whether there has been a subscription, deleted ones included.
        format: of this state and of the log, see `wire.features.TOPIC_LOGS`.
    """

    created_at: float = 0.0
    memory: LogMemory = LogMemory()
    subscriptions: list[SavedSubscription] = []  # noqa: RUF012
    subscribed: bool = False
    format: int = FEATURES[TOPIC_LOGS]


class _Format(Struct):
    """The version of a saved state, read before the rest of it."""

    format: int = 1


_decode_format: Final = decoder(_Format)
_decode_partition: Final = decoder(PartitionState)


def decode_partition(data: bytes | memoryview) -> PartitionState:
    """A saved state. Raises `SerializationFailed` for one of a later release, and what a decoder raises."""
    found, known = _decode_format(data).format, FEATURES[TOPIC_LOGS]
    if found > known:
        raise future_format("a partition of a topic", found, known)
    partition: PartitionState = _decode_partition(data)
    return partition
