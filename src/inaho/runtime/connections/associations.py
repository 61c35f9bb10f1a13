"""The authority machine of a node, and what follows from its decisions.

`core.delivery.authority` decides; here a quarantine closes connections, empties queues and caches, and is published and
audited; a release opens them again. Everything that learns about a peer (dials, handshakes, connections, the control
plane) reports here and asks here.

What an unauthenticated peer claims is never held against the authority that it names: only what a dialled authority
itself does, or an authenticated peer, counts. Otherwise anybody could have members cut each other off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inaho.core.delivery.associations import Association, Authorities, AuthorityState
from inaho.errors import (
    AuthenticationFailed,
    InahoError,
    Overloaded,
    ProtocolViolation,
    Quarantined,
    ShuttingDown,
    WrongCluster,
    WrongIncarnation,
)
from inaho.events import AuthorityEvent, AuthorityQuarantined, AuthorityReleased
from inaho.observe.audit import audit
from inaho.runtime.transport.transport import DialFailed

if TYPE_CHECKING:
    from inaho.runtime.node.node import Node
    from inaho.types import TopologySnapshot
    from inaho.wire.handshake import PeerInfo

__all__ = ["Associations"]

_INVALID = (AuthenticationFailed, WrongCluster, WrongIncarnation, ProtocolViolation)
"""What makes the association with a member invalid when a dial of it ends so (SPEC CL-4.1)."""

_ANSWERED = (Overloaded, Quarantined, ShuttingDown)
"""Refusals of a peer that is there: they lengthen the pause and are no evidence against it."""


class Associations:
    """What one node thinks of its peers.

    Attributes:
        machine: the states.
    """

    def __init__(self, node: Node) -> None:
        transport = node.local.config.transport
        self.machine = Authorities(
            node.local.config.delivery,
            node.local.entropy.random,
            redial_s=transport.redial_s,
            redial_max_s=transport.redial_max_s,
        )
        self._node = node
        self._local = node.local

    # Questions.

    def demand(self, authority: str, node_id: str = "") -> None:
        """Raises `Quarantined` when nothing may pass to or from the process at the authority."""
        refusal = self.machine.refusal(authority, node_id)
        if refusal is not None:
            raise refusal

    def pause_s(self, authority: str) -> float:
        """Seconds until that authority may be dialled again."""
        return self.machine.pause_s(authority, self._local.loop.time())

    def may_dial(self, authority: str) -> bool:
        """Whether a dial would begin at once."""
        return self.machine.may_dial(authority, self._local.loop.time())

    def quarantined(self) -> tuple[Association, ...]:
        """What is quarantined, sorted by authority."""
        return self.machine.quarantined()

    # Reports.

    def connected(self, authority: str, peer: PeerInfo) -> None:
        """A dial of `authority` came through to `peer`."""
        self._publish(self.machine.replaced(authority, peer.node_id, peer.incarnation))
        self._publish(self.machine.connected(authority, peer.node_id, peer.incarnation))

    def lost(self, authority: str, reason: str) -> None:
        """The dialled connection takes no more."""
        if self.machine.state(authority) is not AuthorityState.DISCONNECTED:
            self._publish(self.machine.lost(authority, reason))

    def failed(self, authority: str, error: InahoError) -> None:
        """A dial of `authority` failed. Those of a member count towards quarantine, unless it answered."""
        if self.machine.state(authority) is AuthorityState.CONNECTED:
            return
        now = self._local.loop.time()
        # Who is no member is dialled in the hope that it is back: to quarantine it would keep a healed split apart.
        is_member = self._node.remoting.table.member(authority) is not None
        if isinstance(error, _INVALID) and is_member:
            self._publish(self.machine.condemned(authority, f"{error.code}: {error.reason}", now))
            return
        ours = isinstance(error, DialFailed) and error.cause_kind == "local"
        counts = is_member and not ours and not isinstance(error, _ANSWERED)
        self._publish(self.machine.failed(authority, error.reason, now, counts=counts))

    def accepted(self, peer: PeerInfo) -> None:
        """A peer has connected to us. Raises `Quarantined` when it may not."""
        if peer.role != "member":
            return
        self.demand(peer.authority, peer.node_id)
        self._publish(self.machine.heard(peer.authority, peer.node_id, peer.incarnation))
        self._node.peers.hurry()

    def violated(self, peer: PeerInfo, reason: str) -> None:
        """An authenticated peer has done what no correct node does.

        A process that only claims the authority of a member is closed out, and the member is not blamed for it.
        """
        authority = peer.authority
        if peer.role != "member" or authority in ("", self._local.authority):
            return
        member = self._node.remoting.table.member(authority)
        known = self.machine.get(authority)
        connected = known is not None and known.state is AuthorityState.CONNECTED
        if (member is not None and member.node_id != peer.node_id) or (
            known is not None and connected and known.node_id != peer.node_id
        ):
            return
        self._publish(
            self.machine.condemned(
                authority,
                reason,
                self._local.loop.time(),
                node_id=peer.node_id,
                incarnation=peer.incarnation,
            )
        )

    def discredited(self, authority: str, reason: str) -> None:
        """The control plane has found a peer that says the impossible."""
        peers = {connection.peer.node_id: connection.peer for connection in self._node.acceptor.connections}
        peers = {node_id: peer for node_id, peer in peers.items() if peer.authority == authority}
        outgoing = self._node.peers.connections.get(authority)
        if outgoing is not None:
            peers[outgoing.peer.node_id] = outgoing.peer
        if len(peers) == 1:  # with two of them nobody knows which one it was
            for peer in peers.values():
                self.violated(peer, reason)

    def apply_topology(self, snapshot: TopologySnapshot) -> None:
        """The membership says which processes live where."""
        for member in snapshot.members:
            self._publish(self.machine.replaced(member.authority, member.node_id, member.incarnation))
        self._node.peers.hurry()

    def release(self, authority: str) -> None:
        """An operator ends a quarantine. Raises `IllegalTransition` when there is none."""
        self._publish(self.machine.released(authority))

    def tick(self, now: float) -> None:
        """Ends quarantines whose time is up."""
        deadline = self.machine.next_deadline()
        if deadline is not None and deadline <= now:
            self._publish(self.machine.tick(now))

    # Consequences.

    def _publish(self, events: tuple[AuthorityEvent, ...]) -> None:
        node = self._node
        for event in events:
            audit(event, self._local.authority or self._local.node_id)
            self._local.publish(event)
            if isinstance(event, AuthorityQuarantined):
                self._cut_off(event)
            elif isinstance(event, AuthorityReleased):
                node.remoting.released(event.authority)

    def _cut_off(self, event: AuthorityQuarantined) -> None:
        """Nothing more passes: unsent messages are refused, connections closed, cached Pids dropped."""
        node, authority = self._node, event.authority
        node.remoting.quarantined(authority, Quarantined(event.reason, authority=authority))
        error = Quarantined(event.reason, authority=authority)
        outgoing = node.peers.connections.get(authority)
        if outgoing is not None:
            outgoing.close(error)
        node.acceptor.close_peer(authority, error)
        for invalidated in node.pid_cache.invalidate_authority(authority, "quarantined"):
            self._local.publish(invalidated)
