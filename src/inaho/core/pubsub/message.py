"""`Message`: what a subscriber gets."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

import msgspec

__all__ = ["Message", "Receipt"]

T = TypeVar("T")


class Receipt(Protocol):
    """Takes the acknowledgement of one delivery of a message at least once."""

    async def ack(self) -> None:
        """See `Message.ack`."""
        ...

    async def retry(self, after_s: float | None, reason: str) -> None:
        """See `Message.retry`."""
        ...

    async def extend(self, seconds: float) -> None:
        """See `Message.extend`."""
        ...


class Message(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """One message of a topic, as a subscriber gets it.

    Subscribers of one process may share it: its value is frozen, or each has a copy. It is not tracked by the garbage
    collector (`gc=False`), which would look at each message of a full window again and again. Nothing that it refers to
    refers back to it: a receipt knows its delivery, and not the message.

    Attributes:
        value: what was published.
        key: given at `publish`; empty for none.
        sequence: at most once: counts the messages of one publisher in the topic, from 1. At least once: offset in the
            partition, from 0.
        published_at: Unix seconds at the publisher.
        partition: at least once: of the log; otherwise 0.
        attempt: at least once: 1 for the first delivery to this subscription.
        missed: messages of the topic that are known to be lost directly before this one, for this subscriber.
        publisher: node id of the publisher's process. At most once, a client publishes through a member: the node id
            and the sequence are those of that member.
    """

    value: T
    key: str
    sequence: int
    published_at: float
    partition: int = 0
    attempt: int = 1
    missed: int = 0
    publisher: str = ""
    receipt: Receipt | None = None

    async def ack(self) -> None:
        """Confirms that the message is handled; it is not delivered to this subscription again.

        At most once it has no effect. The confirmation is saved a moment later, together with others
        (`pubsub.positions_save_s`): a crash before that repeats the delivery.

        Raises:
            SubscriptionLost: the delivery is over: the time to acknowledge has passed, or the subscription has ended.
                The message is delivered again.
        """
        if self.receipt is not None:
            await self.receipt.ack()

    async def retry(self, after_s: float | None = None, reason: str = "") -> None:
        """Gives the message back: it is delivered again, and holds back later messages of its key until then.

        Args:
            after_s: seconds until the next delivery; None takes the pause of the topic, which grows.
            reason: for events and for the dead letter, at most 1,000 characters of it.

        Raises:
            InvalidArguments: an argument is not valid.
            SubscriptionLost: as `ack`.
        """
        if self.receipt is not None:
            await self.receipt.retry(after_s, reason)

    async def extend(self, seconds: float) -> None:
        """Prolongs the time to acknowledge to `seconds` from now.

        The message that a loop handles is extended by itself.

        Raises:
            InvalidArguments: `seconds` is not above 0, or above 86,400.
            SubscriptionLost: as `ack`.
        """
        if self.receipt is not None:
            await self.receipt.extend(seconds)
