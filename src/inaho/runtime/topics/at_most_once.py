"""Delivery at most once of one node: connects publishing, receiving, links and announcements.

A message goes from the publisher's node directly to each node with subscribers, and there into their windows. No topic
has a place of its own, so none can be lost, and nothing is between publisher and subscriber that could be slow.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from inaho.core.pubsub.announcements import ALL, group_channel
from inaho.errors import InahoError, InvalidTopic, Timeout
from inaho.errors.inspection import describe
from inaho.events import SubscriptionEnded, SubscriptionStarted
from inaho.runtime.messages.target import RemoteTarget
from inaho.runtime.topic_logs.subscription import Subscription
from inaho.runtime.topic_logs.topic_counts import DropReports, TopicCounts
from inaho.runtime.topics.actor_subscription import ActorSubscription
from inaho.runtime.topics.announcer import Announcer
from inaho.runtime.topics.direct_subscription import DirectSubscription
from inaho.runtime.topics.inlets import Inlets
from inaho.runtime.topics.node_links import NodeLinks
from inaho.runtime.topics.outlet import DirectPublisher
from inaho.runtime.topics.outlets import Outlets
from inaho.runtime.topics.topic_actor import TopicActor

if TYPE_CHECKING:
    from inaho.actor.ref import ActorRef
    from inaho.core.pubsub.announcements import Announcement
    from inaho.runtime.connections.outgoing import Outgoing
    from inaho.runtime.connections.peers import Peers
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.placement.system_calls import SystemCalls
    from inaho.runtime.topic_logs.subscription import SubscribeOptions
    from inaho.runtime.topics.announcer import Place
    from inaho.runtime.topics.delivery import KnownTopic
    from inaho.runtime.topics.direct_subscription import OwnSubscription
    from inaho.runtime.topics.inlet import Sink
    from inaho.runtime.topics.message_type import MessageType
    from inaho.types import TopologySnapshot

__all__ = ["AtMostOnce"]

T = TypeVar("T")


class AtMostOnce:
    """Messages at most once, on one member: a `Delivery`.

    Args:
        local: the member.
        connections: dialled connections that are open, by authority.
        peers: dials.
        calls: of `TopicActor`.
        counts: numbers of topics.

    Attributes:
        counts: as given.
        links: to other nodes.
        announcer, inlets, outlets: see their classes.
    """

    def __init__(
        self,
        local: LocalNode,
        connections: Mapping[str, Outgoing],
        peers: Peers,
        calls: SystemCalls,
        counts: TopicCounts,
    ) -> None:
        self.counts = counts
        self._local = local
        self._peers = peers
        self._calls = calls
        self._effective: dict[OwnSubscription, None] = {}
        self._reports = DropReports(counts, local.publish)
        self.announcer = Announcer(local, peers.connect, self._tell, changed=self._changed, now_ready=self._ready)
        self.inlets = Inlets(local, counts, self._reports, self._changed, self.announcer.came_late)
        self.outlets = Outlets(local, self.announcer, self.inlets, counts)
        self.links = self.outlets.links = NodeLinks(
            local, self._reports, connections, peers.dial_in_background, self.announcer, self.outlets
        )

    # Delivery.

    def publisher(self, topic: KnownTopic, kind: MessageType[T]) -> DirectPublisher[T]:
        """See `Delivery`."""
        return DirectPublisher(self.outlets.outlet(topic), kind)

    def subscribe(self, topic: KnownTopic, kind: MessageType[T], options: SubscribeOptions) -> Subscription[T]:
        """See `Delivery`."""
        window = self._local.config.pubsub.window if options.window is None else options.window
        return DirectSubscription(topic, kind, options, window=window, loop=self._local.loop, subscribers=self)

    def deliver_to(
        self, topic: KnownTopic, kind: MessageType[T], options: SubscribeOptions, actor: ActorRef
    ) -> Subscription[T]:
        """See `Delivery`."""
        if isinstance(actor.target, RemoteTarget):
            raise InvalidTopic(f"{actor} is not an actor of this process")
        return ActorSubscription(topic, kind, options, actor, self)

    def deleted(self, topic: KnownTopic) -> None:
        """See `Delivery`."""
        self.outlets.deleted(topic)
        for sink in self.inlets.sinks_of(topic.name):
            sink.end("deleted")

    def tick(self, now: float) -> None:
        """See `Delivery`."""
        self.announcer.trim()
        self.links.tick(now)
        self.outlets.tick(now)
        self._reports.tell()

    def apply_topology(self, before: TopologySnapshot | None, snapshot: TopologySnapshot) -> None:
        """See `Delivery`."""
        for member in self.links.apply_topology(before, snapshot):
            self.inlets.publisher_gone(member.node_id, member.authority)

    async def flush(self, left_s: Callable[[], float]) -> None:
        """See `Delivery`. Nothing is published or delivered after that: no other member would know of it."""
        self.outlets.flush()
        self._stop()

    def _stop(self) -> None:
        for sink in self.inlets.all_sinks():
            sink.end("stopped")
        self.outlets.close()

    def close(self) -> None:
        """See `Delivery`."""
        self._stop()
        self.announcer.close()
        self.links.close()
        self._reports.tell()

    # Subscribers.

    async def begin(self, subscription: OwnSubscription, kind: MessageType[Any]) -> None:
        """See `Subscribers`."""
        self._local.check_here()
        channel = subscription.topic
        self.inlets.add(channel, subscription, kind)
        self.announcer.add(channel)
        try:
            await self.announcer.confirmed()
        except BaseException:
            subscription.end("closed")
            raise
        self.inlets.effective(channel)
        self._effective[subscription] = None
        self._local.publish(
            SubscriptionStarted(
                topic=subscription.topic, subscription=subscription.name, kind=subscription.subscriber_kind
            )
        )

    def ended(self, subscription: OwnSubscription, reason: str) -> None:
        """See `Subscribers`."""
        self.inlets.remove(subscription.topic, subscription)
        self.announcer.remove(subscription.topic)
        if subscription in self._effective:
            del self._effective[subscription]
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
        self.dropped_by(topic, "slow_subscriber", count, subscription)

    # Groups: methods of grains, of which one member gets each message.

    def join_group(self, topic: str, group: str, sink: Sink, kind: MessageType[Any]) -> None:
        """This node takes messages of a topic for a group; the topic need not exist. See `groups_joined`.

        Args:
            topic: its name.
            group: its name.
            sink: takes the messages.
            kind: their type.
        """
        channel = group_channel(topic, group)
        self.inlets.add(channel, sink, kind)
        self.announcer.add(channel)

    async def groups_joined(self, groups: Sequence[tuple[str, str]]) -> None:
        """Returns when all live members know the groups, or after `pubsub.subscribe_timeout_s` with a warning.

        Args:
            groups: topic and name of each one that this node has joined.
        """
        try:
            await self.announcer.confirmed()
        except Timeout as error:
            self._local.log.warning("grains may miss messages that other members publish now: %s", error.reason)
        for topic, group in groups:
            self._local.publish(SubscriptionStarted(topic=topic, subscription=group, kind="grain"))

    def leave_group(self, topic: str, group: str) -> None:
        """This node leaves: it is not published to for the group any more, see `groups_left`.

        What is on its way is still taken, until the node stops: no other member would get it.
        """
        self.announcer.remove(group_channel(topic, group))
        self._local.publish(SubscriptionEnded(topic=topic, subscription=group, kind="grain", reason="stopped"))

    async def groups_left(self) -> None:
        """Returns when all live members publish to other members of the groups that this one has left.

        Raises:
            Timeout: not within `pubsub.subscribe_timeout_s`.
        """
        await self.announcer.confirmed()

    def dropped_by(self, topic: str, reason: str, count: int, subscription: str) -> None:
        """A subscriber of this node did not get messages."""
        self._reports.dropped(topic, reason, count, self._local.authority, subscription)

    # Other nodes.

    async def announced(self, authority: str, node_id: str, announcement: Announcement) -> bool:
        """See `TopicActor.announce`."""
        link = self.links.ensure(authority, node_id)
        if not announcement.more and link.connection is None:
            try:
                async with asyncio.timeout(self._local.config.transport.dial_timeout_s):
                    await self._peers.connect(authority, node_id)
            except (InahoError, TimeoutError) as error:  # messages for it are kept or dropped until it can be reached
                self._local.log.debug("%s has announced topics, but cannot be dialled: %s", authority, describe(error))
            link = self.links.ensure(authority, node_id)  # a topology may have ended it meanwhile
        accepted = self.announcer.announced(node_id, announcement)
        if accepted and not announcement.more and link.absent_since is not None:
            self.announcer.node_is_live(link, awaits=False)
        if accepted and not announcement.more and announcement.base == ALL:
            self.outlets.link_lost(link)  # what was published before, it was perhaps to get
        return accepted

    async def _tell(self, place: Place, announcement: Announcement) -> bool:
        local = self._local
        return await self._calls.ask(place, TopicActor.announce, local.authority, local.node_id, announcement)

    def _changed(self, channels: list[str]) -> None:
        self.outlets.changed(channels)

    def _ready(self) -> None:
        self.outlets.look()

    def check(self) -> None:
        """Asserts the invariants of all parts."""
        self.announcer.check()
        self.inlets.check()
        self.outlets.check()
        for link in self.links:
            link.check()
