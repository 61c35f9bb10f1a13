"""Topics of one node: the one part of `Node` that pub/sub is. It passes on what happens to the node."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from inaho.core.pubsub.definition import RESERVED, TopicDefinition, check_name
from inaho.errors import InvalidTopic, ProtocolViolation
from inaho.runtime.topics.at_most_once import AtMostOnce
from inaho.runtime.topics.message_type import message_type
from inaho.runtime.topics.topic import Topic

if TYPE_CHECKING:
    from inaho.runtime.connections.connection import Connection
    from inaho.runtime.connections.outgoing import Outgoing
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.topic_logs.at_least_once import AtLeastOnce
    from inaho.runtime.topics.client_delivery import ClientDelivery
    from inaho.runtime.topics.definitions import TopicDefinitions
    from inaho.runtime.topics.delivery import Delivery, KnownTopic
    from inaho.runtime.topics.grain_subscriptions import GrainSubscriptions
    from inaho.runtime.topics.news import TopicNews
    from inaho.runtime.topics.relay import Relay
    from inaho.runtime.topics.topic_load import TopicLoad
    from inaho.types import TopologySnapshot

__all__ = ["Topics"]


class Topics:
    """Finds and makes topics, and tells their deliveries what happens to the node.

    Args:
        local: the node.
        definitions: what it knows of topics.
        news: of the registry on this node, for other members.
        load: numbers of topics, and what limits them.
        at_most_once, at_least_once: the deliveries.
        grains: subscriptions of its kinds; None on a client.
        relay: publishes and subscribes for clients; None on a client.

    Attributes:
        definitions, news, load: see above.
        at_most_once: of a member; None on a client.
        at_least_once, relay: see above.
        published: takes a `PUBLISH` frame, see `MessageParts.published`.
    """

    def __init__(
        self,
        local: LocalNode,
        definitions: TopicDefinitions,
        news: TopicNews,
        load: TopicLoad,
        at_most_once: AtMostOnce | ClientDelivery,
        at_least_once: AtLeastOnce,
        grains: GrainSubscriptions | None = None,
        relay: Relay | None = None,
    ) -> None:
        self.definitions = definitions
        self.news = news
        self.load = load
        definitions.when_deleted(self.deleted)
        self._local = local
        self._grains = grains
        self.relay = relay
        self._direct = at_most_once
        self.at_most_once = at_most_once if isinstance(at_most_once, AtMostOnce) else None
        self.published = _refuse if self.at_most_once is None else self.at_most_once.inlets.arrived
        self.at_least_once = at_least_once
        self._deliveries: tuple[Delivery, Delivery] = (at_most_once, at_least_once)

    async def topic(self, name: str, kind: Any, settings: dict[str, Any]) -> Topic[Any]:
        """See `Cluster.topic`.

        Args:
            name: of the topic.
            kind: type of the messages; None if the caller gives none.
            settings: those that the caller gives, by name.
        """
        check_name(name)
        self._local.check_here()
        messages = message_type(Any if kind is None else kind)
        given = dict(settings)
        if kind is not None:
            given["message_type"] = messages.name
        asked: TopicDefinition | None = None
        if given:
            asked = TopicDefinition(name=name, **given)
            asked.check()
            if name.startswith(RESERVED):
                raise InvalidTopic(f"names of topics that begin with {RESERVED!r} are of the runtime, not {name!r}")
        known = await self.definitions.get(name, asked, sorted(given))
        delivery: Delivery = self.at_least_once if known.definition.durable else self._direct
        return Topic(known, messages, delivery)

    async def delete(self, name: str) -> None:
        """See `Cluster.delete_topic`."""
        check_name(name)
        self._local.check_here()
        await self.definitions.delete(name)

    def deleted(self, topic: KnownTopic) -> None:
        """A topic that this node knows was deleted."""
        for delivery in self._deliveries:
            delivery.deleted(topic)

    def tick(self, now: float) -> None:
        """Called ten times a second."""
        for delivery in self._deliveries:
            delivery.tick(now)
        self.load.tick(now)

    def apply_topology(self, before: TopologySnapshot | None, snapshot: TopologySnapshot) -> None:
        """A new topology is in force on this node."""
        self.definitions.apply_topology(before, snapshot)
        for delivery in self._deliveries:
            delivery.apply_topology(before, snapshot)

    def connected(self, authority: str, connection: Outgoing) -> None:
        """A dialled connection is open."""
        if self.at_most_once is not None:
            self.at_most_once.links.connected(authority, connection)

    def disconnected(self, connection: Outgoing) -> None:
        """A dialled connection takes no more frames."""
        if self.at_most_once is not None:
            self.at_most_once.links.disconnected(connection)

    async def begin(self) -> None:
        """This member has joined. Returns when its grains get what others publish; see `GrainSubscriptions.begin`."""
        if self._grains is not None:
            await self._grains.begin()

    async def leaving(self, left_s: Callable[[], float]) -> None:
        """This node leaves: takes nothing more, and sends what waits, within the seconds that `left_s` returns."""
        self._local.left = True
        if self._grains is not None:
            await self._grains.leave(left_s)
        if self.relay is not None:
            self.relay.leave()
        for delivery in self._deliveries:
            await delivery.flush(left_s)

    def close(self) -> None:
        """The node stops: ends all subscriptions."""
        for delivery in self._deliveries:
            delivery.close()
        self.definitions.close()


def _refuse(connection: Connection, flags: int, generation: int, missed: int, body: memoryview) -> None:
    """No member publishes to a client."""
    raise ProtocolViolation(f"messages of a topic from {connection.peer.authority}, for a client")
