"""A subscription of a local actor, at most once: each message is told to its mailbox.

The mailbox is the window: what it refuses is dropped and counted, and the other subscribers notice nothing of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import msgspec

from inaho.core.pubsub.message import Message
from inaho.errors import InvalidTopic, MailboxFull
from inaho.runtime.topic_logs.subscription import Subscription

if TYPE_CHECKING:
    from inaho.actor.ref import ActorRef, Terminated
    from inaho.runtime.topic_logs.subscription import SubscribeOptions
    from inaho.runtime.topics.delivery import KnownTopic
    from inaho.runtime.topics.direct_subscription import Subscribers
    from inaho.runtime.topics.message_type import MessageType

__all__ = ["ActorSubscription"]

T = TypeVar("T")


class ActorSubscription(Subscription[T]):
    """See `Topic.deliver_to`.

    Args:
        known: the topic.
        kind: type of its messages.
        options: checked.
        actor: gets the messages.
        subscribers: of the node.

    Attributes:
        known: as given.
        subscriber_kind: for events.
    """

    subscriber_kind = "actor"

    def __init__(
        self,
        known: KnownTopic,
        kind: MessageType[T],
        options: SubscribeOptions,
        actor: ActorRef,
        subscribers: Subscribers,
    ) -> None:
        super().__init__(known.name, options.name)
        self.known = known
        self._kind = kind
        self._actor = actor
        self._subscribers = subscribers
        self._unsaid = 0
        self._begun = False
        self._ended = False

    async def start(self) -> None:
        self._begun = True
        await self._subscribers.begin(self, self._kind)
        self._actor.target.add_watcher(self)

    async def close(self, reason: str = "closed") -> None:
        self.end(reason)

    async def __anext__(self) -> NoReturn:
        raise InvalidTopic(f"the messages of this subscription go to {self._actor}")

    def put(self, messages: list[Message[Any]]) -> None:
        """Tells the messages to the actor."""
        dropped = 0
        for message in messages:
            if self._unsaid:
                message = msgspec.structs.replace(message, missed=message.missed + self._unsaid)
            try:
                self._actor.tell(message)
            except MailboxFull:
                self._unsaid = message.missed + 1
                dropped += 1
            else:
                self._unsaid = 0
                self.received += 1
        if dropped:
            self.dropped += dropped
            self.missed += dropped
            self._subscribers.dropped(self.topic, dropped, self.name)

    def miss(self, count: int, before_next: int) -> None:
        """So many messages are lost; the last `before_next` of them directly before the next message."""
        self._unsaid += before_next
        self.missed += count

    def lose_tail(self, publisher: str, authority: str) -> None:
        """The event tells it."""

    def end(self, reason: str) -> None:
        """Takes no more messages."""
        if not self._ended:
            self._ended = True
            if self._begun:
                self._actor.target.remove_watcher(self)
                self._subscribers.ended(self, reason)

    def watched_terminated(self, terminated: Terminated) -> None:
        """The actor has ended."""
        self.end("terminated")
