"""The messages of this node's topics for one other node: sent on its connection, kept, or dropped.

A node is *open*, *slow* (its connection takes no more, and publishers have waited for it long enough), or *cut off*
(unreachable, removed, or not connected). Messages for a slow node are dropped until it reads again. For a node that is
cut off the topic decides: they are dropped at once, or kept in a `CutOffQueue` until it is back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from inaho.core.pubsub.cut_off_queue import CutOffQueue, Kept
from inaho.events import CutOffQueueDelivered
from inaho.wire.features import TOPICS
from inaho.wire.frames import BEGINS, CONFIRM, HEADER, HEADER_BYTES, HEADER_REST, LAST, PUBLISH
from inaho.wire.publications import encode_batch

if TYPE_CHECKING:
    from inaho.runtime.connections.outgoing import Outgoing
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.topic_logs.topic_counts import DropReports

__all__ = ["Lane", "NodeLink", "Source"]


class Source(Protocol):
    """What publishes to a topic on this node (`Outlet`), as its lanes see it."""

    topic: str
    generation: int
    sequence: int
    queues: bool


class Lane:
    """One channel of one topic, for one node.

    Args:
        source: what publishes.
        link: of the node.
        prefix: of the channel, see `prefix_of`.
        since: the version of the node's announcements with which the subscription began.

    Attributes:
        base: the sequence number after which the node is to get all messages.
        begun: the number of the connection on which something was sent, see `NodeLink.connections`.
    """

    __slots__ = ("base", "begun", "link", "prefix", "since", "source")

    def __init__(self, source: Source, link: NodeLink, prefix: bytes, since: int) -> None:
        self.source = source
        self.link = link
        self.prefix = prefix
        self.since = since
        self.base = source.sequence
        self.begun = 0


class _Batch:
    """A batch that is kept for a node."""

    __slots__ = ("body", "first", "lane")

    def __init__(self, lane: Lane, first: int, body: bytes) -> None:
        self.lane = lane
        self.first = first
        self.body = body


class NodeLink:
    """One other node.

    Args:
        local: this node.
        reports: of drops.
        authority, node_id: of the other node.

    Attributes:
        authority, node_id: as given.
        connection: to the node; None without one.
        cut_off: whether the node is unreachable or was removed.
        absent_since: when it was removed, or was first known without being a member; None for a member. Seconds.
        was_member: whether it has ever been a member.
        slow: publishers do not wait for this node any more, and it gets nothing until it has handled what was sent.
        connections: counts the connections to the node.
        touched: whether something was sent that is not yet written.
        behind: lanes whose last sequence number the node may not have.
    """

    def __init__(self, local: LocalNode, reports: DropReports, authority: str, node_id: str) -> None:
        self.authority = authority
        self.node_id = node_id
        self.connection: Outgoing | None = None
        self.cut_off = False
        self.absent_since: float | None = None
        self.was_member = False
        self.slow = False
        self.connections = 0
        self.touched = False
        self.behind: dict[Lane, None] = {}
        self._local = local
        self._reports = reports
        config = local.config.pubsub
        self.queue: CutOffQueue[_Batch] = CutOffQueue(
            config.cut_off_messages_max, config.cut_off_bytes_max, config.cut_off_age_s
        )
        self._room: asyncio.Future[None] | None = None
        """Resolved with the next confirmation, or the end of the connection."""
        self._stalled_at: float | None = None
        """Since when publishers wait for this node, or when it has last confirmed something."""
        self._draining = False
        self._write_max = local.config.transport.write_bytes_max

    @property
    def open(self) -> bool:
        """Whether messages can be sent now."""
        return self.connection is not None and not self.cut_off

    @property
    def stalls(self) -> bool:
        """Whether publishers have to wait for this node."""
        return not self.slow and not self.cut_off and self._crowded

    @property
    def _crowded(self) -> bool:
        connection = self.connection
        return connection is not None and not connection.closed and (connection.paused or connection.flight.full)

    # Sending.

    def send(self, lane: Lane, first: int, count: int, body: bytes) -> bool:
        """Sends a batch, or keeps or drops it. The owner of the link writes it later, see `flush`.

        Args:
            lane: of this link.
            first: sequence number of its first message.
            count: its messages.
            body: encoded for the channel of the lane.

        Returns:
            Whether publishers have to wait for the node.
        """
        source = lane.source
        connection = self.connection
        if connection is None or self.cut_off or (source.queues and self.queue.waits):
            if source.queues:
                self._keep(lane, first, count, body, sent=False)
            else:
                self._drop(lane, count, "cut_off")
            return False
        crowded = connection.paused or connection.flight.full
        if self.slow and not connection.paused and connection.flight.low:
            self.slow = False
        if self.slow or (crowded and max(connection.flight.size, connection.unsent_bytes) > self._write_max):
            self._drop(lane, count, "slow_node")
            return not self.slow
        if source.queues:
            self._keep(lane, first, count, body, sent=True)
        self._write(connection, lane, first, body, kept=source.queues)
        self.touched = True
        return connection.paused or connection.flight.full

    def _write(
        self, connection: Outgoing, lane: Lane, first: int, body: bytes, flags: int = 0, *, kept: bool = False
    ) -> None:
        missed = 0
        if lane.begun != self.connections:
            lane.begun = self.connections
            flags |= BEGINS
            missed = min(first - 1 - lane.base, 0xFFFFFFFF)
        if connection.flight.add(HEADER_BYTES + len(body), self._local.loop.time(), kept=kept):
            flags |= CONFIRM
        connection.add(HEADER.pack(HEADER_REST + len(body), PUBLISH, flags, lane.source.generation, missed), body)
        if self.behind:
            self.behind.pop(lane, None)

    def _drop(self, lane: Lane, count: int, reason: str) -> None:
        self.behind[lane] = None
        self._reports.dropped(lane.source.topic, reason, count, self.authority)

    def flush(self) -> None:
        """Writes what was sent."""
        self.touched = False
        if self.connection is not None:
            self.connection.flush()

    async def room(self, within_s: float) -> None:
        """Returns when more may be sent. After `within_s` seconds in which the node has handled nothing, it is slow."""
        while self.stalls:
            if self._stalled_at is None:
                self._stalled_at = self._local.loop.time()
            try:
                async with asyncio.timeout_at(self._stalled_at + within_s):
                    await self._freed()
            except TimeoutError:
                if self._has_stalled_for(within_s):
                    self.slow = self._crowded
        self._stalled_at = None

    def _has_stalled_for(self, seconds: float) -> bool:
        """Whether the node has handled nothing for so long."""
        return self._stalled_at is not None and self._local.loop.time() >= self._stalled_at + seconds

    async def _freed(self) -> None:
        """Returns when there may be room on the connection."""
        connection = self.connection
        if connection is None:
            return
        if not connection.flight.full:
            await connection.room()
            return
        if self._room is None:
            self._room = self._local.loop.create_future()
        await asyncio.shield(self._room)

    def _published(self, kept: bool) -> None:
        """The node has confirmed a frame."""
        if kept:
            self.queue.confirm()
        if self._stalled_at is not None:
            self._stalled_at = self._local.loop.time()
        self._wake()

    def _wake(self) -> None:
        if self._room is not None:
            self._room.set_result(None)
            self._room = None

    # Cut off.

    def _keep(self, lane: Lane, first: int, count: int, body: bytes, *, sent: bool) -> None:
        kept = Kept(_Batch(lane, first, body), count, len(body), self._local.loop.time())
        for given_up in self.queue.add(kept, sent=sent):
            self._drop(given_up.item.lane, given_up.count, "cut_off_queue_full")

    def connected(self, connection: Outgoing) -> None:
        """There is a connection to the node."""
        if not connection.peer.speaks(TOPICS):
            return
        self.disconnected()
        self.connection = connection
        self.connections += 1
        self.slow = False
        connection.when_published = self._published
        self.queue.connected(connection.flight.kept)
        self.drain()

    def disconnected(self) -> None:
        """The connection takes no more messages."""
        if self.connection is not None:
            self.connection.when_published = None
        self.connection = None
        self.queue.disconnected()
        self._wake()

    def drain(self) -> None:
        """Sends what was kept, if the node can be reached."""
        if self.open and self.queue.waits and not self._draining:
            self._draining = True
            self._local.spawn(self._drain(), name=f"inaho-topics-drain-{self.authority}")

    async def _drain(self) -> None:
        drained: dict[str, int] = {}
        try:
            while self.open and (kept := self.queue.take()) is not None:
                connection = self.connection
                assert connection is not None
                batch = kept.item
                topic = batch.lane.source.topic
                drained[topic] = drained.get(topic, 0) + kept.count
                self._write(connection, batch.lane, batch.first, batch.body, kept=True)
                connection.flush()
                await asyncio.sleep(0)
                while self.open and self._crowded:
                    await self._freed()
        finally:
            self._draining = False
        if not self.queue.waits:
            for topic, count in drained.items():
                self._local.publish(CutOffQueueDelivered(topic=topic, authority=self.authority, count=count))
        self.drain()

    def expire(self, now: float) -> None:
        """Drops what has waited too long."""
        if self.queue.waits:
            for kept in self.queue.expire(now):
                self._drop(kept.item.lane, kept.count, "cut_off_too_long")

    def end(self) -> None:
        """The node has ended: drops what was kept for it."""
        if self.connection is not None:  # it may go on with another link, such as that of a member that comes back
            self.connection.when_published = None
        self._wake()
        for kept in self.queue.clear():
            self._reports.dropped(kept.item.lane.source.topic, "cut_off", kept.count, self.authority)
        self.behind.clear()

    # Tails.

    def send_tails(self, most: int, unix_time: Callable[[], float], *, last: bool = False) -> None:
        """Sends the last sequence numbers that the node may not have; at most so many.

        Args:
            most: lanes at most.
            unix_time: the clock of publications.
            last: this node ends, so nothing follows.
        """
        connection = self.connection
        if not self.behind or connection is None or self.cut_off or self._crowded:
            return
        lanes = [lane for lane, _ in zip(self.behind, range(most), strict=False)]
        for lane in lanes:
            if lane.source.queues and self.queue.waits:
                continue
            del self.behind[lane]
            first = lane.source.sequence + 1
            body = encode_batch(lane.prefix, first, unix_time(), None, ())
            self._write(connection, lane, first, body, LAST if last else 0)
        self.flush()

    def check(self) -> None:
        """Asserts the invariants."""
        self.queue.check()
