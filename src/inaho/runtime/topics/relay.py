"""Publishes and subscribes at most once for clients, which no other node can dial.

A client calls the `TopicActor` of one member. What it publishes is published by that member, in the order in which it
came; what it subscribes to is a subscription of that member, whose messages go into a stream. Values stay encoded: the
member need not have their class.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from inaho.core.pubsub.message import Message
from inaho.errors import InvalidArguments, SubscriptionLost
from inaho.runtime.topic_logs.subscription import SubscribeOptions
from inaho.runtime.topics.direct_subscription import DirectSubscription
from inaho.runtime.topics.message_type import MessageType
from inaho.runtime.topics.topic_actor import RelayedMessage

if TYPE_CHECKING:
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.topics.at_most_once import AtMostOnce
    from inaho.runtime.topics.definitions import TopicDefinitions

__all__ = ["Relay"]

_ENCODED: Final[MessageType[Any]] = MessageType(msgspec.Raw)
_ANY: Final[MessageType[Any]] = MessageType(Any)


class Relay:
    """The clients of one member.

    Args:
        local: the member.
        definitions: of topics.
        at_most_once: of the member.
    """

    def __init__(self, local: LocalNode, definitions: TopicDefinitions, at_most_once: AtMostOnce) -> None:
        self._local = local
        self._definitions = definitions
        self._at_most_once = at_most_once
        self._subscriptions: dict[RelayedSubscription, None] = {}

    async def publish(self, topic: str, keys: Sequence[str], values: Sequence[bytes]) -> None:
        """See `TopicActor.publish`."""
        if len(keys) != len(values):
            raise InvalidArguments(f"{len(values)} messages with {len(keys)} keys")
        known = await self._definitions.get(topic, None, ())
        publisher = self._at_most_once.publisher(known, _ANY)
        for key, value in zip(keys, values, strict=True):
            await publisher.publish(msgspec.Raw(value), key, "")

    async def subscribe(self, topic: str) -> AsyncGenerator[RelayedMessage]:
        """See `TopicActor.subscribe`."""
        known = await self._definitions.get(topic, None, ())
        subscription = RelayedSubscription(
            known,
            _ENCODED,
            SubscribeOptions(),
            window=self._local.config.pubsub.window,
            loop=self._local.loop,
            subscribers=self._at_most_once,
            subscriber_kind="client",
        )
        self._subscriptions[subscription] = None
        try:
            await subscription.start()
            yield RelayedMessage()
            async for message in subscription:
                yield RelayedMessage(
                    message.value, message.key, message.sequence, message.published_at, message.missed,
                    message.publisher,
                )  # fmt: skip
        except SubscriptionLost:
            yield RelayedMessage(ended=subscription.ended)
        finally:
            self._subscriptions.pop(subscription, None)
            await subscription.close()

    def leave(self) -> None:
        """This member leaves: its clients go to another one."""
        for subscription in list(self._subscriptions):
            subscription.end("stopped")


class RelayedSubscription(DirectSubscription[Any]):
    """A subscription of a member for a client. Its values are bytes."""

    @property
    def ended(self) -> str:
        """Why it has ended; empty if it has not."""
        return self._ended

    def put(self, messages: list[Message[Any]]) -> None:
        """Copies the values: they are parts of a buffer of the connection, which is used again."""
        super().put([msgspec.structs.replace(message, value=bytes(message.value)) for message in messages])

    def lose_tail(self, publisher: str, authority: str) -> None:
        """Tells the client, after the messages before it: the client may not know of that publisher."""
        super().put([Message(b"", authority, 0, 0.0, publisher=publisher)])
