"""Runs the machine of associations on one node, and carries out its decisions, such as a quarantine.

`core.delivery.associations` decides. This module publishes and audits its decisions, and `AssociationEffects` carries
them out. All parts that learn about a peer (dials, handshakes, connections, the control plane) report to this module
and ask it.

A claim of a peer that is not authenticated never counts against the authority that it names. Only the behaviour of a
dialled authority itself, or of an authenticated peer, counts. Otherwise any process could make members quarantine each
other.
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
    from inaho.runtime.connections.ports import AssociationEffects
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.local.topology import Topology
    from inaho.types import TopologySnapshot
    from inaho.wire.handshake import PeerInfo

__all__ = ["Associations"]

_INVALID = (AuthenticationFailed, WrongCluster, WrongIncarnation, ProtocolViolation)
"""Failures of a dial that make the association with a member invalid (SPEC CL-4.1)."""

_ANSWERED = (Overloaded, Quarantined, ShuttingDown)
"""Refusals by a peer that answers: they lengthen the pause before the next dial, but do not count for quarantine."""


class Associations:
    """Decides which peers of one node may be dialled, and which are quarantined.

    Args:
        local: the node.
        topology: knows the members.
        effects: carries out the decisions.

    Attributes:
        machine: decides; it has the state of each authority.
    """

    def __init__(self, local: LocalNode, topology: Topology, effects: AssociationEffects) -> None:
        transport = local.config.transport
        self.machine = Authorities(
            local.config.delivery,
            local.entropy.random,
            redial_s=transport.redial_s,
            redial_max_s=transport.redial_max_s,
        )
        self._local = local
        self._topology = topology
        self._effects = effects
        self._stale = ""

    # Questions.

    def demand(self, authority: str, node_id: str = "") -> None:
        """Raises `Quarantined` if nothing may be sent to or accepted from the process at the authority."""
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
        """The quarantined associations, sorted by authority."""
        return self.machine.quarantined()

    # Trust.

    def trust_members(self, stale: str) -> None:
        """Says whether the list of members is to be trusted (SPEC PR-4.3).

        Args:
            stale: why it is not: channels are then opened only to authorities that this node has reached before.
                Empty: it is.
        """
        self._stale = stale

    def check_new(self, authority: str) -> None:
        """Raises `DialFailed` if a channel to that authority would be a new one, by a list that is not trusted."""
        if self._stale:
            known = self.machine.get(authority)
            if known is None or not known.node_id:
                raise DialFailed(f"no new channel is opened: {self._stale}", authority=authority, cause_kind="local")

    # Reports.

    def connected(self, authority: str, peer: PeerInfo) -> None:
        """A dial of `authority` reached `peer`."""
        self._publish(self.machine.replaced(authority, peer.node_id, peer.incarnation))
        self._publish(self.machine.connected(authority, peer.node_id, peer.incarnation))

    def lost(self, authority: str, reason: str) -> None:
        """The dialled connection accepts no more frames."""
        if self.machine.state(authority) is not AuthorityState.DISCONNECTED:
            self._publish(self.machine.lost(authority, reason))

    def failed(self, authority: str, error: InahoError) -> None:
        """A dial of `authority` failed. For a member it counts towards quarantine, unless the member answered."""
        if self.machine.state(authority) is AuthorityState.CONNECTED:
            return
        now = self._local.loop.time()
        # Removed nodes are dialled to find out whether they are back. A quarantine of such a node would
        # keep the two sides of a network partition apart after it has healed.
        is_member = self._topology.member(authority) is not None
        if isinstance(error, _INVALID) and is_member:
            self._publish(self.machine.condemned(authority, f"{error.code}: {error.reason}", now))
            return
        ours = isinstance(error, DialFailed) and error.cause_kind == "local"
        counts = is_member and not ours and not isinstance(error, _ANSWERED)
        self._publish(self.machine.failed(authority, error.reason, now, counts=counts))

    def accepted(self, peer: PeerInfo) -> None:
        """A peer has connected to this node. Raises `Quarantined` if it is quarantined."""
        if peer.role != "member":
            return
        self.demand(peer.authority, peer.node_id)
        self._publish(self.machine.heard(peer.authority, peer.node_id, peer.incarnation))
        self._effects.pauses_changed()

    def violated(self, peer: PeerInfo, reason: str) -> None:
        """An authenticated peer has violated the protocol.

        A process that only claims the authority of a member is refused, and that member is not quarantined for it.
        """
        authority = peer.authority
        if peer.role != "member" or authority in ("", self._local.authority):
            return
        member = self._topology.member(authority)
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

    def apply_topology(self, snapshot: TopologySnapshot) -> None:
        """A new topology names the process at each member's authority."""
        for member in snapshot.members:
            self._publish(self.machine.replaced(member.authority, member.node_id, member.incarnation))
        self._effects.pauses_changed()

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
        for event in events:
            audit(event, self._local.authority or self._local.node_id)
            self._local.publish(event)
            if isinstance(event, AuthorityQuarantined):
                self._effects.cut_off(event.authority, Quarantined(event.reason, authority=event.authority))
            elif isinstance(event, AuthorityReleased):
                self._effects.released(event.authority)
