"""The part of `Cluster` about topics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack, overload

if TYPE_CHECKING:
    from inaho.core.pubsub.definition import TopicDefinition
    from inaho.runtime.topics.topic import Topic
    from inaho.runtime.topics.topics import Topics

__all__ = ["OfTopics", "TopicSettings"]

T = TypeVar("T")


class TopicSettings(TypedDict, total=False):
    """The settings of `Cluster.topic`, by name; see `TopicDefinition`. None is as if left out."""

    delivery: str | None
    when_cut_off: str | None
    allow_no_subscribers: bool | None
    partitions: int | None
    retention_s: float | None
    backlog_max: int | None
    backlog_bytes_max: int | None
    backlog_policy: str | None
    attempts_max: int | None
    ack_timeout_s: float | None
    retry_base_s: float | None
    retry_max_s: float | None
    dedup_s: float | None


class OfTopics:
    """Topics, for programs."""

    _topics: Topics

    @overload
    async def topic(self, name: str, message_type: type[T], **settings: Unpack[TopicSettings]) -> Topic[T]: ...

    @overload
    async def topic(self, name: str, message_type: Any = ..., **settings: Unpack[TopicSettings]) -> Topic[Any]: ...

    async def topic(self, name: str, message_type: Any = None, **settings: Unpack[TopicSettings]) -> Topic[Any]:
        """Finds a topic, or creates it if a type or a setting is given and there is none.

        The first definition of a name wins, in the whole cluster, and does not change. A setting that is left out takes
        the topic as it is; its default holds for a new topic.

        Args:
            name: 1 to 200 printable characters, no spaces.
            message_type: of its messages: any type that a grain's method may have. Without it the topic takes and gives
                plain data.
            settings: `delivery`, `partitions` and others: `inaho.TopicDefinition` describes each, and has the defaults.

        Raises:
            NoSuchTopic: there is none, and neither type nor setting was given.
            TopicConflict: it exists with another type or setting.
            InvalidTopic: the name, the type or a setting is not valid.
            InahoError: as any call, and `StorageFailed` if it cannot be stored.
        """
        if unknown := settings.keys() - TopicSettings.__annotations__.keys():
            raise TypeError(f"topic() got an unexpected keyword argument {min(unknown)!r}")
        given = {setting: value for setting, value in settings.items() if value is not None}
        return await self._topics.topic(name, message_type, given)

    async def topics(self) -> list[TopicDefinition]:
        """The definitions of all topics, sorted by name."""
        return await self._topics.definitions.listed()

    async def delete_topic(self, name: str) -> None:
        """Deletes a topic with its messages and subscriptions, for ever.

        Subscribers get `SubscriptionLost`, and publishers `NoSuchTopic`. A node that cannot be reached now learns it
        when it is connected again.

        Raises:
            NoSuchTopic: there is none.
            InvalidTopic: the name is not valid.
            InahoError: as any call, and `StorageFailed` if it cannot be stored.
        """
        await self._topics.delete(name)
