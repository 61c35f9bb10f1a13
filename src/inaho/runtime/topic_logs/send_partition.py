"""What is stored of one partition of durable sends: its log, and a saved state that says how to read it.

The state has the number of partitions, because the partition of a send depends on it, and the format of the log. It is
saved once, before the first send.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from inaho.core.identity.hashing import identity_hash
from inaho.core.pubsub.send_records import SendRecord
from inaho.types import Struct
from inaho.wire.codec import decoder
from inaho.wire.features import FEATURES, SENDS
from inaho.wire.stored import future_format

__all__ = ["KEEPER", "SendPartition", "decode_partition", "decode_record", "log_of", "partition_of"]

KEEPER: Final = "inaho.sends"
"""Kind of the keepers."""


class SendPartition(Struct):
    """State of a keeper.

    Attributes:
        partitions: how many there are; 0 before the first send.
        format: of the log, see `wire.features.SENDS`.
    """

    partitions: int = 0
    format: int = FEATURES[SENDS]


class _Format(Struct):
    """The version of a log, read before the rest of the state."""

    format: int = 1


_decode_format: Final = decoder(_Format)
_decode_partition: Final = decoder(SendPartition)

decode_record: Final[Callable[[bytes | memoryview], SendRecord]] = decoder(SendRecord)
"""One record of a log."""


def decode_partition(data: bytes | memoryview) -> SendPartition:
    """A saved state. Raises `SerializationFailed` for one of a later release, and what a decoder raises."""
    found, known = _decode_format(data).format, FEATURES[SENDS]
    if found > known:
        raise future_format("a log of durable sends", found, known)
    partition: SendPartition = _decode_partition(data)
    return partition


def partition_of(kind: str, key: str, partitions: int) -> str:
    """Key of the keeper that stores the sends to a grain."""
    return str(identity_hash(kind, key) % partitions)


def log_of(partition: str) -> str:
    """Name of the log of a partition."""
    return f"{KEEPER}/{partition}"
