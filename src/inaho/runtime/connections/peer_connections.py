"""Checks and closes all open connections with one peer, dialled and accepted ones.

A node has one connection per direction and peer, in two tables: `Peers` has those that it dialled, `Acceptor` those
that it accepted. To close all connections with a peer, or to know whether it is still connected, both must be checked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inaho.errors import InahoError, ProtocolViolation

if TYPE_CHECKING:
    from inaho.runtime.connections.acceptor import Acceptor
    from inaho.runtime.connections.associations import Associations
    from inaho.runtime.connections.peers import Peers

__all__ = ["PeerConnections"]


class PeerConnections:
    """Checks and closes the connections of one node, by peer.

    Args:
        peers: dialled connections.
        acceptor: accepted connections.
        associations: quarantine a peer.
    """

    def __init__(self, peers: Peers, acceptor: Acceptor, associations: Associations) -> None:
        self._peers = peers
        self._acceptor = acceptor
        self._associations = associations

    def has_dialled(self, authority: str) -> bool:
        """Whether a dialled connection to that authority is open."""
        return authority in self._peers.connections

    def has_accepted(self, node_id: str) -> bool:
        """Whether an accepted connection of that process is open."""
        return any(
            connection.peer.node_id == node_id and not connection.closed for connection in self._acceptor.connections
        )

    def close(self, authority: str, error: InahoError) -> None:
        """Closes all connections with that authority; the peer gets the reason."""
        outgoing = self._peers.connections.get(authority)
        if outgoing is not None:
            outgoing.close(error)
        self._acceptor.close_peer(authority, error)

    def reject(self, authority: str, reason: str) -> None:
        """The control plane got an invalid message from a peer: quarantines the peer and closes its connections."""
        self.quarantine(authority, reason)
        self.close(authority, ProtocolViolation(reason, authority=authority))

    def quarantine(self, authority: str, reason: str) -> None:
        """Quarantines the process that is connected under `authority`.

        If two processes are connected, none is quarantined, since it is unknown which one is at fault.
        """
        peers = {connection.peer.node_id: connection.peer for connection in self._acceptor.connections}
        peers = {node_id: peer for node_id, peer in peers.items() if peer.authority == authority}
        outgoing = self._peers.connections.get(authority)
        if outgoing is not None:
            peers[outgoing.peer.node_id] = outgoing.peer
        if len(peers) == 1:
            for peer in peers.values():
                self._associations.violated(peer, reason)
