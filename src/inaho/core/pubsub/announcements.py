"""Which node wants the messages of which topic: what this node announces, and what others have announced to it.

Each node announces its own topics to every other one, as changes from one version to the next: all topics to a node
that knows none of them, otherwise what has changed since the version that it has confirmed. Nobody keeps the list of
another node for others, so no list can die with a node, and none can be older than its owner.

What is announced are *channels*. The channel of a topic has its name: every node that announces it gets each message.
A channel of a group (`group_channel`) is for one of the nodes that announce it: methods of grains that subscribe.

Why not the gossip of the control plane: `subscribe` has to return when every publisher has heard of it, and gossip has
no answer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

import msgspec

__all__ = [
    "ALL",
    "Announcement",
    "OwnChannels",
    "RemoteChannels",
    "group_channel",
    "topic_of",
]

ALL: Final = -1
"""The base of an announcement of all channels."""

_GROUP: Final = "\n"
"""Between topic and group in the name of a channel. Names of topics are printable, so none contains it."""

_NAME_BYTES: Final = 8
"""What a name takes in an announcement beyond its UTF-8."""


def group_channel(topic: str, group: str) -> str:
    """The channel of a group: each message goes to one of the nodes that announce it."""
    return f"{topic}{_GROUP}{group}"


def topic_of(channel: str) -> str:
    """The topic of a channel."""
    return channel.partition(_GROUP)[0]


class Announcement(msgspec.Struct, array_like=True):
    """A part of what one node announces.

    Attributes:
        base: the version of the sender from which this leads on; `ALL`: everything before is void.
        version: the version to which it leads.
        part: counts the parts of one announcement, from 0.
        more: whether another part follows.
        added: names of channels, each with the version since which it has had subscribers without a pause.
        removed: names of channels.
        seen: the version of the receiver's own announcements that the sender has.
        asks: whether the sender publishes only when the receiver has announced again.
    """

    base: int
    version: int
    part: int = 0
    more: bool = False
    added: dict[str, int] = {}
    removed: list[str] = []
    seen: int = ALL
    asks: bool = False


class OwnChannels:
    """The channels of one node, with the number of subscribers of each, and the latest changes.

    Args:
        changes_max: changes that are kept; a node that has confirmed none of them gets all channels.

    Attributes:
        version: counts the changes.
    """

    def __init__(self, changes_max: int) -> None:
        assert changes_max >= 1, f"{changes_max} changes"
        self.version = 0
        self._subscribers: dict[str, int] = {}
        self._since: dict[str, int] = {}
        """The version with which each channel got its first subscriber."""
        self._changes: deque[str] = deque(maxlen=changes_max)
        """The channels that changed, one per version, up to the present one."""

    def __contains__(self, channel: str) -> bool:
        return channel in self._subscribers

    def __len__(self) -> int:
        return len(self._subscribers)

    def add(self, channel: str) -> bool:
        """One more subscriber; returns whether it is the first."""
        count = self._subscribers.get(channel, 0)
        self._subscribers[channel] = count + 1
        if not count:
            self._changed(channel)
            self._since[channel] = self.version
        return not count

    def remove(self, channel: str) -> bool:
        """One subscriber less; returns whether it was the last."""
        count = self._subscribers[channel] - 1
        if count:
            self._subscribers[channel] = count
        else:
            del self._subscribers[channel], self._since[channel]
            self._changed(channel)
        return not count

    def _changed(self, channel: str) -> None:
        self.version += 1
        self._changes.append(channel)

    def confirmed_by_all(self, version: int) -> None:
        """Every node has confirmed that version: forgets the changes up to it."""
        while self._changes and self.version - len(self._changes) < version:
            self._changes.popleft()

    def since(self, version: int, part_bytes_max: int) -> list[Announcement]:
        """What leads a node from that version, or from `ALL`, to the present one.

        Args:
            version: that the node has confirmed.
            part_bytes_max: bytes of names in one part; a longer name is alone in its part.
        """
        if not self.version - len(self._changes) <= version <= self.version:
            version = ALL
        if version == ALL:
            return self._parts(ALL, self._subscribers, part_bytes_max)
        changed = dict.fromkeys(list(self._changes)[len(self._changes) - (self.version - version) :])
        return self._parts(version, changed, part_bytes_max)

    def _parts(self, base: int, channels: Iterable[str], part_bytes_max: int) -> list[Announcement]:
        parts: list[tuple[dict[str, int], list[str]]] = [({}, [])]
        size = 0
        for channel in channels:
            bytes_more = len(channel.encode()) + _NAME_BYTES
            if size and size + bytes_more > part_bytes_max:
                parts.append(({}, []))
                size = 0
            size += bytes_more
            if channel in self._since:
                parts[-1][0][channel] = self._since[channel]
            else:
                parts[-1][1].append(channel)
        last = len(parts) - 1
        return [
            Announcement(base, self.version, number, number < last, added, removed)
            for number, (added, removed) in enumerate(parts)
        ]

    def check(self) -> None:
        """Asserts the invariants."""
        assert all(count > 0 for count in self._subscribers.values())
        assert len(self._changes) <= self.version
        assert list(self._since) == list(self._subscribers)
        assert all(0 < since <= self.version for since in self._since.values())


class _Node:
    """What one other node has announced."""

    __slots__ = ("arriving", "arriving_parts", "arriving_version", "channels", "version")

    def __init__(self) -> None:
        self.version = ALL
        self.channels: dict[str, int] = {}
        """Each with the version since which it has had subscribers."""
        self.arriving: dict[str, int] = {}
        """Of an announcement of all channels whose last part has not arrived."""
        self.arriving_parts = 0
        self.arriving_version = ALL


class RemoteChannels:
    """What other nodes have announced to this node, and the nodes of each channel.

    Attributes:
        nodes_of: node ids by channel, in the order of their announcements.
        groups_of: channels of groups by topic.
    """

    def __init__(self) -> None:
        self.nodes_of: dict[str, dict[str, None]] = {}
        self.groups_of: dict[str, dict[str, None]] = {}
        self._nodes: dict[str, _Node] = {}

    def __contains__(self, node_id: str) -> bool:
        """Whether the node has announced all its channels."""
        return self.version_of(node_id) != ALL

    def version_of(self, node_id: str) -> int:
        """The version of what the node has announced; `ALL` before."""
        node = self._nodes.get(node_id)
        return ALL if node is None else node.version

    def apply(self, node_id: str, announcement: Announcement) -> tuple[bool, list[str]]:
        """Takes a part of an announcement.

        Returns:
            Whether it leads on from what this node has; if not, the sender announces everything. And the channels that
            have gained or lost the node, or have it anew.
        """
        node = self._nodes.get(node_id)
        if announcement.base != ALL:
            if node is None or node.version != announcement.base or node.version == ALL:
                return False, []
            changed = self._change(node_id, node, announcement.added, announcement.removed)
            if not announcement.more:
                node.version = announcement.version
            return True, changed
        if node is None:
            node = self._nodes[node_id] = _Node()
        if announcement.part == 0:
            node.arriving, node.arriving_parts, node.arriving_version = {}, 0, announcement.version
        if announcement.part != node.arriving_parts or announcement.version != node.arriving_version:
            return False, []
        node.arriving_parts += 1
        node.arriving.update(announcement.added)
        if announcement.more:
            return True, []
        wanted, node.arriving, node.arriving_version = node.arriving, {}, ALL
        gone = [channel for channel in node.channels if channel not in wanted]
        node.version = announcement.version
        return True, self._change(node_id, node, wanted, gone)

    def forget(self, node_id: str) -> list[str]:
        """Forgets a node; returns its channels."""
        node = self._nodes.pop(node_id, None)
        return [] if node is None else self._change(node_id, node, {}, list(node.channels))

    def since(self, node_id: str, channel: str) -> int:
        """The version of the node since which the channel has had subscribers there; only if it has."""
        return self._nodes[node_id].channels[channel]

    def _change(self, node_id: str, node: _Node, added: dict[str, int], removed: Iterable[str]) -> list[str]:
        changed: list[str] = []
        for channel in removed:
            if channel in node.channels:
                del node.channels[channel]
                changed.append(channel)
                nodes = self.nodes_of[channel]
                del nodes[node_id]
                if not nodes:
                    self._forget_channel(channel)
        for channel, since in added.items():
            if node.channels.get(channel) != since:
                node.channels[channel] = since
                changed.append(channel)
                self.nodes_of.setdefault(channel, {})[node_id] = None
                if _GROUP in channel:
                    self.groups_of.setdefault(topic_of(channel), {})[channel] = None
        return changed

    def _forget_channel(self, channel: str) -> None:
        del self.nodes_of[channel]
        if _GROUP in channel:
            groups = self.groups_of[topic_of(channel)]
            del groups[channel]
            if not groups:
                del self.groups_of[topic_of(channel)]

    def check(self) -> None:
        """Asserts that the two indexes agree with what the nodes have announced."""
        pairs = {(channel, node_id) for channel, nodes in self.nodes_of.items() for node_id in nodes}
        assert pairs == {(channel, node_id) for node_id, node in self._nodes.items() for channel in node.channels}
        assert all(self.nodes_of.values())
        groups = {channel for channels in self.groups_of.values() for channel in channels}
        assert groups == {channel for channel in self.nodes_of if _GROUP in channel}
        assert all(self.groups_of.values())
