"""What a handle of a topic needs of a way of delivery: at most once, or at least once.

Each node has one object of each (`AtMostOnce`, `AtLeastOnce`). `Topic` chooses by the definition of the topic and knows
nothing else about them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from inaho.actor.ref import ActorRef
    from inaho.core.pubsub.definition import TopicDefinition
    from inaho.runtime.topic_logs.subscription import SubscribeOptions, Subscription
    from inaho.runtime.topics.message_type import MessageType
    from inaho.types import TopologySnapshot

__all__ = ["Delivery", "KnownTopic", "Publisher"]

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)


class KnownTopic:
    """A topic that this node knows; one object for all its handles, as long as the topic exists.

    Args:
        definition: of the topic.

    Attributes:
        definition: it changes only if the registry has lost it and another node has defined it anew.
        deleted: the topic was deleted, so publishing and subscribing raise `NoSuchTopic`. A topic that is created again
            is another `KnownTopic`.
    """

    __slots__ = ("__weakref__", "definition", "deleted")

    def __init__(self, definition: TopicDefinition) -> None:
        self.definition = definition
        self.deleted = False

    @property
    def name(self) -> str:
        """Of the topic."""
        return self.definition.name


class Publisher(Protocol[T_contra]):
    """Publishes the messages of one handle."""

    def publish(self, value: T_contra, key: str, id: str) -> Awaitable[None]:
        """See `Topic.publish`. All that can be checked is checked before it returns."""
        ...


class Delivery(Protocol):
    """One way of delivery on one node."""

    def publisher(self, topic: KnownTopic, kind: MessageType[T]) -> Publisher[T]:
        """What publishes for one handle; cheap, and made with each handle."""
        ...

    def subscribe(self, topic: KnownTopic, kind: MessageType[T], options: SubscribeOptions) -> Subscription[T]:
        """A subscription that has not begun; `Subscription.start` begins it. `options` are checked."""
        ...

    def deliver_to(
        self, topic: KnownTopic, kind: MessageType[T], options: SubscribeOptions, actor: ActorRef
    ) -> Subscription[T]:
        """A subscription of a local actor that has not begun. Raises `InvalidTopic` if there is no such thing."""
        ...

    def deleted(self, topic: KnownTopic) -> None:
        """The topic was deleted: its subscriptions on this node end (`deleted`)."""
        ...

    def tick(self, now: float) -> None:
        """Called ten times a second; `now` in seconds of the loop's clock."""
        ...

    def apply_topology(self, before: TopologySnapshot | None, snapshot: TopologySnapshot) -> None:
        """A new topology is in force."""
        ...

    async def flush(self, left_s: Callable[[], float]) -> None:
        """This node leaves: sends what waits, within the time that `left_s` returns, in seconds."""
        ...

    def close(self) -> None:
        """The node stops: ends all subscriptions (`stopped`) and forgets what waits."""
        ...
