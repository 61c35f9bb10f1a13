"""Which partition a message of a topic at least once goes to."""

from __future__ import annotations

from xxhash import xxh3_64_intdigest

__all__ = ["partition_of_message"]


def partition_of_message(key: str, partitions: int) -> int:
    """The partition of a key. All nodes and releases must agree: the order of a key rests on it.

    Args:
        key: not empty.
        partitions: of the topic.
    """
    return xxh3_64_intdigest(key.encode("utf-8", "surrogatepass")) % partitions
