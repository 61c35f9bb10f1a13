"""Reports what connections learn about peers to the control plane of a member, or to the gateway of a client.

A member reports it to its control plane, as evidence of which processes run; nothing is decided here. The `Gateway` of
a client takes settings and topologies from the members to which it is connected. Each is a `PeerEvents`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inaho.core.inputs import AuthorityAnswered, AuthorityNotReached, Connected, Disconnected, Received
from inaho.errors import InahoError, ProtocolViolation, Unreachable
from inaho.runtime.control.driver import decode_control

if TYPE_CHECKING:
    from inaho.runtime.connections.outgoing import Outgoing
    from inaho.runtime.connections.peer_connections import PeerConnections
    from inaho.runtime.connections.peers import Peers
    from inaho.runtime.control.control_plane import ControlPlane
    from inaho.runtime.control.gateway import Gateway
    from inaho.runtime.control.join_watch import JoinWatch
    from inaho.runtime.local.local_node import LocalNode
    from inaho.types import TopologySnapshot
    from inaho.wire.handshake import PeerInfo

__all__ = ["ClientPeerEvents", "MemberPeerEvents"]


class MemberPeerEvents:
    """Reports to the control plane of a member.

    Args:
        local: the member.
        control: its control plane.
        peers: its dialled connections.
        connections: all its connections, by peer.
        join_watch: logs which seeds refuse this node while it joins.
    """

    def __init__(
        self,
        local: LocalNode,
        control: ControlPlane,
        peers: Peers,
        connections: PeerConnections,
        join_watch: JoinWatch,
    ) -> None:
        self._local = local
        self._control = control
        self._peers = peers
        self._connections = connections
        self._join_watch = join_watch

    def authenticated(self, peer: PeerInfo) -> None:
        """Nothing to do: the handshake has compared the settings that all members must share."""

    def connected(self, authority: str, peer: PeerInfo) -> None:
        """A dial succeeded."""
        self._control.feed(AuthorityAnswered(authority, peer.node_id))
        self._control.feed(Connected(authority, peer.node_id))
        if peer.node_id == self._local.node_id and authority != self._local.authority:
            self._local.loop.call_soon(self._leave_own, authority)

    def _leave_own(self, authority: str) -> None:
        """A seed is another name of this node. The name may also stand for other nodes, so it is dialled again."""
        connection = self._peers.connections.get(authority)
        if connection is not None:
            connection.close(Unreachable("that is this node itself", authority=authority))

    def accepted(self, peer: PeerInfo) -> None:
        """A member has connected to this node."""
        self._control.feed(Connected(peer.authority, peer.node_id))

    def outgoing_closed(self, authority: str, connection: Outgoing) -> None:
        """A dialled connection is gone."""
        self._closed(authority, connection.peer.node_id, connection.closed)
        if connection.closed == "reset":
            self._peers.dial_in_background(authority)  # refused now is evidence that the process is gone

    def incoming_closed(self, peer: PeerInfo, reason: str) -> None:
        """A connection of a member is gone."""
        self._closed(peer.authority, peer.node_id, reason)

    def _closed(self, authority: str, node_id: str, reason: str) -> None:
        """A connection with that node ended; this is reported to the control plane if it was the last one.

        A reset counts even if an accepted connection is left. After the peer's machine has failed and started again,
        that
        connection stays open for long: nothing is sent on it that the peer would answer with a reset.
        """
        if self._local.closing or self._connections.has_dialled(authority):
            return
        if reason == "reset" or not self._connections.has_accepted(node_id):
            self._control.feed(Disconnected(authority, node_id, "reset" if reason == "reset" else "closed"))

    def dial_failed(self, authority: str, reason: str, detail: str) -> None:
        """A dial failed. `reason` is `refused`, `timeout`, `handshake` or `other`; `detail` is a text."""
        self._control.feed(AuthorityNotReached(authority, reason, detail=detail))

    def refused(self, authority: str, error: InahoError) -> None:
        """A peer that this node dialled refuses it, or is refused."""
        self._join_watch.refused(authority, error)
        self._control.feed(AuthorityNotReached(authority, "handshake", error.code, error.reason))

    def control_message(self, peer: PeerInfo, body: memoryview) -> None:
        """A control message has come; only members may send them."""
        if peer.role != "member":
            raise ProtocolViolation("a control message from a client", authority=peer.authority)
        self._control.feed(Received(peer.authority, peer.node_id, decode_control(body)))

    def topology_pushed(self, peer: PeerInfo, snapshot: TopologySnapshot) -> None:
        """Raises `ProtocolViolation`: topologies are pushed to clients only."""
        raise ProtocolViolation("a topology was pushed to a member")


class ClientPeerEvents:
    """Reports to the gateway of a client. No peer connects to a client.

    Args:
        gateway: takes settings and topologies.
        peers: its connections.
        join_watch: logs which seeds refuse this node while it connects.
    """

    def __init__(self, gateway: Gateway, peers: Peers, join_watch: JoinWatch) -> None:
        self._gateway = gateway
        self._peers = peers
        self._join_watch = join_watch

    def authenticated(self, peer: PeerInfo) -> None:
        """Takes over the settings that all members share."""
        self._gateway.adopt(peer.settings)

    def connected(self, authority: str, peer: PeerInfo) -> None:
        """Nothing to do: the gateway checks the open connections itself."""

    def accepted(self, peer: PeerInfo) -> None:
        """Does not happen."""

    def outgoing_closed(self, authority: str, connection: Outgoing) -> None:
        """Dials at once when the connection was cut off, since calls may wait."""
        if connection.closed == "reset":
            self._peers.dial_in_background(authority)

    def incoming_closed(self, peer: PeerInfo, reason: str) -> None:
        """Does not happen."""

    def dial_failed(self, authority: str, reason: str, detail: str) -> None:
        """Nothing to do: the gateway tries other members itself."""

    def refused(self, authority: str, error: InahoError) -> None:
        """A member refuses this client, or is refused."""
        self._join_watch.refused(authority, error)

    def control_message(self, peer: PeerInfo, body: memoryview) -> None:
        """Raises `ProtocolViolation`: clients have no control plane."""
        raise ProtocolViolation("a control message to a client", authority=peer.authority)

    def topology_pushed(self, peer: PeerInfo, snapshot: TopologySnapshot) -> None:
        """A member sends the newest topology."""
        self._gateway.topology_pushed(peer, snapshot)
