"""Adapters between parts of a node that need each other.

A part is given all that it needs when it is made. Where two parts need each other, one of them is given an adapter,
which looks the other one up in the node when it is used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inaho.errors import InahoError, Quarantined
    from inaho.runtime.activation.records import ActivationRecord
    from inaho.runtime.connections.connection import Connection
    from inaho.runtime.connections.outgoing import Outgoing
    from inaho.runtime.connections.ports import MessageFrames
    from inaho.runtime.grains.activation import Activation, Reminders, Turn
    from inaho.runtime.node.parts import NodeParts
    from inaho.types import ClusterIdentity, TopologySnapshot
    from inaho.wire.handshake import PeerInfo

__all__ = [
    "NodeAssociationEffects",
    "NodeCachedActivations",
    "NodeFreshness",
    "NodeMessageParts",
    "NodeOwnership",
    "NodePeerEvents",
    "NodeServices",
]


class NodeAssociationEffects:
    """The effects of a change of an association on all parts of a node: an `AssociationEffects`."""

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


class NodeCachedActivations:
    """What callers keep of this node's activations, and this node of others': a `CachedActivations`."""

    def __init__(self, node: NodeParts) -> None:
        self._node = node

    def caller_keeps(self, node_id: str, kind: str, key: str) -> None:
        self._node.caching_callers.keeps(node_id, kind, key)

    def ended(self, node_id: str, identities: list[tuple[str, str]]) -> None:
        self._node.ended_pids.drop(node_id, identities)


class NodeMessageParts:
    """The messages of a node, for its connections: a `MessageParts`."""

    def __init__(self, node: NodeParts) -> None:
        self._node = node

    def inbox(self, connection: Connection) -> MessageFrames:
        return self._node.remoting.inbox(connection)

    def published(self, connection: Connection, flags: int, generation: int, missed: int, body: memoryview) -> None:
        self._node.topics.published(connection, flags, generation, missed, body)

    def connected(self, authority: str, connection: Outgoing) -> None:
        self._node.remoting.connected(authority, connection)
        self._node.topics.connected(authority, connection)

    def disconnected(self, connection: Outgoing) -> None:
        self._node.remoting.disconnected(connection)
        self._node.topics.disconnected(connection)


class NodePeerEvents:
    """Passes what connections learn about peers to the parts of a node: a `PeerEvents`."""

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


class NodeOwnership:
    """What the parts of a node know about previous owners and saved versions: an `Ownership`."""

    def __init__(self, node: NodeParts) -> None:
        self._node = node

    def has_previous(self, kind: str, key: str) -> bool:
        return self._node.bridge.previous.first(kind, key) is not None

    def waits(self, kind: str, key: str) -> bool:
        return self._node.bridge.taking_over.waits(kind, key)

    async def take_over(self, kind: str, key: str) -> ActivationRecord:
        return await self._node.bridge.taking_over.take_over(kind, key)

    def newer(self, kind: str, key: str, handed: ActivationRecord) -> ActivationRecord:
        return self._node.saved_versions.newer(kind, key, handed)

    def expected(self, kind: str, key: str) -> ActivationRecord | None:
        return self._node.saved_versions.expected(kind, key)

    def expect(self, kind: str, key: str, record: ActivationRecord) -> None:
        self._node.saved_versions.expect(kind, key, record)

    def found(self, kind: str, key: str) -> None:
        self._node.saved_versions.found(kind, key)

    def ended(self, kind: str, grain: Activation, *, asked_for: bool) -> None:
        self._node.saved_versions.ended(kind, grain, asked_for=asked_for)

    def placed_looked_at(self, kind: str, grain: Activation) -> None:
        self._node.placed_activations.look(kind, grain)

    def placed_ended(self, kind: str, grain: Activation) -> None:
        self._node.placed_activations.ended(kind, grain)

    def drained(self, kind: str) -> None:
        self._node.bridge.report_drain(kind)


class NodeFreshness:
    """What the parts of a node know about the age of its states: a `Freshness`."""

    def __init__(self, node: NodeParts) -> None:
        self._node = node

    @property
    def in_doubt(self) -> bool:
        return self._node.freshness.in_doubt

    async def before_activation(self) -> None:
        await self._node.freshness.before_activation()

    def begins(self, kind: str, key: str, grain: Activation) -> None:
        self._node.freshness.begins(kind, key, grain)

    def ended(self, kind: str, key: str) -> None:
        self._node.freshness.begun.pop((kind, key), None)

    def started(self, grain: Activation, loaded_at: float) -> None:
        self._node.proofs.started(grain, loaded_at)

    def want(self, grain: Activation) -> None:
        self._node.proofs.want(grain)

    async def passed(self, grain: Activation) -> None:
        await self._node.proofs.passed(grain)

    def storage_silent(self, error: InahoError) -> None:
        self._node.unknown_freshness.tell(error)

    def answered_unproved(self) -> None:
        self._node.proofs.not_answered()


class NodeServices:
    """What a node offers to the hosts of its kinds: a `Services`."""

    def __init__(self, node: NodeParts, handle: Callable[[], Any]) -> None:
        self._node = node
        self._handle = handle

    @property
    def cluster(self) -> Any:
        return self._handle()

    @property
    def reminders(self) -> Reminders:
        return self._node.reminders

    @property
    def is_stopping(self) -> bool:
        node = self._node
        return node.local.closing or node.runner.leaving or node.program_end.begun

    def came_here(self, kind: str, key: str) -> None:
        self._node.context.order.came_here(kind, key)

    def refused_here(self, turn: Turn) -> None:
        self._node.context.order.refused_here(turn)

    def start_failed(self, identity: ClusterIdentity, error: BaseException) -> None:
        self._node.activation_warnings.failed(identity, error)
