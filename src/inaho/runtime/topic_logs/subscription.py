"""`Subscription`: what `Topic.subscribe` returns, for both ways of delivery.

It is used with `async with`, which begins and ends it, and `async for`, which takes the messages. The two deliveries
have a class each; what a program sees is here once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar, cast

import msgspec

from inaho.core.pubsub.arguments import is_whole
from inaho.core.pubsub.message import Message
from inaho.errors import InvalidTopic

__all__ = ["SLOW", "SubscribeOptions", "Subscription", "check_subscription"]

T = TypeVar("T")

SLOW: Final = ("drop_oldest", "drop_new", "disconnect")
"""What happens to the messages of a subscriber that does not take them in time."""

NAME_CHARS_MAX: Final = 200


class SubscribeOptions(msgspec.Struct, frozen=True):
    """How one subscriber takes messages; see `Topic.subscribe`.

    Attributes:
        name: of the subscription; empty for none.
        window: messages that may wait for the subscriber; None takes `pubsub.window`.
        slow: one of `SLOW`, at most once.
        start: where a new name begins, at least once: `latest`, `earliest`, a position or a time.
    """

    name: str = ""
    window: int | None = None
    slow: str = "drop_oldest"
    start: Any = "latest"

    def check(self, *, durable: bool) -> None:
        """Raises `InvalidTopic` for an option out of its bounds, or that is of the other delivery.

        Args:
            durable: the topic is at least once.
        """
        name, window = cast("object", self.name), cast("object", self.window)
        if name != "":
            check_subscription(name)
        if window is not None and not is_whole(window, 1, 1 << 20):
            raise InvalidTopic(f"window must be a whole number in 1..{1 << 20}, not {window!r}")
        if self.slow not in SLOW:
            raise InvalidTopic(f"slow must be one of {', '.join(SLOW)}, not {self.slow!r}")
        if durable and self.slow != "drop_oldest":
            raise InvalidTopic(f"slow={self.slow!r} is for topics at most once: at least once no message is dropped")
        if not durable and self.start != "latest":
            raise InvalidTopic("start is for topics at least once: at most once old messages are not kept")


def check_subscription(name: object) -> None:
    """Raises `InvalidTopic` for a name that no subscription can have."""
    if not isinstance(name, str) or not 0 < len(name) <= NAME_CHARS_MAX or not name.isprintable() or " " in name:
        raise InvalidTopic(
            f"the name of a subscription has 1 to {NAME_CHARS_MAX} printable characters and no spaces, not {name!r}"
        )


class Subscription(ABC, Generic[T]):
    """The messages of one topic, for one subscriber: an asynchronous iterator of `Message[T]`.

    Args:
        topic: name of the topic.
        name: of the subscription; empty for none.

    Attributes:
        topic, name: as given.
        received: messages that the program has taken.
        missed: messages that are known to be lost for this subscriber, whatever the reason.
        dropped: of these, those that were dropped because the subscriber was too slow.
    """

    def __init__(self, topic: str, name: str) -> None:
        self.topic = topic
        self.name = name
        self.received = 0
        self.missed = 0
        self.dropped = 0

    @abstractmethod
    async def start(self) -> None:
        """Returns when the subscription is effective: what is published from now on is delivered.

        `async with` calls it.

        Raises:
            Timeout: not all members have answered in time. The subscription has ended.
            ShuttingDown: this node has left, or this client is closed.
            InahoError: as any call.
        """

    @abstractmethod
    async def close(self, reason: str = "closed") -> None:
        """Ends the subscription. The loop over it ends. May be repeated.

        Args:
            reason: for the event `SubscriptionEnded`.
        """

    @abstractmethod
    async def __anext__(self) -> Message[T]:
        """The next message.

        Raises:
            StopAsyncIteration: the subscription was closed.
            SubscriptionLost: it has ended by itself: too slow, the topic was deleted, or the node has left.
        """

    def __aiter__(self) -> Self:
        return self

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<Subscription of topic {self.topic!r}{f', {self.name!r}' if self.name else ''}>"
