"""`Topic`: what `cluster.topic` returns. It publishes and subscribes by the delivery of the topic's definition."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from inaho.actor.ref import ActorRef
from inaho.errors import InvalidTopic
from inaho.runtime.topic_logs.at_least_once import AtLeastOnce
from inaho.runtime.topic_logs.subscription import SubscribeOptions, Subscription

if TYPE_CHECKING:
    from inaho.core.pubsub.definition import TopicDefinition
    from inaho.core.pubsub.message import Message
    from inaho.runtime.topic_logs.keeper_messages import PartitionDescription
    from inaho.runtime.topic_logs.positions import Start
    from inaho.runtime.topics.delivery import Delivery, KnownTopic
    from inaho.runtime.topics.message_type import MessageType

__all__ = ["Topic"]

T = TypeVar("T")


class Topic(Generic[T]):
    """One topic of the cluster, for messages of type T. Made by `Cluster.topic`.

    It may be kept and shared by all code of a process. After the topic was deleted it raises `NoSuchTopic`, also if
    another topic of the name was created since.
    """

    __slots__ = ("_delivery", "_kind", "_known", "_publisher")

    def __init__(self, known: KnownTopic, kind: MessageType[T], delivery: Delivery) -> None:
        self._known = known
        self._kind = kind
        self._delivery = delivery
        self._publisher = delivery.publisher(known, kind)

    @property
    def name(self) -> str:
        """Name of the topic."""
        return self._known.name

    @property
    def definition(self) -> TopicDefinition:
        """Its type and policies, as all nodes have them."""
        return self._known.definition

    def publish(self, value: T, *, key: str = "", id: str = "") -> Awaitable[None]:
        """Publishes a message; it is awaited.

        At most once it returns when the message is on its way to all nodes with subscribers, or dropped by the policy
        of the topic. At least once it returns when the message is stored. It never waits for subscribers.

        Args:
            value: of the type of the topic. It may be changed afterwards.
            key: messages of one key are delivered in order; at most `pubsub.key_bytes_max` bytes.
            id: at least once: a message with an id that was published within `dedup_s` is not stored again.

        Raises:
            NoSuchTopic: the topic was deleted.
            NoSubscribers: nobody is subscribed, at most once, and the topic does not allow it.
            WrongMessageType, MessageTooLarge: as they say; nothing was published.
            TopicFull: at least once, the backlog has reached its quota.
            InvalidTopic: an id at most once; a key or an id that is too long, or no text that has UTF-8.
            ShuttingDown: this node has left, or this client is closed.
            InahoError: as any call, at least once; `maybe_executed` tells whether it may be stored.
        """
        return self._publisher.publish(value, key, id)

    def subscribe(
        self,
        name: str = "",
        *,
        window: int | None = None,
        slow: str = "drop_oldest",
        start: Start = "latest",
        handler: Callable[[Message[T]], Awaitable[object]] | None = None,
        concurrency: int = 1,
    ) -> Subscription[T]:
        """The messages of the topic for this program.

            async with topic.subscribe() as messages:
                async for message in messages: ...

        At least once a message is delivered again until `message.ack()`. The time to acknowledge does not pass while
        the body of the loop works on the message.

        Args:
            name: of the subscription. At least once all subscribers of one name, in any process, share its messages,
                and its position is kept while there are none. At most once it is for events and metrics.
            window: messages that may wait here, 1 or more; `pubsub.window` unless given.
            slow: at most once, what happens when more would wait: `drop_oldest`, `drop_new`, or `disconnect` the
                subscriber, which then gets `SubscriptionLost`.
            start: at least once, where a new name begins: `latest`, `earliest`, a `datetime` with its time zone, or
                offsets by partition.
            handler: at least once: called with each message, from `start()` or `async with` on, instead of a loop. When
                it returns, the message is acknowledged; when it raises, it is delivered again.
            concurrency: calls of the handler at a time; of one key there is one at a time.

        Raises:
            InvalidTopic: an option is out of range, or the delivery has no such option.
            NoSuchTopic: the topic was deleted.
        """
        options = SubscribeOptions(name, window, slow, start)
        options.check(durable=self.definition.durable)
        if handler is None:
            if concurrency != 1:
                raise InvalidTopic(f"concurrency is of a handler, and no handler is given: {concurrency!r}")
            return self._delivery.subscribe(self._known, self._kind, options)
        if not callable(handler):
            raise InvalidTopic(f"handler is a function that takes a message, not {handler!r}")
        return self._logged("a handler").subscribe_handler(self._known, self._kind, options, handler, concurrency)

    def replay(self, start: Start = "earliest", *, follow: bool = False) -> Subscription[T]:
        """Reads messages at least once without a subscription; nothing is acknowledged, and no position is kept.

            async for message in topic.replay(datetime(2026, 5, 1, tzinfo=UTC)): ...

        Only messages that are still in the log are read: those that a subscription has not acknowledged, and all others
        for `retention_s`. Messages of one key are in order.

        Args:
            start: where it begins, as for `subscribe`.
            follow: it goes on with new messages, and ends only when it is closed.

        Raises:
            InvalidTopic: `start` is not valid, or the topic has no log.
            NoSuchTopic: the topic was deleted.
        """
        return self._logged("a replay").replay(self._known, self._kind, start, follow=follow)

    # For operators.

    async def partition(self, number: int) -> PartitionDescription:
        """One partition of a topic at least once, as its keeper sees it now: its log, subscriptions and their lag.

        Raises:
            InvalidTopic: there is no such partition, or the topic has no log.
            InahoError: as any call.
        """
        return await self._logged("a partition").operations.describe(self._known, number)

    async def delete_subscription(self, name: str) -> bool:
        """Deletes a named subscription of a topic at least once: its subscribers get `SubscriptionLost`.

        Its position is forgotten, and messages that waited only for it are removed. It may be repeated.

        Returns:
            Whether there was one.

        Raises:
            InvalidTopic: the topic has no log.
            InahoError: as any call; the subscription may be left in some partitions.
        """
        return await self._logged("a subscription").operations.delete_subscription(self._known, name)

    async def seek(self, name: str, start: Start) -> None:
        """Moves a named subscription of a topic at least once; what it gets next begins there, again or later.

        Args:
            name: of the subscription.
            start: as for `subscribe`.

        Raises:
            NoSuchSubscription: there is none.
            InvalidTopic: `start` is not valid, or the topic has no log.
            InahoError: as any call; the subscription may have moved in some partitions.
        """
        await self._logged("a subscription").operations.seek(self._known, name, start)

    def _logged(self, what: str) -> AtLeastOnce:
        if not isinstance(self._delivery, AtLeastOnce):
            raise InvalidTopic(f"{what} needs a topic at least once, and {self.name!r} is {self.definition.delivery}")
        return self._delivery

    async def deliver_to(self, actor: ActorRef, *, name: str = "") -> Subscription[T]:
        """Tells each message, as a `Message`, to a local actor. It returns when the subscription is effective.

        A message that the mailbox of the actor refuses is dropped, and counted. The subscription ends with the actor.

        Args:
            actor: of this process.
            name: of the subscription, for events and metrics.

        Returns:
            The subscription, to close it or to read its counters; it gives no messages.

        Raises:
            InvalidTopic: the topic is at least once, `actor` is no actor of this process, or the name is no name.
            Timeout: as `Subscription.start`.
        """
        if not isinstance(cast("object", actor), ActorRef):
            raise InvalidTopic(f"messages are delivered to an actor of this process, not to {actor!r}")
        options = SubscribeOptions(name)
        options.check(durable=self.definition.durable)
        subscription = self._delivery.deliver_to(self._known, self._kind, options, actor)
        await subscription.start()
        return subscription

    def __repr__(self) -> str:
        return f"<Topic {self.name!r} of {self._kind.name or 'any type'}, {self.definition.delivery}>"
