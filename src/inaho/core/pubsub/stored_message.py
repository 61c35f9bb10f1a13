"""One record of the log of a topic: what is stored of a message."""

from __future__ import annotations

import msgspec

__all__ = ["LoggedMessage", "StoredMessage"]


class StoredMessage(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The content of a record, a msgpack array of these fields.

    Attributes:
        key: empty for none.
        published_at: Unix seconds at the publisher.
        publisher: node id of the publisher's process.
        number: of the batch, counted by publisher and partition.
        id: for deduplication; empty for none.
        value: encoded as the topic's type.
    """

    key: str
    published_at: float
    publisher: str
    number: int
    id: str
    value: bytes


class LoggedMessage(msgspec.Struct, frozen=True, gc=False):
    """A stored message with its place.

    Attributes:
        offset: in the partition.
        size_bytes: of the record.
        stored: its content.
    """

    offset: int
    size_bytes: int
    stored: StoredMessage
