"""What the logs of topics need from the room above: the definitions of topics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from inaho.core.pubsub.definition import TopicDefinition

__all__ = ["Definitions"]


class Definitions(Protocol):
    """Finds and makes definitions of topics; `runtime.topics` has the class."""

    async def find(self, name: str) -> TopicDefinition:
        """The definition of a topic, from this node's cache or from the registry.

        Raises:
            NoSuchTopic: there is none.
            InahoError: as any call.
        """
        ...

    async def define(self, definition: TopicDefinition) -> TopicDefinition:
        """Creates a topic if there is none of that name; returns the definition that is in force, which may differ."""
        ...
