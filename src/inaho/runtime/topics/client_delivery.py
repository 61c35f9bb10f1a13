"""Delivery at most once on a client: through one member, which publishes and subscribes for it (`Relay`).

The member is one to which the client is connected. When it is lost, the client goes on with another one. Messages that
came in between are missing, and nobody can count them: so each subscription gets `TailUnknown`. It gets that, too, for
each publisher of which the member gets one. The next member may still have messages under way that the client has got:
these are dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, TypeVar
from weakref import WeakKeyDictionary

from inaho.core.pubsub.latest_received import LatestReceived
from inaho.core.pubsub.message import Message
from inaho.errors import (
    InahoError,
    InvalidTopic,
    MessageTooLarge,
    NoSubscribers,
    NoSuchTopic,
    ShuttingDown,
    Timeout,
    TopologyUnavailable,
    Unreachable,
)
from inaho.errors.inspection import describe
from inaho.events import SubscriptionEnded, SubscriptionStarted, TailUnknown
from inaho.runtime.topic_logs.topic_counts import DropReports
from inaho.runtime.topics.actor_subscription import ActorSubscription
from inaho.runtime.topics.client_lane import ClientLane, ClientPublisher
from inaho.runtime.topics.direct_subscription import DirectSubscription
from inaho.runtime.topics.topic_actor import TopicActor
from inaho.types import Member, MemberStatus
from inaho.wire.codec import DECODE_ERRORS

if TYPE_CHECKING:
    from inaho.actor.ref import ActorRef
    from inaho.runtime.connections.outgoing import Outgoing
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.local.topology import Topology
    from inaho.runtime.placement.system_calls import SystemCalls
    from inaho.runtime.topic_logs.subscription import SubscribeOptions, Subscription
    from inaho.runtime.topic_logs.topic_counts import TopicCounts
    from inaho.runtime.topics.delivery import KnownTopic
    from inaho.runtime.topics.direct_subscription import OwnSubscription
    from inaho.runtime.topics.message_type import MessageType
    from inaho.runtime.topics.topic_actor import RelayedMessage
    from inaho.types import TopologySnapshot

__all__ = ["ClientDelivery"]

T = TypeVar("T")

PAUSE_S: Final = 0.05
PAUSE_MAX_S: Final = 1.0
"""Pause before another member is tried, at first and at most; a new topology ends it."""

_ANSWERS: Final = (InvalidTopic, MessageTooLarge, NoSubscribers, NoSuchTopic)
"""Errors about the message, not about the call of the member."""

_ELSEWHERE: Final = (ShuttingDown, TopologyUnavailable, Unreachable)
"""Errors after which another member is tried, if nothing was published."""


class ClientDelivery:
    """Messages at most once, on one client: a `Delivery`, and the `Subscribers` of its subscriptions.

    Args:
        local: the client.
        topology: gives the members.
        connections: those that are open, by authority.
        calls: of `TopicActor`.
        counts: numbers of topics.
    """

    def __init__(
        self,
        local: LocalNode,
        topology: Topology,
        connections: Mapping[str, Outgoing],
        calls: SystemCalls,
        counts: TopicCounts,
    ) -> None:
        self._local = local
        self._topology = topology
        self._connections = connections
        self._calls = calls
        self._reports = DropReports(counts, local.publish)
        self._lanes: WeakKeyDictionary[KnownTopic, ClientLane] = WeakKeyDictionary()
        self._readers: dict[OwnSubscription, asyncio.Task[None]] = {}
        self._place: Member | None = None

    # Delivery.

    def publisher(self, topic: KnownTopic, kind: MessageType[T]) -> ClientPublisher[T]:
        """See `Delivery`."""
        lane = self._lanes.get(topic)
        if lane is None:
            lane = self._lanes[topic] = ClientLane(self._local, topic, self._send)
        return ClientPublisher(lane, topic.name, kind)

    def subscribe(self, topic: KnownTopic, kind: MessageType[T], options: SubscribeOptions) -> Subscription[T]:
        """See `Delivery`."""
        window = self._local.config.pubsub.window if options.window is None else options.window
        return DirectSubscription(
            topic, kind, options, window=window, loop=self._local.loop, subscribers=self, subscriber_kind="client"
        )

    def deliver_to(
        self, topic: KnownTopic, kind: MessageType[T], options: SubscribeOptions, actor: ActorRef
    ) -> Subscription[T]:
        """See `Delivery`."""
        return ActorSubscription(topic, kind, options, actor, self)

    def deleted(self, topic: KnownTopic) -> None:
        """See `Delivery`."""
        for subscription in [each for each in self._readers if each.topic == topic.name]:
            subscription.end("deleted")

    def tick(self, now: float) -> None:
        """See `Delivery`."""
        self._reports.tell()

    def apply_topology(self, before: TopologySnapshot | None, snapshot: TopologySnapshot) -> None:
        """See `Delivery`. Calls and streams notice themselves that a member is lost."""

    async def flush(self, left_s: Callable[[], float]) -> None:
        """See `Delivery`."""
        try:
            async with asyncio.timeout(left_s()):
                for lane in list(self._lanes.values()):
                    await lane.finished()
        except TimeoutError:
            self._local.log.warning("messages of topics were not sent in time")

    def close(self) -> None:
        """See `Delivery`."""
        for subscription in list(self._readers):
            subscription.end("stopped")
        for lane in list(self._lanes.values()):
            lane.close()
        self._reports.tell()

    # The member.

    def _member(self) -> Member:
        """The member through which this client publishes and subscribes. Raises `TopologyUnavailable`."""
        members = [member for member in self._topology.members if member.status is MemberStatus.UP]
        if self._place is None or self._place.node_id not in {member.node_id for member in members}:
            connected = [member for member in members if member.authority in self._connections]
            if not members:
                raise TopologyUnavailable("this client knows no member that is up")
            self._place = self._local.entropy.random.choice(connected or members)
        return self._place

    def _lost(self, place: Member) -> None:
        if self._place is place:
            self._place = None

    async def _send(self, topic: str, keys: list[str], values: list[bytes]) -> None:
        """Publishes through a member; through another one if that is lost before it has got the messages."""
        deadline = self._local.loop.time() + self._local.timeout_s
        pause_s = PAUSE_S
        while True:
            place: Member | None = None
            try:
                place = self._member()
                await self._calls.ask(place, TopicActor.publish, topic, keys, values)
                return
            except _ANSWERS as error:
                raise type(error)(error.reason) from error  # not of the actor, and nothing was published
            except _ELSEWHERE as error:
                if place is not None:
                    self._lost(place)
                if error.maybe_executed or self._local.loop.time() + pause_s >= deadline or self._local.closing:
                    raise
            await self._topology.wait(pause_s)
            pause_s = min(2 * pause_s, PAUSE_MAX_S)

    # Subscribers.

    async def begin(self, subscription: OwnSubscription, kind: MessageType[Any]) -> None:
        """See `Subscribers`."""
        self._local.check_here()
        started: asyncio.Future[None] = self._local.loop.create_future()
        reader = self._local.spawn(
            self._read(subscription, kind, started), name=f"inaho-client-subscribe-{subscription.topic}"
        )
        self._readers[subscription] = reader
        within_s = self._local.config.pubsub.subscribe_timeout_s
        try:
            async with asyncio.timeout(within_s):
                await started
        except TimeoutError as error:
            subscription.end("closed")
            raise Timeout(f"no member has subscribed for this client within {within_s} s") from error
        except BaseException:
            subscription.end("closed")
            raise
        self._local.publish(
            SubscriptionStarted(
                topic=subscription.topic, subscription=subscription.name, kind=subscription.subscriber_kind
            )
        )

    def ended(self, subscription: OwnSubscription, reason: str) -> None:
        """See `Subscribers`."""
        reader = self._readers.pop(subscription, None)
        if reader is not None:
            reader.cancel()
        self._local.publish(
            SubscriptionEnded(
                topic=subscription.topic,
                subscription=subscription.name,
                kind=subscription.subscriber_kind,
                reason=reason,
            )
        )

    def dropped(self, topic: str, count: int, subscription: str) -> None:
        """See `Subscribers`."""
        self._reports.dropped(topic, "slow_subscriber", count, "", subscription)

    async def _read(self, subscription: OwnSubscription, kind: MessageType[Any], started: asyncio.Future[None]) -> None:
        """Takes the messages of a subscription from one member, and from the next when that is lost."""
        latest = LatestReceived(self._local.config.pubsub.publishers_max)
        pause_s = PAUSE_S
        while True:
            place: Member | None = None
            begun = False
            try:
                place = self._member()
                async with aclosing(self._calls.stream(place, TopicActor.subscribe, subscription.topic)) as items:
                    async for item in items:
                        if item.ended == "deleted":
                            subscription.end("deleted")
                            return
                        if item.ended:
                            break
                        if item.sequence:
                            self._take(subscription, kind, item, latest)
                        elif item.publisher:
                            subscription.miss(item.missed, item.missed)
                            self._tail_unknown(subscription.topic, item.publisher, item.key)
                        else:
                            begun, pause_s = True, PAUSE_S
                            if not started.done():
                                started.set_result(None)
            except NoSuchTopic as error:
                if not started.done():
                    started.set_exception(NoSuchTopic(error.reason))
                subscription.end("deleted")
                return
            except InahoError as error:
                self._local.log.debug(
                    "the subscription of topic %r at %s has ended, going on elsewhere: %s",
                    subscription.topic, place, describe(error),
                )  # fmt: skip
            if place is not None:
                self._lost(place)
                if begun:
                    self._tail_unknown(subscription.topic, place.node_id, place.authority)
            await self._topology.wait(pause_s)
            pause_s = min(2 * pause_s, PAUSE_MAX_S)

    def _tail_unknown(self, topic: str, node_id: str, authority: str) -> None:
        self._local.publish(TailUnknown(topic=topic, publisher=node_id, authority=authority, last=0))

    def _take(
        self, subscription: OwnSubscription, kind: MessageType[Any], item: RelayedMessage, latest: LatestReceived
    ) -> None:
        topic = subscription.topic
        if not latest.is_next("", topic, item.publisher, item.sequence, item.published_at):
            self._reports.dropped(topic, "out_of_order", 1, "", subscription.name)
            return
        if item.missed:
            subscription.missed += item.missed
        try:
            value = kind.decode(item.value)
        except DECODE_ERRORS:
            self._reports.dropped(topic, "undecodable", 1, "", subscription.name)
            subscription.miss(1, 1 + item.missed)
            return
        message = Message(value, item.key, item.sequence, item.published_at, 0, 1, item.missed, item.publisher)
        subscription.put([message])
