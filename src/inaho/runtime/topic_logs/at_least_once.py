"""Delivery at least once on one node: makes publishers and subscriptions, and tells them what happens to the node."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from inaho.errors import InahoError, InvalidTopic, NoSuchTopic, SubscriptionLost
from inaho.runtime.topic_logs.log_consumer import ConsumerOptions, LogConsumer
from inaho.runtime.topic_logs.log_operations import LogOperations
from inaho.runtime.topic_logs.log_publisher import LogPublisher, TypedPublisher
from inaho.runtime.topic_logs.log_replay import LogReplay
from inaho.runtime.topic_logs.log_subscription import (
    HandledSubscription,
    LogReceipt,
    LogSubscription,
    LoopSubscription,
    make_message,
)
from inaho.types import MemberStatus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from inaho.actor import ActorRef
    from inaho.core.pubsub.consumer_window import Held
    from inaho.core.pubsub.message import Message
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.local.topology import Topology
    from inaho.runtime.topic_logs.keeper_messages import Delivery
    from inaho.runtime.topic_logs.log_subscription import DeliveryHandler
    from inaho.runtime.topic_logs.partition_lane import PartitionLane
    from inaho.runtime.topic_logs.ports import Keepers, LoggedTopic, ValueType
    from inaho.runtime.topic_logs.positions import Start
    from inaho.runtime.topic_logs.subscription import SubscribeOptions, Subscription
    from inaho.runtime.topic_logs.topic_counts import TopicCounts
    from inaho.types import TopologySnapshot

__all__ = ["AtLeastOnce"]

T = TypeVar("T")


class AtLeastOnce:
    """Publishes and subscribes at least once.

    Args:
        local: the node.
        topology: of the node.
        keepers: gives references to the keepers of partitions.
        counts: numbers of topics.

    Attributes:
        keepers: as given.
        subscriptions: those that have not ended.
        replays: those that have not ended.
        busy: lanes with messages that wait or are on their way.
        operations: what people ask about logs.
    """

    def __init__(self, local: LocalNode, topology: Topology, keepers: Keepers, counts: TopicCounts) -> None:
        self.subscriptions: dict[LogSubscription[Any], None] = {}
        self.replays: dict[LogReplay[Any], None] = {}
        self.busy: dict[PartitionLane, None] = {}
        self.operations = LogOperations(keepers)
        self._local = local
        self._topology = topology
        self.keepers = keepers
        self._counts = counts
        self._publishers: WeakKeyDictionary[LoggedTopic, LogPublisher] = WeakKeyDictionary()
        self._batches = itertools.count(1)
        self._consumers = itertools.count(1)

    # Publishing.

    def publisher(self, topic: LoggedTopic, kind: ValueType[T]) -> TypedPublisher[T]:
        """What publishes for one handle."""
        publisher = self._publishers.get(topic)
        if publisher is None:
            publisher = LogPublisher(
                self._local,
                self._topology,
                self.keepers,
                topic,
                self._batches.__next__,
                self._counts.of(topic.name),
                self.busy,
            )
            self._publishers[topic] = publisher
        return TypedPublisher(publisher, topic.name, kind)

    # Subscribing.

    def subscribe(self, topic: LoggedTopic, kind: ValueType[T], options: SubscribeOptions) -> Subscription[T]:
        """A subscription that has not begun.

        Raises:
            InvalidTopic: an option is not valid.
            NoSuchTopic: the topic was deleted.
        """
        consumer = self._consumer(topic, options.name, options.window, options.start)
        where = "client" if self._local.client else "process"
        return LoopSubscription(self._local, consumer, where, self.subscriptions, kind)

    def subscribe_handler(
        self,
        topic: LoggedTopic,
        kind: ValueType[T],
        options: SubscribeOptions,
        handler: Callable[[Message[T]], Awaitable[object]],
        concurrency: int,
    ) -> Subscription[T]:
        """As `subscribe`, for a handler that is called with each message, `concurrency` of them at a time."""
        consumer = self._consumer(topic, options.name, options.window, options.start)
        decode = kind.decode

        async def handle(held: Held[Delivery]) -> None:
            await handler(make_message(decode(held.delivery.value), held, LogReceipt(consumer, held)))

        where = "client" if self._local.client else "process"
        return HandledSubscription(self._local, consumer, where, self.subscriptions, handle, concurrency)

    def subscribe_deliveries(
        self,
        topic: LoggedTopic,
        name: str,
        handle: DeliveryHandler,
        *,
        concurrency: int,
        kind: str,
        start: Start = "latest",
        window: int | None = None,
        exclusive: bool = True,
    ) -> HandledSubscription[Any]:
        """A subscription of the runtime.

        Args:
            topic: the topic.
            name: of the subscription.
            handle: called with each delivery; it is acknowledged when this returns, and delivered again when it raises.
            concurrency: calls at a time; of one key there is one at a time.
            kind: what subscribes, for events.
            start: where a new subscription begins.
            window: messages that may wait here; `pubsub.window` unless given.
            exclusive: each partition goes to one consumer of the subscription at a time.
        """
        consumer = self._consumer(topic, name, window, start, exclusive=exclusive)
        return HandledSubscription(self._local, consumer, kind, self.subscriptions, handle, concurrency)

    def deliver_to(
        self, topic: LoggedTopic, kind: ValueType[T], options: SubscribeOptions, actor: ActorRef
    ) -> Subscription[T]:
        """Refused: a mailbox does not say when a message is handled."""
        raise InvalidTopic(
            f"topic {topic.name!r} is at least once, and the mailbox of {actor} acknowledges nothing: subscribe with a "
            "handler that asks the actor"
        )

    def replay(self, topic: LoggedTopic, kind: ValueType[T], start: Start, *, follow: bool) -> Subscription[T]:
        """See `Topic.replay`."""
        self._check(topic)
        return LogReplay(self._local, self._topology, self.keepers, topic, kind, start, self.replays, follow=follow)

    def _consumer(
        self, topic: LoggedTopic, name: str, window: int | None, start: Start, *, exclusive: bool = False
    ) -> LogConsumer:
        self._check(topic)
        if not name:
            raise InvalidTopic(
                f"a subscription of topic {topic.name!r}, at least once, needs a name: its position is kept by it"
            )
        options = ConsumerOptions(name, window or self._local.config.pubsub.window, start, exclusive)
        number, numbers = next(self._consumers), self._counts.of(topic.name)
        return LogConsumer(self._local, self._topology, self.keepers, topic, options, number, numbers)

    def _check(self, topic: LoggedTopic) -> None:
        if topic.deleted:
            raise NoSuchTopic(f"topic {topic.name!r} was deleted")

    # What limits topics.

    def waiting_for_logs(self) -> Iterator[str]:
        """Topics of which messages wait to be stored, and with them their publishers."""
        return (lane.topic for lane in self.busy)

    def crowded(self) -> Iterator[str]:
        """Topics of which a subscriber here is slower than the log."""
        return (subscription.topic for subscription in self.subscriptions if subscription.consumer.crowded)

    # What happens to the node.

    def deleted(self, topic: LoggedTopic) -> None:
        """The topic was deleted."""
        self._lose(lambda name: name == topic.name, f"topic {topic.name!r} was deleted", "deleted")

    def tick(self, now: float) -> None:
        """Called ten times a second; `now` in seconds of the loop's clock."""
        for lane in list(self.busy):
            lane.tick(now)

    def apply_topology(self, before: TopologySnapshot | None, snapshot: TopologySnapshot) -> None:
        """A new topology needs nothing: streams and lanes that have failed wait for it themselves."""

    async def flush(self, left_s: Callable[[], float]) -> None:
        """This node leaves: subscriptions give back what they hold, and messages that wait are stored.

        That needs a member that keeps the logs. If there is none any more, as when a cluster ends, nothing is waited
        for: the next cluster delivers again what was not settled.
        """
        leaving = [asyncio.ensure_future(each.stop()) for each in list(self.subscriptions)]
        if not self._has_keepers():
            await asyncio.sleep(0)  # each has begun to end
            return
        if leaving:
            await asyncio.wait(leaving, timeout=max(0.0, left_s()))
        try:
            async with asyncio.timeout(left_s()):  # asked once: each answer is at least that of a new step
                while self.busy:
                    await next(iter(self.busy)).sending()
        except TimeoutError:
            self._local.log.warning("messages of %d partitions of topics were not stored in time", len(self.busy))

    def _has_keepers(self) -> bool:
        """Whether a member is up that may keep logs. This node is leaving."""
        return any(
            member.status is MemberStatus.UP and member.node_id != self._local.node_id
            for member in self._topology.members
        )

    def close(self) -> None:
        """The node stops."""
        for lane in list(self.busy):
            lane.close()
        self._lose(lambda _: True, "this node has left the cluster", "stopped")

    def _lose(self, concerns: Callable[[str], bool], why: str, reason: str) -> None:
        error: InahoError
        for subscription in [each for each in self.subscriptions if concerns(each.topic)]:
            error = SubscriptionLost(f"the subscription has ended: {why}")
            subscription.lose(error, reason)
        for replay in [each for each in self.replays if concerns(each.topic)]:
            replay.lost(SubscriptionLost(f"the replay has ended: {why}"))
