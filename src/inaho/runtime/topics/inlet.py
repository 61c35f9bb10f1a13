"""Receives the messages of one channel at most once, and gives them to its subscribers in this process.

A batch is decoded once for all subscribers if nothing can change its values, and otherwise once for each. To put
messages into the window of a subscriber is one `extend`, so sixty-four subscribers cost little more than one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final, Protocol

from inaho.core.pubsub.announcements import topic_of
from inaho.core.pubsub.message import Message
from inaho.core.pubsub.sequences import Sequences
from inaho.errors import ProtocolViolation
from inaho.events import TailUnknown, TopicGap
from inaho.wire.codec import DECODE_ERRORS, decoder
from inaho.wire.frames import BEGINS, LAST
from inaho.wire.immutable import is_immutable
from inaho.wire.limits import bounded
from inaho.wire.publications import Batch, batch_decoder, decode_apart, prefix_of

if TYPE_CHECKING:
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.topic_logs.topic_counts import DropReports, TopicCounts
    from inaho.runtime.topics.message_type import MessageType
    from inaho.wire.handshake import PeerInfo

__all__ = ["CameLate", "Inlet", "Sink"]

Messages = list[Message[Any]]

CameLate = Callable[[str, float], bool]

TYPES_MAX: Final = 256
"""Types for which decoders are kept, so that a hundred thousand topics of one type share theirs."""


class Sink(Protocol):
    """Takes the messages of one subscriber. Its methods never wait and never raise."""

    def put(self, messages: Messages) -> None:
        """Messages have arrived. The list may be shared with other subscribers."""
        ...

    def miss(self, count: int, before_next: int) -> None:
        """So many messages are lost; the last `before_next` of them directly before the next message."""
        ...

    def lose_tail(self, publisher: str, authority: str) -> None:
        """The last messages of a publisher may be missing, and nobody can tell. An event says so to this process."""
        ...

    def end(self, reason: str) -> None:
        """The subscription ends: `deleted` or `stopped`."""
        ...


_Arrived = tuple[int, int, float, Messages, int, int]
"""A batch as one subscriber gets it: sequence number of its first message, or of the next one if it has none; messages,
those included that do not decode; Unix seconds when it was published; the messages that decode; the number of those
that do not; and how many of these are behind the last that does."""


Reading = tuple[Callable[[bytes | memoryview], Batch], Callable[[bytes | memoryview], Any], bool]
"""How a batch is decoded, how one value is, and whether subscribers may share a value."""


def _reading(kind: Any, containers_max: int) -> Reading:
    return batch_decoder(kind, containers_max), bounded(decoder(kind), containers_max), is_immutable(kind)


_reading_known = lru_cache(TYPES_MAX)(_reading)


class _Readers:
    """The subscribers of a channel that have one type of messages."""

    __slots__ = ("decode", "decode_one", "kind", "shares", "sinks")

    def __init__(self, kind: MessageType[Any], containers_max: int) -> None:
        self.kind = kind.kind
        self.sinks: dict[Sink, None] = {}
        try:
            self.decode, self.decode_one, self.shares = _reading_known(kind.kind, containers_max)
        except TypeError:  # the type is not hashable
            self.decode, self.decode_one, self.shares = _reading(kind.kind, containers_max)


class Inlet:
    """One channel with subscribers in this process.

    Args:
        channel: name of the channel.
        local: this node.
        counts: numbers of topics.
        reports: of drops.
        came_late: whether a node has confirmed the subscriptions of this one only after that time.

    Attributes:
        channel: as given; prefix: the bytes with which its batches begin; topic: of the channel.
        sequences: of its publishers.
        effective_at: when `subscribe` returned for the first subscriber, seconds of the loop's clock; None before.
    """

    def __init__(
        self, channel: str, local: LocalNode, counts: TopicCounts, reports: DropReports, came_late: CameLate
    ) -> None:
        self.channel = channel
        self.prefix = prefix_of(channel)
        self.topic = topic_of(channel)
        self.sequences = Sequences(local.config.pubsub.publishers_max, gets_all=channel == self.topic)
        self.effective_at: float | None = None
        self._readers: list[_Readers] = []
        self._local = local
        self._numbers = counts.of(self.topic)
        self._reports = reports
        self._came_late = came_late

    @property
    def sinks(self) -> list[Sink]:
        """All subscribers."""
        return [sink for readers in self._readers for sink in readers.sinks]

    def add(self, sink: Sink, kind: MessageType[Any]) -> None:
        """A subscriber begins."""
        for readers in self._readers:
            if readers.kind == kind.kind:
                break
        else:
            readers = _Readers(kind, self._local.config.transport.containers_max)
            self._readers = [*self._readers, readers]
        readers.sinks[sink] = None

    def remove(self, sink: Sink) -> bool:
        """A subscriber has ended; returns whether none is left."""
        for readers in self._readers:
            readers.sinks.pop(sink, None)
        self._readers = [readers for readers in self._readers if readers.sinks]
        return not self._readers

    # Messages.

    def take(self, peer: PeerInfo, flags: int, generation: int, missed: int, body: memoryview) -> None:
        """A batch of another node. Raises `ProtocolViolation`."""
        node_id, repeated = peer.node_id, -1
        for readers in self._readers:
            arrived = self._read(readers, body, node_id)
            if repeated < 0:
                first, count = arrived[0], arrived[1]
                if flags & BEGINS and first - 1 > missed and node_id not in self.sequences:
                    self._begins_late(peer)
                repeated, lost = self.sequences.arrived(node_id, generation, first, count, flags & BEGINS, missed)
                if lost:
                    self._lost(peer, first - lost, lost)
                if flags & LAST:
                    self.sequences.forget(node_id)
                if count:
                    numbers = self._numbers
                    numbers.received += count - repeated
                    numbers.latencies_s.append(self._local.unix_time() - arrived[2])
            self._give(readers, arrived, repeated, body, node_id)

    def take_own(self, body: bytes) -> None:
        """A batch of this node."""
        node_id, counted = self._local.node_id, False
        for readers in self._readers:
            arrived = self._read(readers, body, node_id)
            if not counted:
                counted = True
                self._numbers.received += arrived[1]
                self._numbers.latencies_s.append(self._local.unix_time() - arrived[2])
            self._give(readers, arrived, 0, body, node_id)

    def _give(
        self, readers: _Readers, arrived: _Arrived, repeated: int, body: bytes | memoryview, node_id: str
    ) -> None:
        first, _, _, messages, undecodable, lost_last = arrived
        if repeated:
            messages = [message for message in messages if message.sequence >= first + repeated]
        if messages:
            self._numbers.delivered += len(messages) * len(readers.sinks)
            if readers.shares or len(readers.sinks) == 1:
                for sink in tuple(readers.sinks):
                    sink.put(messages)
            else:
                self._give_copies(readers, messages, body, node_id)
        if undecodable:
            count = undecodable * len(readers.sinks)
            self._reports.dropped(self.topic, "undecodable", count, self._local.authority)
            for sink in tuple(readers.sinks):
                sink.miss(undecodable, lost_last)

    def _give_copies(self, readers: _Readers, messages: Messages, body: bytes | memoryview, node_id: str) -> None:
        """Gives each subscriber values of its own."""
        oldest, mine = messages[0].sequence, messages
        for place, sink in enumerate(tuple(readers.sinks)):
            if place:
                mine = [m for m in self._read(readers, body, node_id)[3] if m.sequence >= oldest]
            sink.put(mine)

    def _read(self, readers: _Readers, body: bytes | memoryview, node_id: str) -> _Arrived:
        try:
            _, first, published_at, keys, values = readers.decode(body)
        except DECODE_ERRORS:
            return self._read_apart(readers, body, node_id)
        count = len(values)
        if first < 1 or (keys is not None and len(keys) != count):
            raise ProtocolViolation(f"a batch of {count} messages with other keys, or without a number")
        if count == 1:
            key = "" if keys is None else keys[0]
            one = [Message(values[0], key, first, published_at, 0, 1, 0, node_id)]
            return first, 1, published_at, one, 0, 0
        messages = list(
            map(
                Message,
                values,
                repeat("") if keys is None else keys,
                range(first, first + count),
                repeat(published_at),
                repeat(0),
                repeat(1),
                repeat(0),
                repeat(node_id),
            )
        )
        return first, count, published_at, messages, 0, 0

    def _read_apart(self, readers: _Readers, body: bytes | memoryview, node_id: str) -> _Arrived:
        """Decodes the values of a batch one by one. Those that do not decode are missed."""
        _, first, published_at, keys, encoded = decode_apart(body)
        messages: Messages = []
        missed = lost = 0
        for place, data in enumerate(encoded):
            try:
                value = readers.decode_one(data)
            except DECODE_ERRORS:
                missed += 1
                lost += 1
                continue
            key = "" if keys is None else keys[place]
            messages.append(Message(value, key, first + place, published_at, missed=missed, publisher=node_id))
            missed = 0
        return first, len(encoded), published_at, messages, lost, missed

    # Losses.

    def _lost(self, peer: PeerInfo, first: int, count: int) -> None:
        self._numbers.gaps += 1
        self._numbers.missed += count
        for sink in self.sinks:
            sink.miss(count, count)
        if self._local.events_wanted(TopicGap):
            self._local.publish(
                TopicGap(topic=self.topic, publisher=peer.node_id, authority=peer.authority, first=first, count=count)
            )

    def _begins_late(self, peer: PeerInfo) -> None:
        """A publisher sends to this node for the first time, and has published to others before.

        If it was not reached when `subscribe` returned here, some of that was published after it, and nobody can tell
        how much.
        """
        effective_at = self.effective_at
        if effective_at is not None and self._came_late(peer.node_id, effective_at):
            self._lose_tail(peer.node_id, peer.authority, 0)

    def _lose_tail(self, node_id: str, authority: str, last: int) -> None:
        for sink in self.sinks:
            sink.lose_tail(node_id, authority)
        self._local.publish(TailUnknown(topic=self.topic, publisher=node_id, authority=authority, last=last))

    def publisher_gone(self, node_id: str, authority: str) -> None:
        """A member was removed: nobody can tell whether its last messages have arrived."""
        if node_id in self.sequences:
            self._lose_tail(node_id, authority, self.sequences.last(node_id))
