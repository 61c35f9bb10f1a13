"""Settings of connections, frames and TLS (`transport.*`)."""

from __future__ import annotations

from typing import Final

from inaho.config.base import Group
from inaho.errors import InvalidConfig

__all__ = ["TlsConfig", "TransportConfig"]


FRAME_BYTES_MIN: Final = 8 << 10
"""The smallest bound of a frame. The longest key, and the values that are passed unencoded on one node, fit into it."""


class TlsConfig(Group, frozen=True, kw_only=True):
    """Mutual TLS: files in PEM form. All certificates are signed by the same certificate authority.

    Attributes:
        certificate: path of this node's certificate chain.
        private_key: path of its key.
        authority_certificates: path of the certificates of that certificate authority.
    """

    certificate: str
    private_key: str
    authority_certificates: str


class TransportConfig(Group, frozen=True, kw_only=True):
    """Connections and frames.

    Attributes:
        frame_bytes_max: largest frame either way; checked before anything is decoded, and for calls within a node
            too. At least 8 KiB. All nodes need the same.
        containers_max: lists, maps and Structs in the arguments of one call, its result, a batch of a stream, or a
            message; checked before they are decoded, since each takes a hundred bytes of memory for one on the wire.
        handshake_timeout_s: longest time from accept until authenticated.
        handshake_bytes_max: most bytes a peer may send before it is authenticated.
        handshakes_pending_max: unauthenticated connections at once. For each further one an older one is closed,
            first a silent one. More survive a faster flood of connections, and each costs a descriptor.
        connections_max: authenticated incoming connections.
        dial_timeout_s: for the TCP (and TLS) connection.
        redial_s: first pause after a failed dial; doubles, with jitter, up to `redial_max_s`.
        redial_max_s: see `redial_s`.
        write_high_bytes: unsent bytes from which senders to that peer wait.
        write_low_bytes: unsent bytes at which they continue.
        write_bytes_max: unsent bytes from which the answers of calls that were running already are replaced by
            `Overloaded`, for a peer that does not read them.
        definitions_max: methods that one peer may define on a connection.
        stall_timeout_s: a peer that has `write_high_bytes` to read and reads nothing for this long is disconnected. A
            peer that reads slowly stays connected.
        goodbye_timeout_s: a connection that is being closed is aborted if its last bytes are not sent after this time,
            or if the peer has not answered the end of TLS. A node that closes waits for this, at most 5 s.
    """

    frame_bytes_max: int = 1 << 20
    containers_max: int = 32_768
    handshake_timeout_s: float = 5.0
    handshake_bytes_max: int = 16 << 10
    handshakes_pending_max: int = 128
    connections_max: int = 4192
    dial_timeout_s: float = 2.0
    redial_s: float = 0.05
    redial_max_s: float = 5.0
    write_high_bytes: int = 1 << 20
    write_low_bytes: int = 256 << 10
    write_bytes_max: int = 8 << 20
    definitions_max: int = 16_384
    goodbye_timeout_s: float = 5.0
    stall_timeout_s: float = 10.0

    def check(self) -> None:
        if self.frame_bytes_max < FRAME_BYTES_MIN:
            raise InvalidConfig(
                f"TransportConfig.frame_bytes_max must be at least {FRAME_BYTES_MIN}, not {self.frame_bytes_max}"
            )
        if self.write_low_bytes >= self.write_high_bytes:
            raise InvalidConfig(
                f"TransportConfig.write_low_bytes ({self.write_low_bytes}) must be below "
                f"write_high_bytes ({self.write_high_bytes})"
            )
        if self.write_bytes_max < self.write_high_bytes:
            raise InvalidConfig(
                f"TransportConfig.write_bytes_max ({self.write_bytes_max}) must not be below "
                f"write_high_bytes ({self.write_high_bytes})"
            )
