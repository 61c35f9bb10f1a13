"""Adapters between parts of a node that need each other.

A part is given all that it needs when it is made. Where two parts need each other, one of them is given an adapter,
which looks the other one up in the node when it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inaho.errors import InahoError, Quarantined
    from inaho.runtime.connections.connection import Connection
    from inaho.runtime.connections.outgoing import Outgoing
    from inaho.runtime.connections.ports import MessageFrames
    from inaho.runtime.node.parts import NodeParts
    from inaho.types import TopologySnapshot
    from inaho.wire.handshake import PeerInfo

__all__ = ["NodeAssociationEffects", "NodeMessageParts", "NodePeerEvents"]


class NodeAssociationEffects:
    """What follows from a change of an association, in all parts of a node: an `AssociationEffects`."""

    def __init__(self, node: NodeParts) -> None:
        self._node = node

    def cut_off(self, authority: str, error: Quarantined) -> None:
        node = self._node
        node.remoting.quarantined(authority, error)
        node.connections.close(authority, error)
        for invalidated in node.pid_cache.invalidate_authority(authority, "quarantined"):
            node.local.publish(invalidated)

    def released(self, authority: str) -> None:
        self._node.remoting.released(authority)

    def pauses_changed(self) -> None:
        self._node.peers.end_pauses()


class NodeMessageParts:
    """The messages of a node, for its connections: a `MessageParts`."""

    def __init__(self, node: NodeParts) -> None:
        self._node = node

    def inbox(self, connection: Connection) -> MessageFrames:
        return self._node.remoting.inbox(connection)

    def connected(self, authority: str, connection: Outgoing) -> None:
        self._node.remoting.connected(authority, connection)

    def disconnected(self, connection: Outgoing) -> None:
        self._node.remoting.disconnected(connection)


class NodePeerEvents:
    """What a node does with what its connections learn: a `PeerEvents`."""

    def __init__(self, node: NodeParts) -> None:
        self._node = node

    def authenticated(self, peer: PeerInfo) -> None:
        self._node.peer_events.authenticated(peer)

    def connected(self, authority: str, peer: PeerInfo) -> None:
        self._node.peer_events.connected(authority, peer)

    def accepted(self, peer: PeerInfo) -> None:
        self._node.peer_events.accepted(peer)

    def outgoing_closed(self, authority: str, connection: Outgoing) -> None:
        self._node.peer_events.outgoing_closed(authority, connection)

    def incoming_closed(self, peer: PeerInfo, reason: str) -> None:
        self._node.peer_events.incoming_closed(peer, reason)

    def dial_failed(self, authority: str, reason: str, detail: str) -> None:
        self._node.peer_events.dial_failed(authority, reason, detail)

    def refused(self, authority: str, error: InahoError) -> None:
        self._node.peer_events.refused(authority, error)

    def control_message(self, peer: PeerInfo, body: memoryview) -> None:
        self._node.peer_events.control_message(peer, body)

    def topology_pushed(self, peer: PeerInfo, snapshot: TopologySnapshot) -> None:
        self._node.peer_events.topology_pushed(peer, snapshot)
