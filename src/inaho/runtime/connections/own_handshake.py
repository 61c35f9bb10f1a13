"""Makes the handshakes of this node, with what it states about itself."""

from __future__ import annotations

from collections.abc import Callable

from inaho.config.shared import shared_settings
from inaho.runtime.local.local_node import LocalNode
from inaho.wire.handshake import NONCE_BYTES, Handshake, HandshakeConfig, Role

__all__ = ["OwnHandshake"]


class OwnHandshake:
    """Makes handshakes of one node, one for each connection.

    Args:
        local: the node.
        incarnation: returns the present incarnation of this node; 0 before it was admitted, and for a client.
    """

    def __init__(self, local: LocalNode, incarnation: Callable[[], int]) -> None:
        self._local = local
        self._incarnation = incarnation

    def make(self, role: Role) -> Handshake:
        """A handshake with a fresh nonce.

        Args:
            role: whether this node dials or accepts.
        """
        local = self._local
        settings = HandshakeConfig(
            cluster=local.config.name,
            node_id=local.node_id,
            role="client" if local.client else "member",
            authority=local.authority,
            incarnation=self._incarnation(),
            secret=local.config.secret,
            settings={} if local.client else shared_settings(local.config),
            bytes_max=local.config.transport.handshake_bytes_max,
        )
        return Handshake(role, settings, local.entropy.token(NONCE_BYTES))
