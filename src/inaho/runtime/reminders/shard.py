"""The saved state of a keeper: the reminders of one shard, and how they are read back.

The number of shards is saved with them, because the shard of a reminder depends on it.
"""

from __future__ import annotations

from typing import Final

from inaho.core.activation.reminders import ReminderRecord
from inaho.core.identity.hashing import identity_hash
from inaho.types import Struct
from inaho.wire.codec import decoder
from inaho.wire.features import FEATURES, REMINDERS
from inaho.wire.stored import future_format

__all__ = ["KEEPER", "ReminderShard", "decode_shard", "shard_of"]

KEEPER: Final = "inaho.reminders"
"""Kind of the keepers."""


class ReminderShard(Struct):
    """State of a keeper.

    Attributes:
        shards: how many there were when it was saved; a reminder's shard depends on it.
        records: the reminders.
        format: of the records, see `wire.features.REMINDERS`; 1 if version 0.1 saved it, which gave no format.
    """

    shards: int = 0
    records: list[ReminderRecord] = []  # noqa: RUF012  Structs copy mutable defaults
    format: int = 1


class _Format(Struct):
    """The version of a saved shard, read before the rest of it."""

    format: int = 1


_decode_format: Final = decoder(_Format)
_decode_shard: Final = decoder(ReminderShard)


def decode_shard(data: bytes | memoryview) -> ReminderShard:
    """A saved shard. Raises `SerializationFailed` for one of a later release, and what a decoder raises."""
    found, known = _decode_format(data).format, FEATURES[REMINDERS]
    if found > known:
        raise future_format("a shard of reminders", found, known)
    shard: ReminderShard = _decode_shard(data)
    return shard


def shard_of(kind: str, key: str, shards: int) -> str:
    """Key of the keeper that stores the reminders of a grain."""
    return str(identity_hash(kind, key) % shards)
