"""Publishes the messages of one topic at most once: gathers them into batches, and sends each batch to every lane.

`publish` encodes a value and appends it to the present batch, nothing more. The batch leaves at the end of the loop
iteration, or when it is full; then it is encoded once and sent to every node that is subscribed. So a message costs the
publisher the same for one subscriber and for a hundred on as many nodes, but for the writes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from inaho.core.pubsub.arguments import NO_TEXT, key_size
from inaho.errors import InvalidTopic, MessageTooLarge, NoSubscribers, NoSuchTopic, ShuttingDown, WrongMessageType
from inaho.errors.inspection import text_of
from inaho.wire.codec import ENCODE_ERRORS, encode
from inaho.wire.publications import encode_batch, prefix_of

if TYPE_CHECKING:
    from inaho.config import PubSubConfig
    from inaho.runtime.topic_logs.topic_counts import TopicNumbers
    from inaho.runtime.topics.delivery import KnownTopic
    from inaho.runtime.topics.message_type import MessageType
    from inaho.runtime.topics.node_link import Lane, NodeLink

__all__ = ["BATCH_MESSAGES_MAX", "DirectPublisher", "Outlet"]

T = TypeVar("T")

BATCH_MESSAGES_MAX: Final = 1024
"""Messages of one batch, however small they are: a batch must not take the receiver long, nor fill a window."""

LOOK_MASK: Final = 31
"""`publish` looks at the clock with each 32nd message of a batch."""

HEAD_BYTES: Final = 2048
"""What header, name and numbers take in a frame, at most."""


class LocalChannels(Protocol):
    """Delivers the messages of this node to subscribers on this node."""

    def wants(self, prefix: bytes) -> bool:
        """Whether a channel has subscribers here."""
        ...

    def take_own(self, prefix: bytes, body: bytes) -> None:
        """Delivers a batch."""
        ...


class Schedule(Protocol):
    """Decides when batches leave, and whether this node may publish."""

    unix_time: Callable[[], float]

    @property
    def ready(self) -> bool:
        """Whether this node may publish."""
        ...

    def due(self, outlet: Outlet) -> bool:
        """The outlet has the first message of a batch: it leaves soon, or now. Returns whether other Tasks must run."""
        ...

    def long(self) -> bool:
        """Whether publishers have run for long since other Tasks ran."""
        ...

    def now(self, outlet: Outlet) -> None:
        """The batch of the outlet is full: it leaves now."""
        ...

    async def wait_ready(self) -> None:
        """Returns when this node knows who is subscribed."""
        ...


class Outlet:
    """The publishing side of one topic on this node.

    Args:
        topic: name of the topic.
        generation: of its count of messages.
        config: bounds.
        frame_bytes_max: bytes of a frame.
        schedule: decides when batches leave.
        local: subscribers on this node.
        numbers: of the topic.

    Attributes:
        sequence: of the last message that has left in a batch.
        values: the present batch, encoded; keys: its keys, None if all are empty; size: its bytes.
        hindered: `publish` must look closer before it appends: see `Outlet.admit`.
        lanes: where batches go on other nodes.
        own: prefixes of channels with subscribers on this node.
        queues: whether messages for nodes that are cut off are kept.
        used_at: seconds of the loop's clock when the last batch left.
    """

    def __init__(
        self,
        topic: KnownTopic,
        generation: int,
        config: PubSubConfig,
        frame_bytes_max: int,
        schedule: Schedule,
        local: LocalChannels,
        numbers: TopicNumbers,
    ) -> None:
        self.known = topic
        self.topic = topic.name
        self.prefix = prefix_of(topic.name)
        self.generation = generation
        self.sequence = 0
        self.values: list[bytes] = []
        self.keys: list[str] | None = None
        self.size = 0
        self.hindered = True
        self.lanes: tuple[Lane, ...] = ()
        self.own: tuple[bytes, ...] = ()
        self.queues = topic.definition.when_cut_off == "queue"
        self.used_at = 0.0
        self.schedule = schedule
        self.message_max = min(config.message_bytes_max, frame_bytes_max - HEAD_BYTES - config.key_bytes_max)
        self.key_max = config.key_bytes_max
        self.size_max = min(config.batch_bytes_max, frame_bytes_max - HEAD_BYTES)
        self._room_wait_s = config.room_wait_s
        self._room_max = frame_bytes_max - HEAD_BYTES
        self._local = local
        self._numbers = numbers
        self._crowded = False
        self._may_have_none = topic.definition.allow_no_subscribers
        self._reached = False
        """Whether there is a subscriber, or a node whose messages are kept."""

    # Routes.

    def route(self, lanes: tuple[Lane, ...], own: tuple[bytes, ...]) -> None:
        """Who is subscribed has changed: from the next message on. The caller has sent the present batch."""
        self.lanes = lanes
        self.own = own
        self.look()

    def look(self) -> None:
        """Something has changed that decides whether messages may be published."""
        self._reached = bool(self.own) or any(self._counts(lane.link) for lane in self.lanes)
        self.hindered = (
            self.known.deleted or not self.schedule.ready or self._crowded or not (self._reached or self._may_have_none)
        )

    def _counts(self, link: NodeLink) -> bool:
        """Whether the node is a subscriber: also one that was removed, if its messages are kept until it is back."""
        return self.queues or link.absent_since is None or not link.was_member

    # Publishing.

    async def admit(self) -> None:
        """Returns when a message may be published, or raises why it may not."""
        if not self.schedule.ready:
            await self.schedule.wait_ready()
        if self._crowded:
            await self.room()
        self.look()
        if self.known.deleted:
            raise NoSuchTopic(f"topic {self.topic!r} was deleted")
        if not self.schedule.ready:
            raise ShuttingDown("this node is leaving the cluster")
        if not (self._reached or self._may_have_none):
            raise NoSubscribers(f"topic {self.topic!r} has no subscribers")

    def check_size(self, size: int, key: str) -> int:
        """The bytes of a message with its key. Raises `MessageTooLarge`, and `InvalidTopic` for the key."""
        if size > self.message_max:
            raise MessageTooLarge(
                f"a message of {size} bytes for topic {self.topic!r}; at most {self.message_max} are allowed "
                "(pubsub.message_bytes_max)"
            )
        of_key = key_size(key, self.key_max)
        return size + of_key + 5 if of_key else size

    def make_room(self, size: int) -> None:
        """The present batch leaves if a message of that size would make it exceed a frame."""
        if self.size + size > self._room_max:
            self.schedule.now(self)

    def add_key(self, key: str) -> None:
        """The key of the message that is appended next."""
        if self.keys is None:
            self.keys = [""] * len(self.values)
        self.keys.append(key)

    async def turn(self) -> None:
        """Other Tasks run, and a node that reads slowly gets time."""
        await asyncio.sleep(0)
        if self._crowded:
            await self.room()

    def is_crowded(self) -> bool:
        """Whether publishers have to wait for a node. Then `publish` looks closer from now on."""
        for lane in self.lanes:
            if lane.link.stalls:
                self._crowded = self.hindered = True
                return True
        return False

    async def room(self) -> None:
        """Waits for nodes that handle less than is published, see `NodeLink.room`."""
        for lane in self.lanes:
            if lane.link.stalls:
                await lane.link.room(self._room_wait_s)
        self._crowded = any(lane.link.stalls for lane in self.lanes)
        self.look()

    def flush(self) -> None:
        """Sends the present batch. The links write it later."""
        values, keys = self.values, self.keys
        if not values:
            return
        count = len(values)
        self.values, self.keys = [], None
        size, self.size = self.size, 0
        first = self.sequence + 1
        self.sequence += count
        numbers = self._numbers
        numbers.published += count
        numbers.published_bytes += size
        numbers.batches += 1
        published_at = self.schedule.unix_time()
        prefix, body = self.prefix, b""
        crowded = False
        for lane in self.lanes:
            if not body or lane.prefix != prefix:
                prefix = lane.prefix
                body = encode_batch(prefix, first, published_at, keys, values)
            crowded |= lane.link.send(lane, first, count, body)
        for own in self.own:
            if not body or own != prefix:
                prefix = own
                body = encode_batch(own, first, published_at, keys, values)
            self._local.take_own(own, body)
        if crowded:
            self._crowded = self.hindered = True


class DirectPublisher(Generic[T]):
    """Publishes the messages of one handle at most once.

    Args:
        outlet: of the topic.
        kind: type of the messages.
    """

    __slots__ = ("_is_plain", "_kind", "_outlet")

    def __init__(self, outlet: Outlet, kind: MessageType[T]) -> None:
        self._outlet = outlet
        self._kind = kind
        self._is_plain = kind.is_plain

    async def publish(self, value: T, key: str, id: str) -> None:
        """See `Topic.publish`."""
        outlet = self._outlet
        try:
            encoded = encode(value)
        except ENCODE_ERRORS as error:
            raise WrongMessageType(f"a message of topic {outlet.topic!r} has no encoding: {text_of(error)}") from error
        is_plain: Any = self._is_plain
        if is_plain is None or not is_plain(value):
            self._kind.copy(encoded, outlet.topic)
        if id != "":
            raise InvalidTopic(f"topic {outlet.topic!r} is at most once; a message has an id at least once only")
        size = len(encoded)
        if key is not NO_TEXT or size > 1024:
            size = outlet.check_size(size, key)
        if outlet.hindered:
            await outlet.admit()
        if outlet.size + size > outlet.size_max:
            outlet.make_room(size)
        values = outlet.values
        if key or outlet.keys is not None:
            outlet.add_key(key)
        values.append(encoded)
        outlet.size += size
        count = len(values)
        if outlet.size >= outlet.size_max or count >= BATCH_MESSAGES_MAX:
            outlet.schedule.now(outlet)
            await outlet.turn()
        elif count == 1:
            if outlet.schedule.due(outlet):
                await outlet.turn()
        elif not count & LOOK_MASK and outlet.schedule.long():
            await outlet.turn()
