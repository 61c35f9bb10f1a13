"""What the logs of topics need from the room above: definitions of topics, known topics, and types of values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from inaho.core.pubsub.definition import TopicDefinition
    from inaho.runtime.topic_logs.keeper_messages import PartitionKeeper

__all__ = ["Definitions", "Keepers", "LoggedTopic", "ValueType"]

T_contra = TypeVar("T_contra", contravariant=True)


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


class LoggedTopic(Protocol):
    """A topic at least once that this node knows; one object as long as the topic exists."""

    @property
    def definition(self) -> TopicDefinition:
        """Of the topic."""
        ...

    @property
    def deleted(self) -> bool:
        """It was deleted; a topic that is created again is another object."""
        ...

    @property
    def name(self) -> str:
        """Of the topic."""
        ...


class ValueType(Protocol[T_contra]):
    """The type of the messages of one handle."""

    @property
    def decode(self) -> Callable[[bytes | memoryview], Any]:
        """Bytes to a value. Raises one of `DECODE_ERRORS`."""
        ...

    def encode(self, value: T_contra, topic: str) -> bytes:
        """The encoded value, checked. Raises `WrongMessageType`."""
        ...


class Keepers(Protocol):
    """Gives references to keepers."""

    def __call__(self, topic: str, partition: int, *, retry: bool = True) -> PartitionKeeper:
        """The keeper of a partition.

        Args:
            topic: its name.
            partition: its number.
            retry: whether calls that were refused are tried again until their deadline.
        """
        ...
