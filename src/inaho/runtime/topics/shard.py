"""The saved state of one shard of the registry, how it is read back, and how much of it fits into a call.

The number of shards is saved with it, because the shard of a topic depends on it.
"""

from __future__ import annotations

from typing import Final

from inaho.core.identity.hashing import identity_hash
from inaho.core.pubsub.definition_table import SavedDefinitions
from inaho.types import Struct
from inaho.wire.codec import decoder
from inaho.wire.stored import future_format

__all__ = ["FORMAT", "REGISTRY", "TopicShard", "decode_shard", "page_of", "shard_of"]

REGISTRY: Final = "inaho.topics"
"""Kind of the grains that keep the definitions."""

FORMAT: Final = 1
"""Version of the saved state that this release writes; it reads all lower ones."""

PAGE: Final = 500
"""Topics in one call or answer, at most."""

DEFINITION_BYTES_MAX: Final = 4096
"""Bytes of a definition with the longest names."""


class TopicShard(Struct):
    """State of one shard.

    Attributes:
        shards: how many there were when it was saved; the shard of a topic depends on it.
        definitions: of its topics.
        format: version of this format.
    """

    shards: int = 0
    definitions: SavedDefinitions = SavedDefinitions()
    format: int = FORMAT


class _Format(Struct):
    """The version of a saved shard, read before the rest of it."""

    format: int = FORMAT


_decode_format: Final = decoder(_Format)
_decode_shard: Final = decoder(TopicShard)


def decode_shard(data: bytes | memoryview) -> TopicShard:
    """A saved shard. Raises `SerializationFailed` for one of a later release, and what a decoder raises."""
    found = _decode_format(data).format
    if found > FORMAT:
        raise future_format("a shard of topics", found, FORMAT)
    shard: TopicShard = _decode_shard(data)
    return shard


def shard_of(topic: str, shards: int) -> str:
    """Key of the grain that keeps the definition of a topic."""
    return str(identity_hash(REGISTRY, topic) % shards)


def page_of(frame_bytes_max: int) -> int:
    """Topics in one call or answer, which must fit into a frame."""
    return max(1, min(PAGE, frame_bytes_max // 2 // DEFINITION_BYTES_MAX))
