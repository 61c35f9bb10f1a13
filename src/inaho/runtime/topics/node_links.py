"""The links of one node to all others: made for members and for nodes that announce, ended when those have ended.

A member that is removed while it was unreachable may be on the other side of a split, and come back as the same
process. So its link, and what it has announced, are kept for `pubsub.cut_off_age_s`. One that has left, or in whose
place another process is, has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

from inaho.runtime.topics.node_link import NodeLink
from inaho.types import MemberStatus

if TYPE_CHECKING:
    from inaho.runtime.connections.outgoing import Outgoing
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.topic_logs.topic_counts import DropReports
    from inaho.runtime.topics.announcer import Announcer
    from inaho.types import Member, TopologySnapshot

__all__ = ["NodeLinks"]


class LinkUsers(Protocol):
    """What publishes on the links."""

    def link_changed(self, link: NodeLink) -> None:
        """The node of the link can be reached again, or not any more, or has been removed."""
        ...

    def link_lost(self, link: NodeLink) -> None:
        """The connection has ended: the node may not have what was sent last."""
        ...


class NodeLinks:
    """The links of one node, by node id.

    Args:
        local: this node.
        reports: of drops.
        connections: dialled connections that are open, by authority.
        dial: dials an authority in the background.
        announcer: of this node.
        users: what publishes.
    """

    def __init__(
        self,
        local: LocalNode,
        reports: DropReports,
        connections: Mapping[str, Outgoing],
        dial: Callable[[str], None],
        announcer: Announcer,
        users: LinkUsers,
    ) -> None:
        self._local = local
        self._reports = reports
        self._connections = connections
        self._dial = dial
        self._announcer = announcer
        self._users = users
        self._links: dict[str, NodeLink] = {}
        self._began = False

    def __iter__(self) -> Iterator[NodeLink]:
        return iter(self._links.values())

    def get(self, node_id: str) -> NodeLink | None:
        """The link to a node; None when there is none."""
        return self._links.get(node_id)

    def ensure(self, authority: str, node_id: str) -> NodeLink:
        """The link to a node, made if needed."""
        link = self._links.get(node_id)
        if link is None:
            link = self._links[node_id] = NodeLink(self._local, self._reports, authority, node_id)
            link.absent_since = self._local.loop.time()
            connection = self._connections.get(authority)
            if connection is not None and connection.peer.node_id == node_id and not connection.ending:
                link.connected(connection)
        return link

    # Topology.

    def apply_topology(self, before: TopologySnapshot | None, snapshot: TopologySnapshot) -> list[Member]:
        """Follows a topology; returns the members that are gone."""
        own = self._local.node_id
        present = {member.node_id: member for member in snapshot.members}
        if own not in present:
            return []
        first, self._began = not self._began, True
        for member in snapshot.members:
            if member.node_id != own:
                self._apply(member, first=first)
        gone = [
            member
            for member in (() if before is None else before.members)
            if member.node_id not in present and member.node_id != own
        ]
        holders = {member.authority for member in snapshot.members}
        for member in gone:
            link = self._links.get(member.node_id)
            if link is None:
                continue
            if member.status is MemberStatus.UNREACHABLE and member.authority not in holders:
                link.absent_since = self._local.loop.time()
                self._cut_off(link)
            else:
                self._end(link)
        for link in [link for link in self._links.values() if link.absent_since is not None]:
            if link.was_member and link.authority in holders:
                self._end(link)
        if first:
            self._announcer.begin()
        return gone

    def _apply(self, member: Member, *, first: bool) -> None:
        link = self._links.get(member.node_id)
        is_new = link is None
        if link is None:
            link = self.ensure(member.authority, member.node_id)
        returns = link.was_member and (link.cut_off or link.absent_since is not None)
        link.was_member = True
        joined, link.absent_since = link.absent_since is not None, None
        if member.status >= MemberStatus.UNREACHABLE:
            if not link.cut_off:
                self._cut_off(link)
            return
        link.cut_off = False
        if is_new or joined or returns:
            awaits = returns or (not self._announcer.knows(member.node_id) and (first or not self._announcer.ready))
            self._announcer.node_is_live(member, awaits=awaits)
            self._users.link_changed(link)
            if link.connection is None:
                self._dial(link.authority)
            link.drain()

    def _cut_off(self, link: NodeLink) -> None:
        link.cut_off = True
        self._announcer.node_is_cut_off(link.node_id)
        self._users.link_changed(link)

    def _end(self, link: NodeLink) -> None:
        self._links.pop(link.node_id, None)
        self._announcer.forget(link.node_id)
        link.end()

    def close(self) -> None:
        """This node stops."""
        for link in list(self._links.values()):
            link.end()
        self._links.clear()

    # Connections.

    def connected(self, authority: str, connection: Outgoing) -> None:
        """A dialled connection is open."""
        link = self._links.get(connection.peer.node_id)
        if link is not None:
            link.connected(connection)
            self._announcer.reconnected(link.node_id)
            self._users.link_changed(link)

    def disconnected(self, connection: Outgoing) -> None:
        """A dialled connection takes no more frames."""
        link = self._links.get(connection.peer.node_id)
        if link is not None and link.connection is connection:
            link.disconnected()
            self._users.link_lost(link)
            if not link.cut_off and link.absent_since is None:
                self._dial(link.authority)

    def tick(self, now: float) -> None:
        """Drops what has waited too long, dials again, and forgets nodes that do not come back."""
        age_s = self._local.config.pubsub.cut_off_age_s
        for link in list(self._links.values()):
            link.expire(now)
            if link.absent_since is not None and now - link.absent_since > age_s:
                self._end(link)
            elif link.connection is None and not link.cut_off and link.absent_since is None:
                self._dial(link.authority)
