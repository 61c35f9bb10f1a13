"""Asks the keepers of a topic at least once how far its subscriptions are, and moves and deletes subscriptions."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec.structs import replace

from inaho.core.pubsub.arguments import is_whole
from inaho.errors import InvalidTopic
from inaho.runtime.topic_logs.positions import check_start, start_at
from inaho.runtime.topic_logs.subscription import check_subscription

if TYPE_CHECKING:
    from inaho.core.pubsub.definition import TopicDefinition
    from inaho.runtime.topic_logs.keeper_messages import PartitionDescription
    from inaho.runtime.topic_logs.ports import Keepers, LoggedTopic
    from inaho.runtime.topic_logs.positions import Start

__all__ = ["LogOperations"]


class LogOperations:
    """Asks the keepers of partitions.

    Args:
        keepers: gives references to them.
    """

    def __init__(self, keepers: Keepers) -> None:
        self._keepers = keepers

    async def describe(self, topic: LoggedTopic, partition: int) -> PartitionDescription:
        """See `Topic.partition`."""
        if not is_whole(partition, 0, topic.definition.partitions - 1):
            raise InvalidTopic(
                f"topic {topic.name!r} has partitions 0 to {topic.definition.partitions - 1}, not {partition!r}"
            )
        keeper = self._keepers(topic.name, partition)
        found = await keeper.describe("")
        while found.more:
            following = await keeper.describe(found.subscriptions[-1].name)
            found = replace(following, subscriptions=[*found.subscriptions, *following.subscriptions])
        return found

    async def delete_subscription(self, topic: LoggedTopic, name: str) -> bool:
        """See `Topic.delete_subscription`."""
        check_subscription(name)
        numbers = range(topic.definition.partitions)
        found = await asyncio.gather(*(self._keepers(topic.name, each).delete_subscription(name) for each in numbers))
        return any(found)

    async def seek(self, topic: LoggedTopic, name: str, start: Start) -> None:
        """See `Topic.seek`."""
        check_subscription(name)
        check_start(start, topic.definition.partitions)
        starts = [start_at(start, partition) for partition in range(topic.definition.partitions)]
        await asyncio.gather(*(self._keepers(topic.name, at).seek(name, each) for at, each in enumerate(starts)))

    async def remove(self, definition: TopicDefinition) -> None:
        """Removes the logs of a topic that was deleted. Raises the error of a keeper that could not be called."""
        numbers = range(definition.partitions)
        await asyncio.gather(*(self._keepers(definition.name, each).remove(definition.created_at) for each in numbers))
