"""What connections need from the rooms above: to report evidence, to handle messages, to disconnect a peer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from inaho.errors import InahoError, Quarantined

if TYPE_CHECKING:
    from inaho.runtime.connections.connection import Connection
    from inaho.runtime.connections.outgoing import Outgoing
    from inaho.types import TopologySnapshot
    from inaho.wire.handshake import PeerInfo

__all__ = ["AssociationEffects", "CachedActivations", "MessageFrames", "MessageParts", "PeerEvents"]


class PeerEvents(Protocol):
    """Takes what connections learn about peers. A member and a client react differently."""

    def authenticated(self, peer: PeerInfo) -> None:
        """A dialled peer is authenticated. Raises an `InahoError` when this node cannot work with it."""
        ...

    def connected(self, authority: str, peer: PeerInfo) -> None:
        """A dial of `authority` succeeded."""
        ...

    def accepted(self, peer: PeerInfo) -> None:
        """A peer has connected to this node."""
        ...

    def outgoing_closed(self, authority: str, connection: Outgoing) -> None:
        """A dialled connection has ended."""
        ...

    def incoming_closed(self, peer: PeerInfo, reason: str) -> None:
        """An accepted connection has ended."""
        ...

    def dial_failed(self, authority: str, reason: str, detail: str) -> None:
        """A dial failed; `reason` is a `CauseKind` or `handshake`, and `detail` describes it."""
        ...

    def refused(self, authority: str, error: InahoError) -> None:
        """A dialled peer refuses this node, or this node refuses it."""
        ...

    def control_message(self, peer: PeerInfo, body: memoryview) -> None:
        """A control message has arrived. Raises `ProtocolViolation` for one that this peer must not send."""
        ...

    def topology_pushed(self, peer: PeerInfo, snapshot: TopologySnapshot) -> None:
        """A dialled peer has sent the newest topology. Raises `ProtocolViolation` if this node is no client."""
        ...


class CachedActivations(Protocol):
    """Is notified which activations are in PidCaches of callers, and which of them have ended."""

    def caller_keeps(self, node_id: str, kind: str, key: str) -> None:
        """That node keeps in its PidCache that the activation is on this node."""
        ...

    def ended(self, node_id: str, identities: list[tuple[str, str]]) -> None:
        """Activations on that node have ended: kinds and keys."""
        ...


class MessageFrames(Protocol):
    """Handles the frames of messages between actors on one accepted connection."""

    def on_frame(self, kind: int, correlation: int, body: memoryview) -> None:
        """Handles a frame. Raises `ProtocolViolation`."""
        ...

    def batch_ended(self) -> None:
        """All frames of one read have been handled."""
        ...

    def close(self) -> None:
        """The connection has ended."""
        ...


class MessageParts(Protocol):
    """The parts of a node that send and receive messages between actors, and of topics."""

    def inbox(self, connection: Connection) -> MessageFrames:
        """Makes the handler for the message frames of an accepted connection."""
        ...

    def published(self, connection: Connection, flags: int, generation: int, missed: int, body: memoryview) -> None:
        """A `PUBLISH` frame has arrived. Raises `ProtocolViolation`."""
        ...

    def connected(self, authority: str, connection: Outgoing) -> None:
        """A dialled connection is open: messages can leave on it."""
        ...

    def disconnected(self, connection: Outgoing) -> None:
        """A dialled connection accepts no more frames."""
        ...


class AssociationEffects(Protocol):
    """Carries out the consequences of a change of an association."""

    def cut_off(self, authority: str, error: Quarantined) -> None:
        """The authority is quarantined: refuses unsent messages, closes connections, drops cached Pids."""
        ...

    def released(self, authority: str) -> None:
        """A quarantine has ended: messages for that authority are accepted again."""
        ...

    def pauses_changed(self) -> None:
        """An authority may be dialled sooner than was known when its pause began."""
        ...
