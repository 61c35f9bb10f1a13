"""All topics that this node publishes to at most once: when their batches leave, and by which links.

All batches that are due in one iteration of the loop leave in one callback, and each connection is written once.

An outlet lives as long as something publishes through it, or messages of it may still be needed. Its count of messages
begins anew when it is made again, and says so (`generation`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from inaho.core.bounded_map import BoundedMap
from inaho.core.identity.hashing import identity_hash
from inaho.core.pubsub.announcements import topic_of
from inaho.runtime.topics.node_link import Lane
from inaho.runtime.topics.outlet import Outlet
from inaho.wire.publications import prefix_of

if TYPE_CHECKING:
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.topic_logs.topic_counts import TopicCounts
    from inaho.runtime.topics.announcer import Announcer
    from inaho.runtime.topics.delivery import KnownTopic
    from inaho.runtime.topics.inlets import Inlets
    from inaho.runtime.topics.node_link import NodeLink
    from inaho.runtime.topics.node_links import NodeLinks

__all__ = ["Outlets"]

RECENT_MAX: Final = 1024
RECENT_S: Final = 60.0
"""So many outlets are kept so long after their last batch, though nothing uses them."""

TAILS_MAX: Final = 256
"""Last sequence numbers that are sent to one node per tick."""

LONE_NS: Final = 20_000
"""A message that comes so long after the last batch leaves at once: it would wait for the end of the iteration of the
loop in vain. The write costs about half of that time, so it takes at most a third of it if all messages are alone."""

ALONE_MAX: Final = 16
DUE_MAX: Final = 64
LONG_NS: Final = 2_000_000
"""Other Tasks run after so many batches that left at once, so many topics that have a batch, or so much time: a program
that publishes in a loop must not keep this node from answering."""

STEP_LANES: Final = 64
STEP_US: Final = 20


class Outlets:
    """The outlets of one node.

    Args:
        local: this node.
        announcer: knows who is subscribed.
        inlets: subscribers of this node.
        counts: numbers of topics.

    Attributes:
        links: of this node; set once, since the links and their users need each other.
        unix_time, ready: see `outlet.Schedule`.
    """

    links: NodeLinks

    def __init__(self, local: LocalNode, announcer: Announcer, inlets: Inlets, counts: TopicCounts) -> None:
        self.unix_time: Callable[[], float] = local.unix_time
        self._local = local
        self._announcer = announcer
        self._inlets = inlets
        self._counts = counts
        self._outlets: WeakValueDictionary[str, Outlet] = WeakValueDictionary()
        self._recent: BoundedMap[str, Outlet] = BoundedMap(RECENT_MAX)
        self._due: list[Outlet] = []
        self._clock_ns = local.clock_ns
        self._sent_ns = 0
        """When the last batch left that was not full, or other Tasks ran since."""
        self._alone = 0
        """Batches that left at once."""
        self._generation = 0
        self._linger_s = local.config.pubsub.linger_s
        self._tails_at = 0.0
        self._closed = False

    @property
    def ready(self) -> bool:
        """Whether this node may publish."""
        return self._announcer.ready and not self._closed

    def __len__(self) -> int:
        return len(self._outlets)

    def outlet(self, topic: KnownTopic) -> Outlet:
        """The outlet of a topic, made if needed."""
        outlet = self._outlets.get(topic.name)
        if outlet is None or outlet.known is not topic:
            self._generation = (self._generation + 1) & 0xFFFF
            config = self._local.config
            outlet = self._outlets[topic.name] = Outlet(
                topic,
                self._generation,
                config.pubsub,
                config.transport.frame_bytes_max,
                self,
                self._inlets,
                self._counts.of(topic.name),
            )
            self._route(outlet)
        return outlet

    def deleted(self, topic: KnownTopic) -> None:
        """The topic was deleted."""
        outlet = self._outlets.get(topic.name)
        if outlet is not None and outlet.known is topic:
            outlet.look()

    def stalls(self, topic: str) -> bool:
        """Whether a node that is subscribed to the topic reads slower than this node publishes."""
        outlet = self._outlets.get(topic)
        return outlet is not None and any(lane.link.stalls or lane.link.slow for lane in outlet.lanes)

    # Routes.

    def changed(self, channels: list[str]) -> None:
        """The subscribers of channels have changed, on this node or others."""
        for topic in dict.fromkeys(topic_of(channel) for channel in channels):
            outlet = self._outlets.get(topic)
            if outlet is not None:
                self._route(outlet)

    def _route(self, outlet: Outlet) -> None:
        """Finds out where the batches of an outlet go: to all nodes of the topic, and to one of each group."""
        outlet.flush()  # before new lanes count what their nodes are to get
        remote, own_id = self._announcer.remote, self._local.node_id
        before = {(lane.prefix, lane.link, lane.since): lane for lane in outlet.lanes}
        own = [outlet.prefix] if self._inlets.wants(outlet.prefix) else []
        wanted = [(outlet.topic, node_id) for node_id in remote.nodes_of.get(outlet.topic, ())]
        for channel in remote.groups_of.get(outlet.topic, ()):
            if not self._inlets.wants(prefix_of(channel)):
                wanted.append((channel, self._member_of(channel)))
        for channel in self._inlets.groups_of(outlet.topic):
            own.append(prefix_of(channel))
        lanes: list[Lane] = []
        for channel, node_id in wanted:
            link = self.links.get(node_id)
            if link is not None and node_id != own_id:
                prefix = outlet.prefix if channel == outlet.topic else prefix_of(channel)
                since = remote.since(node_id, channel)
                lanes.append(before.get((prefix, link, since)) or Lane(outlet, link, prefix, since))
        outlet.route(tuple(lanes), tuple(own))

    def _member_of(self, channel: str) -> str:
        """The node of a group that gets the messages: always the same one, while it can be reached."""
        nodes = list(self._announcer.remote.nodes_of[channel])
        reached = [node_id for node_id in nodes if (link := self.links.get(node_id)) is not None and link.open]
        return min(reached or nodes, key=lambda node_id: identity_hash(node_id, channel))

    def look(self) -> None:
        """Whether this node may publish has changed."""
        for outlet in list(self._outlets.values()):
            outlet.look()

    def link_changed(self, link: NodeLink) -> None:
        """See `node_links.LinkUsers`."""
        self._local.slices.add(f"topics-look-{link.node_id}", self._look(link, lost=False))

    def link_lost(self, link: NodeLink) -> None:
        """See `node_links.LinkUsers`."""
        self._local.slices.add(f"topics-lost-{link.node_id}", self._look(link, lost=True))

    def _look(self, link: NodeLink, *, lost: bool) -> Iterator[int]:
        for number, outlet in enumerate(list(self._outlets.values())):
            for lane in outlet.lanes:
                if lost and lane.link is link and (outlet.sequence > lane.base or (lane.base and not lane.begun)):
                    link.behind[lane] = None
            if outlet.topic in self._announcer.remote.groups_of:
                self._route(outlet)
            else:
                outlet.look()
            if number % STEP_LANES == STEP_LANES - 1:
                yield STEP_US

    # Batches.

    def due(self, outlet: Outlet) -> bool:
        """See `outlet.Schedule`."""
        if not self._due:
            if self._linger_s:
                self._local.loop.call_later(self._linger_s, self._flush)
            else:
                now_ns = self._clock_ns()
                if now_ns - self._sent_ns >= LONE_NS:
                    self._sent_ns = now_ns
                    self.now(outlet)
                    self._alone += 1
                    return outlet.is_crowded() or not self._alone % ALONE_MAX
                self._local.loop.call_soon(self._flush)
        self._due.append(outlet)
        return outlet.is_crowded() or not len(self._due) % DUE_MAX

    def long(self) -> bool:
        """See `outlet.Schedule`."""
        now_ns = self._clock_ns()
        if now_ns - self._sent_ns < LONG_NS:
            return False
        self._sent_ns = now_ns
        return True

    def now(self, outlet: Outlet) -> None:
        """See `outlet.Schedule`."""
        outlet.flush()
        outlet.used_at = self._local.now
        if outlet.topic not in self._recent:
            self._recent[outlet.topic] = outlet
        for lane in outlet.lanes:
            if lane.link.touched:
                lane.link.flush()

    def _flush(self) -> None:
        due, self._due = self._due, []
        self._sent_ns = self._clock_ns()
        links: dict[NodeLink, None] = {}
        for outlet in due:
            outlet.flush()
            outlet.used_at = self._local.now
            if outlet.topic not in self._recent:
                self._recent[outlet.topic] = outlet
            for lane in outlet.lanes:
                if lane.link.touched:
                    links[lane.link] = None
        for link in links:
            link.flush()

    def flush(self) -> None:
        """Sends all batches, and tells each node the last numbers: this node leaves."""
        self._flush()
        for outlet in list(self._outlets.values()):
            for lane in outlet.lanes:
                if outlet.sequence > lane.base:
                    lane.link.behind[lane] = None
        for link in self.links:
            link.send_tails(len(link.behind), self.unix_time, last=True)

    def tick(self, now: float) -> None:
        """Sends last numbers to nodes that may not have them, and forgets outlets that nothing uses."""
        if now < self._tails_at:
            return
        more = False
        for link in self.links:
            link.send_tails(TAILS_MAX, self.unix_time)
            more = more or len(link.behind) >= TAILS_MAX
        if not more:
            self._tails_at = now + self._local.config.pubsub.tail_s
        for topic in [topic for topic, outlet in self._recent.items() if now - outlet.used_at > RECENT_S]:
            del self._recent[topic]

    def close(self) -> None:
        """The node stops."""
        self._closed = True
        self._due.clear()
        self._recent.clear()
        self.look()

    async def wait_ready(self) -> None:
        """See `outlet.Schedule`."""
        if not self._closed:
            await self._announcer.wait_ready()

    def check(self) -> None:
        """Asserts that batches go to exactly the nodes that have announced the topic."""
        for topic, outlet in list(self._outlets.items()):
            nodes = {lane.link.node_id for lane in outlet.lanes if lane.prefix == outlet.prefix}
            assert nodes == set(self._announcer.remote.nodes_of.get(topic, ()))
