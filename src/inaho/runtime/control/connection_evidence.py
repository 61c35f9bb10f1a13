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
    from inaho.wire.handshake import PeerInfo

__all__ = ["Evidence"]


class Evidence:
    """From the connections of one node to its control plane."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._local = node.local

    def peer_connected(self, authority: str, node_id: str) -> None:
        """A dial came through."""
        if self._node.driver is not None:
            self._node.driver.feed(AuthorityAnswered(authority, node_id))
            self._node.driver.feed(Connected(authority, node_id))
        if node_id == self._local.node_id and authority != self._local.authority:
            self._local.loop.call_soon(self._leave_own, authority)

    def _leave_own(self, authority: str) -> None:
        """A seed is this node under another name. The name may stand for others too, so it is dialled anew."""
        connection = self._node.peers.connections.get(authority)
        if connection is not None:
            connection.close(Unreachable("that is this node itself", authority=authority))

    def outgoing_closed(self, authority: str, connection: Outgoing, error: InahoError) -> None:
        """A dialled connection is gone."""
        self.peer_gone(authority, connection.peer.node_id, connection.closed)
        if connection.closed == "reset":
            self._node.peers.dial_in_background(authority)  # refused now is evidence that the process is gone

    def peer_gone(self, authority: str, node_id: str, reason: str) -> None:
        """A connection with that node ended; it counts when it was the last."""
        if self._node.driver is None or self._local.closing:
            return
        if authority not in self._node.peers.connections:
            self._node.driver.feed(Disconnected(authority, node_id, "reset" if reason == "reset" else "closed"))

    def dial_failed(self, authority: str, reason: str, detail: str) -> None:
        """A dial failed: `refused`, `timeout`, `handshake` or `other`, and in words."""
        if self._node.driver is not None:
            self._node.driver.feed(DialFailed(authority, reason, detail=detail))

    def handshake_refused(self, authority: str, error: InahoError) -> None:
        """A peer that we dialled refuses us, or we refuse it."""
        self._node.join_watch.refused(authority, error)
        if self._node.driver is not None:
            self._node.driver.feed(DialFailed(authority, "handshake", error.code, error.reason))

    def close_connection(self, authority: str, reason: str) -> None:
        """The control plane wants no connection with that peer."""
        self._node.associations.discredited(authority, reason)
        error = ProtocolViolation(reason, authority=authority)
        outgoing = self._node.peers.connections.get(authority)
        if outgoing is not None:
            outgoing.close(error)
        self._node.acceptor.close_peer(authority, error)

    def control_received(self, peer: PeerInfo, body: memoryview) -> None:
        """A control message has come; only members may send them."""
        if peer.role != "member" or self._node.driver is None:
            raise ProtocolViolation("a control message from a client", authority=peer.authority)
        self._node.driver.feed(Received(peer.authority, peer.node_id, decode_control(body)))
