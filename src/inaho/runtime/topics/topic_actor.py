"""The system actor of topics on each member, called by other nodes like any grain.

It is a grain of a reserved kind whose one activation exists from the start of the node, as `PlacementActor`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from inaho.core.pubsub.announcements import Announcement
from inaho.core.pubsub.definition import TopicDefinition
from inaho.runtime.grains.grain import Grain, method

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["TOPICS_KEY", "TopicActor"]

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


class TopicActor(Grain, name="inaho.topic-node", reentrant=True, idle_ttl_s=0):
    """Answers other nodes about topics on this one.

    Args:
        definitions: what this node knows of topics.
        announcements: what this node knows of subscribers on others.
    """

    def __init__(self, definitions: Learner, announcements: Announcements) -> None:
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
