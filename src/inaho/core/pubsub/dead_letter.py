"""`DeadLetter`: the message of a dead-letter topic."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["DeadLetter"]


class DeadLetter(msgspec.Struct, frozen=True):
    """A message that a subscription has given up, with what is known of it. Its key is the key of the message.

    Attributes:
        topic: in which it was published.
        subscription: that has given it up. Other subscriptions may have handled it.
        partition, offset: where it was.
        published_at: Unix seconds at its publisher.
        attempts: deliveries.
        reason: of the last failure.
        value: what was published, as plain data.
    """

    topic: str
    subscription: str
    partition: int
    offset: int
    published_at: float
    attempts: int
    reason: str
    value: Any
