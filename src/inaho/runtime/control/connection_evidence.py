"""What connections tell of their peers, put to the control plane: who answered, who refused, who fell silent.

None of it is decided here. A client has no control plane, and its connections tell nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inaho.core.inputs import AuthorityAnswered, Connected, DialFailed, Disconnected, Received
from inaho.errors import InahoError, ProtocolViolation, Unreachable
from inaho.runtime.control.driver import decode_control

if TYPE_CHECKING:
    from inaho.runtime.connections.outgoing import Outgoing
    from inaho.runtime.node.node import Node
    from inaho.types import TopologySnapshot
    from inaho.wire.handshake import PeerInfo

__all__ = ["Evidence"]


class Evidence:
    """From the connections of one node to its control plane."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._local = node.local

    def authenticated(self, peer: PeerInfo) -> None:
        """A client takes over the settings that all members have alike."""
        if self._node.gateway is not None:
            self._node.gateway.adopt(peer.settings)

    def connected(self, authority: str, peer: PeerInfo) -> None:
        """A dial came through."""
        if self._node.control.driver is not None:
            self._node.control.driver.feed(AuthorityAnswered(authority, peer.node_id))
            self._node.control.driver.feed(Connected(authority, peer.node_id))
        if peer.node_id == self._local.node_id and authority != self._local.authority:
            self._local.loop.call_soon(self._leave_own, authority)

    def _leave_own(self, authority: str) -> None:
        """A seed is this node under another name. The name may stand for others too, so it is dialled anew."""
        connection = self._node.peers.connections.get(authority)
        if connection is not None:
            connection.close(Unreachable("that is this node itself", authority=authority))

    def accepted(self, peer: PeerInfo) -> None:
        """A member has connected to this node."""
        if self._node.control.driver is not None:
            self._node.control.driver.feed(Connected(peer.authority, peer.node_id))

    def outgoing_closed(self, authority: str, connection: Outgoing) -> None:
        """A dialled connection is gone."""
        self._closed(authority, connection.peer.node_id, connection.closed)
        if connection.closed == "reset":
            self._node.peers.dial_in_background(authority)  # refused now is evidence that the process is gone

    def incoming_closed(self, peer: PeerInfo, reason: str) -> None:
        """A connection of a member is gone."""
        self._closed(peer.authority, peer.node_id, reason)

    def _closed(self, authority: str, node_id: str, reason: str) -> None:
        """A connection with that node ended; the control plane is told when it was the last.

        One that was reset counts even when an accepted connection is left. After the peer's machine has failed and
        started again, that one stays open for long: nothing is sent on it that the peer would answer with a reset.
        """
        if self._node.control.driver is None or self._local.closing:
            return
        connections = self._node.connections
        if connections.has_dialled(authority) or (reason != "reset" and connections.has_accepted(node_id)):
            return
        self._node.control.driver.feed(Disconnected(authority, node_id, "reset" if reason == "reset" else "closed"))

    def dial_failed(self, authority: str, reason: str, detail: str) -> None:
        """A dial failed: `refused`, `timeout`, `handshake` or `other`, and in words."""
        if self._node.control.driver is not None:
            self._node.control.driver.feed(DialFailed(authority, reason, detail=detail))

    def refused(self, authority: str, error: InahoError) -> None:
        """A peer that this node dialled refuses it, or is refused."""
        self._node.join_watch.refused(authority, error)
        if self._node.control.driver is not None:
            self._node.control.driver.feed(DialFailed(authority, "handshake", error.code, error.reason))

    def control_message(self, peer: PeerInfo, body: memoryview) -> None:
        """A control message has come; only members may send them."""
        if peer.role != "member" or self._node.control.driver is None:
            raise ProtocolViolation("a control message from a client", authority=peer.authority)
        self._node.control.driver.feed(Received(peer.authority, peer.node_id, decode_control(body)))

    def topology_pushed(self, peer: PeerInfo, snapshot: TopologySnapshot) -> None:
        """A member sends a topology; only clients take one so."""
        if self._node.gateway is None:
            raise ProtocolViolation("a topology was pushed to a member")
        self._node.gateway.told(peer, snapshot)
