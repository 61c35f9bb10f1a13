"""Publishes to a topic at least once: checks a message, and chooses its partition.

The partition of a message is the hash of its key, or else of its id: the keeper of that partition knows whether it was
published before. Messages with neither have no order, so they go where they cost the least: to the partitions whose
keepers are on this node, if it has any, otherwise to all. Those of one iteration of the event loop go to one partition,
and those of the next to another.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from inaho.core.pubsub.arguments import NO_TEXT, is_text, key_size
from inaho.core.pubsub.partitioning import partition_of_message
from inaho.errors import InahoError, InvalidTopic, MessageTooLarge, NoSuchTopic, ShuttingDown
from inaho.runtime.topic_logs.keeper_messages import KEEPER, NewMessage, keeper_key
from inaho.runtime.topic_logs.partition_lane import OVERHEAD_BYTES, PartitionLane

if TYPE_CHECKING:
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.local.topology import Topology
    from inaho.runtime.topic_logs.ports import Keepers, LoggedTopic, ValueType
    from inaho.runtime.topic_logs.topic_counts import TopicNumbers
    from inaho.types import TopologySnapshot

__all__ = ["LogPublisher", "TypedPublisher"]

T = TypeVar("T")

ID_CHARS_MAX: Final = 200


class LogPublisher:
    """Publishes what this node publishes to one topic; all its handles share it.

    Args:
        local: the node.
        topology: of the node.
        keepers: of partitions.
        topic: the topic.
        next_number: numbers of batches of this node.
        numbers: of the topic.
        busy: lanes of this node with messages that wait or are on their way.
    """

    def __init__(
        self,
        local: LocalNode,
        topology: Topology,
        keepers: Keepers,
        topic: LoggedTopic,
        next_number: Callable[[], int],
        numbers: TopicNumbers,
        busy: dict[PartitionLane, None],
    ) -> None:
        self._busy = busy
        self._local = local
        self._topology = topology
        self._keepers = keepers
        self._topic = topic
        self._next_number = next_number
        self._numbers = numbers
        self._bytes_max = local.config.pubsub.message_bytes_max
        self._key_bytes_max = local.config.pubsub.key_bytes_max
        self._partitions = topic.definition.partitions
        self._lanes: dict[int, PartitionLane] = {}
        self._near: Sequence[int] = range(self._partitions)
        self._near_by: TopologySnapshot | None = None
        """The topology by which `_near` are the partitions that are kept here."""
        self._turn = local.entropy.random.randrange(self._partitions)
        self._unkeyed = 0
        self._unkeyed_stays = False

    def publish(self, encoded: bytes, key: str, message_id: str) -> Awaitable[None]:
        """Publishes an encoded value; it is awaited until the message is stored. Errors as `Topic.publish`."""
        local = self._local
        if self._topic.deleted or local.left:
            raise self._over()
        size_bytes = len(encoded)
        if size_bytes > self._bytes_max:
            raise MessageTooLarge(
                f"a message of topic {self._topic.name!r} takes {size_bytes} bytes, the most is {self._bytes_max} "
                "(pubsub.message_bytes_max)"
            )
        size_bytes += OVERHEAD_BYTES
        if key is not NO_TEXT:
            size_bytes += key_size(key, self._key_bytes_max)
        if message_id is not NO_TEXT:
            if not is_text(message_id, ID_CHARS_MAX):
                raise InvalidTopic(f"the id of a message is text of at most {ID_CHARS_MAX} characters: {message_id!r}")
            size_bytes += 4 * len(message_id)
        if key or message_id:  # all who publish an id again, on any node, reach the keeper that knows it
            partition = partition_of_message(key or message_id, self._partitions)
        else:
            if not self._unkeyed_stays:
                self._unkeyed_stays = True
                self._unkeyed = self._next_unkeyed()
                local.loop.call_soon(self._loop_turned)
            partition = self._unkeyed
        lane = self._lanes.get(partition)
        if lane is None:
            lane = self._lanes[partition] = self._make_lane(partition)
        message = NewMessage(key, local.unix_time(), encoded, message_id)
        if lane.full():
            return lane.put_later(message, size_bytes)
        return lane.put(message, size_bytes, local.loop.time())

    def _over(self) -> NoSuchTopic | ShuttingDown:
        if self._topic.deleted:
            return NoSuchTopic(f"topic {self._topic.name!r} was deleted")
        return ShuttingDown("this client is closed" if self._local.client else "this node has left the cluster")

    def _loop_turned(self) -> None:
        self._unkeyed_stays = False

    def _next_unkeyed(self) -> int:
        """The partition for messages without a key of this iteration of the loop."""
        self._turn += 1
        snapshot = self._topology.snapshot
        if snapshot is not self._near_by:
            self._near_by = snapshot
            self._near = self._kept_here() or range(self._partitions)
        return self._near[self._turn % len(self._near)]

    def _kept_here(self) -> list[int]:
        """The partitions whose keepers this node has by the newest topology."""
        try:
            owner = self._topology.lookup.owner
            keys = (keeper_key(self._topic.name, partition) for partition in range(self._partitions))
            authorities = [owner(KEEPER, key).authority for key in keys]
        except InahoError:
            return []  # nobody owns them for now
        return [number for number, authority in enumerate(authorities) if authority == self._local.authority]

    def _make_lane(self, partition: int) -> PartitionLane:
        definition = self._topic.definition
        drop = definition.when_cut_off == "drop"
        keeper = self._keepers(definition.name, partition, retry=not drop)
        return PartitionLane(
            self._local,
            self._topology,
            keeper,
            definition.name,
            partition,
            self._next_number,
            self._numbers,
            self._busy,
            drop=drop,
        )


class TypedPublisher(Generic[T]):
    """Publishes the messages of one handle."""

    __slots__ = ("_encode", "_publish", "_topic")

    def __init__(self, publisher: LogPublisher, topic: str, kind: ValueType[T]) -> None:
        self._publish = publisher.publish
        self._topic = topic
        self._encode = kind.encode

    def publish(self, value: T, key: str, id: str) -> Awaitable[None]:
        """See `Topic.publish`."""
        return self._publish(self._encode(value, self._topic), key, id)
