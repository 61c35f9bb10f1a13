"""All channels with subscribers on this node, found by the first bytes of a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from inaho.core.pubsub.announcements import topic_of
from inaho.runtime.topics.inlet import Inlet
from inaho.wire.frames import CONFIRM, HEADER, HEADER_REST, PUBLISHED
from inaho.wire.publications import read_prefix

if TYPE_CHECKING:
    from inaho.runtime.connections.connection import Connection
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.topic_logs.topic_counts import DropReports, TopicCounts
    from inaho.runtime.topics.inlet import CameLate, Sink
    from inaho.runtime.topics.message_type import MessageType

__all__ = ["Inlets"]

_PUBLISHED: Final = HEADER.pack(HEADER_REST, PUBLISHED, 0, 0, 0)

STEP_INLETS: Final = 64
STEP_US: Final = 20


class Inlets:
    """The inlets of one node.

    Args:
        local: this node.
        counts: numbers of topics.
        reports: of drops.
        changed: called with the channels that have gained their first subscriber or lost their last one.
        came_late: see `Inlet`.
    """

    def __init__(
        self,
        local: LocalNode,
        counts: TopicCounts,
        reports: DropReports,
        changed: Callable[[list[str]], None],
        came_late: CameLate,
    ) -> None:
        self._local = local
        self._counts = counts
        self._reports = reports
        self._changed = changed
        self._came_late = came_late
        self._inlets: dict[bytes, Inlet] = {}
        self._channels: dict[str, Inlet] = {}
        self._groups: dict[str, dict[str, None]] = {}

    def __len__(self) -> int:
        return len(self._inlets)

    def wants(self, prefix: bytes) -> bool:
        """Whether the channel has subscribers here."""
        return prefix in self._inlets

    def groups_of(self, topic: str) -> Iterable[str]:
        """Channels of groups of the topic that have members here."""
        return self._groups.get(topic, ())

    def add(self, channel: str, sink: Sink, kind: MessageType[Any]) -> None:
        """A subscriber begins: it gets what arrives from now on."""
        inlet = self._channels.get(channel)
        is_first = inlet is None
        if inlet is None:
            inlet = Inlet(channel, self._local, self._counts, self._reports, self._came_late)
            self._inlets[inlet.prefix] = self._channels[channel] = inlet
            if channel != inlet.topic:
                self._groups.setdefault(inlet.topic, {})[channel] = None
        inlet.add(sink, kind)
        if is_first:
            self._changed([channel])

    def effective(self, channel: str) -> None:
        """All live members publish to the subscribers of the channel."""
        inlet = self._channels.get(channel)
        if inlet is not None and inlet.effective_at is None:
            inlet.effective_at = self._local.loop.time()

    def remove(self, channel: str, sink: Sink) -> None:
        """A subscriber has ended."""
        inlet = self._channels.get(channel)
        if inlet is None or not inlet.remove(sink):
            return
        del self._inlets[inlet.prefix], self._channels[channel]
        if channel != inlet.topic:
            del self._groups[inlet.topic][channel]
            if not self._groups[inlet.topic]:
                del self._groups[inlet.topic]
        self._changed([channel])

    def sinks_of(self, topic: str) -> list[Sink]:
        """All subscribers of a topic, those of its groups included."""
        channels = (topic, *self.groups_of(topic))
        return [sink for channel in channels if channel in self._channels for sink in self._channels[channel].sinks]

    def all_sinks(self) -> list[Sink]:
        """All subscribers."""
        return [sink for inlet in self._channels.values() for sink in inlet.sinks]

    # Batches.

    def arrived(self, connection: Connection, flags: int, generation: int, missed: int, body: memoryview) -> None:
        """A `PUBLISH` frame has arrived. Raises `ProtocolViolation`."""
        inlet = self._inlets.get(read_prefix(body))
        if inlet is not None:  # otherwise its last subscriber has just ended
            inlet.take(connection.peer, flags, generation, missed, body)
        if flags & CONFIRM:
            connection.send(_PUBLISHED, b"")

    def take_own(self, prefix: bytes, body: bytes) -> None:
        """Delivers a batch of this node."""
        inlet = self._inlets.get(prefix)
        if inlet is not None:
            inlet.take_own(body)

    def publisher_gone(self, node_id: str, authority: str) -> None:
        """A member was removed."""
        self._local.slices.add(f"topics-gone-{node_id}", self._gone(node_id, authority))

    def _gone(self, node_id: str, authority: str) -> Iterator[int]:
        for number, inlet in enumerate(list(self._channels.values())):
            inlet.publisher_gone(node_id, authority)
            if number % STEP_INLETS == STEP_INLETS - 1:
                yield STEP_US

    def check(self) -> None:
        """Asserts the invariants."""
        assert {inlet.channel for inlet in self._inlets.values()} == set(self._channels)
        for channel, inlet in self._channels.items():
            assert inlet.sinks, channel
            inlet.sequences.check()
        grouped = {channel for channels in self._groups.values() for channel in channels}
        assert grouped == {channel for channel in self._channels if channel != topic_of(channel)}
