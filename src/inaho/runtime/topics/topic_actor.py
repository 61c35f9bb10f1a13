"""The system actor of topics on each member, called by other nodes like any grain.

It is a grain of a reserved kind whose one activation exists from the start of the node, as `PlacementActor`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Final, Protocol

from inaho.core.pubsub.announcements import Announcement
from inaho.core.pubsub.definition import TopicDefinition
from inaho.runtime.grains.grain import Grain, method
from inaho.types import Struct

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

__all__ = ["TOPICS_KEY", "RelayedMessage", "TopicActor"]

TOPICS_KEY: Final = "topics"


class Learner(Protocol):
    """Takes what the registry tells."""

    def heard(self, news: Sequence[tuple[TopicDefinition, bool]]) -> None:
        """Topics that exist now (True) or were deleted (False), in their order."""
        ...


class Announcements(Protocol):
    """Takes what other nodes announce."""

    async def announced(self, authority: str, node_id: str, announcement: Announcement) -> bool:
        """See `TopicActor.announce`."""
        ...


class RelayedMessage(Struct, frozen=True, array_like=True, gc=False):
    """One item of the stream of a client that is subscribed. The first one has no message: the subscription has begun.

    Later ones without a message tell that the last messages of a publisher may be missing.

    Attributes:
        value: encoded.
        key, sequence, published_at, missed, publisher: see `Message`; the sequence is 0 if there is no message, and the
            key is the authority of the publisher then.
        ended: why the subscription has ended; of the last item.
    """

    value: bytes = b""
    key: str = ""
    sequence: int = 0
    published_at: float = 0.0
    missed: int = 0
    publisher: str = ""
    ended: str = ""


class ForClients(Protocol):
    """Publishes and subscribes for clients."""

    async def publish(self, topic: str, keys: Sequence[str], values: Sequence[bytes]) -> None:
        """See `TopicActor.publish`."""
        ...

    def subscribe(self, topic: str) -> AsyncGenerator[RelayedMessage]:
        """See `TopicActor.subscribe`."""
        ...


class TopicActor(Grain, name="inaho.topic-node", reentrant=True, idle_ttl_s=0):
    """Answers other nodes about topics on this one.

    Args:
        definitions: what this node knows of topics.
        announcements: what this node knows of subscribers on others.
        clients: publishes and subscribes for clients.
    """

    def __init__(self, definitions: Learner, announcements: Announcements, clients: ForClients) -> None:
        self._clients = clients
        self._definitions = definitions
        self._announcements = announcements

    @method(idempotent=True)
    async def heard(self, news: list[tuple[TopicDefinition, bool]]) -> None:
        """Topics were created (True) or deleted (False)."""
        self._definitions.heard(news)

    @method(idempotent=True)
    async def announce(self, authority: str, node_id: str, announcement: Announcement) -> bool:
        """A node says which topics have subscribers on it; from the answer on this node publishes to it.

        Args:
            authority, node_id: of that node.
            announcement: all its channels, or what has changed.

        Returns:
            Whether it leads on from what this node has; if not, the node announces all its channels.
        """
        return await self._announcements.announced(authority, node_id, announcement)

    async def publish(self, topic: str, keys: list[str], values: list[bytes]) -> None:
        """Publishes messages of a client, at most once.

        Args:
            topic: its name.
            keys: of the messages; empty for none.
            values: encoded.
        """
        await self._clients.publish(topic, keys, values)

    async def subscribe(self, topic: str) -> AsyncIterator[RelayedMessage]:
        """The messages of a topic at most once, for a client, until it ends the stream or this node leaves."""
        async with aclosing(self._clients.subscribe(topic)) as items:
            async for item in items:
                yield item
