"""Decides whether this node may activate an identity: by its ledger, and by topologies, blocks and removals.

An activation has a lease from its start to its end. The owner of the identity grants it. That is this node itself,
unless the kind is placed (`directory`). When a lease is revoked, the activation loses its right at once, but a running
turn may continue. This module refuses a save of that turn; the storage refuses it in any case once the successor has
saved, since the successor has the higher epoch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from inaho.core.activation.lease import Lease, LeaseState
from inaho.core.activation.ledger import ActivationLedger
from inaho.errors import Blocked, InahoError, OwnershipChanged, PlacementPaused, ShuttingDown
from inaho.events import LeaseTimedOut
from inaho.types import ClusterIdentity, MemberStatus

if TYPE_CHECKING:
    from inaho.runtime.grains.activation import Activation
    from inaho.runtime.grains.kind import GrainKind
    from inaho.runtime.local.history import ActivationHistory
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.local.topology import Topology
    from inaho.types import Member, TopologySnapshot

__all__ = ["LeaseHost", "LeasePool", "Leases"]

SILENT = (MemberStatus.UNREACHABLE, MemberStatus.REMOVED)
"""Members with this status keep no lease: others may take over their activations (SPEC CL-5.4)."""


class LeasePool(Protocol):
    """Makes the leases of a stateless kind, which are in no ledger."""

    def lease(self, key: str) -> Lease:
        """A lease of epoch 0. Raises `Overloaded`."""
        ...


class LeaseHost(Protocol):
    """What leases need to know of a kind on one node."""

    @property
    def name(self) -> str:
        """Of the kind."""
        ...

    @property
    def kind(self) -> GrainKind:
        """What was read from the class."""
        ...

    @property
    def authority(self) -> str:
        """Of the node."""
        ...

    @property
    def pool(self) -> LeasePool | None:
        """Of a stateless kind; None for all others."""
        ...


class Leases:
    """The `ActivationLedger` of a node, and the checks before a lease is granted (SPEC VA-1, VA-2, BS-2).

    Args:
        local: the node.
        topology: of the node.
        history: of its activations.

    Attributes:
        ledger: the leases that this node has granted.
    """

    def __init__(self, local: LocalNode, topology: Topology, history: ActivationHistory) -> None:
        activation = local.config.activation
        self.ledger = ActivationLedger(activation.activations_max, activation.lease_pending_s)
        self._local = local
        self._topology = topology
        self._history = history
        self._holders_at: TopologySnapshot | None = None
        self._holders: dict[str, Member] = {}
        """Members that may hold leases, by node id, in the topology `_holders_at`."""

    def note(self, lease: Lease, what: str, reason: str) -> None:
        """Adds an entry for an activation to the history; `what` as in `HistoryEntry`."""
        self._history.note(lease.kind, lease.key, what, reason, lease.epoch)

    # Before an activation.

    def owns(self, kind: str, key: str) -> bool:
        """Whether this node owns the identity by its newest topology. False when no member can own it now."""
        try:
            owner: Member = self._topology.lookup.owner(kind, key)
        except InahoError:
            return False
        return owner.node_id == self._local.node_id

    def member(self, node_id: str) -> Member | None:
        """The member with that node id; None if it may hold no lease."""
        topology = self._topology.snapshot
        if topology is None:
            return None
        if topology is not self._holders_at:
            self._holders_at = topology
            self._holders = {member.node_id: member for member in topology.members if _may_hold(member, topology)}
        return self._holders.get(node_id)

    def keeps(self, host: LeaseHost, grain: Activation) -> bool:
        """Whether an activation of this node may continue after a change of owners."""
        if host.pool is not None:
            return self.open
        if not host.kind.placed:
            return self.owns(host.name, grain._inaho_key)
        return grain._inaho_lease.holding and self.open

    def check_kept(self, host: LeaseHost, grain: Activation) -> None:
        """Raises `OwnershipChanged` if the owner changed during the start: another activation may start elsewhere."""
        if not self.keeps(host, grain):
            raise OwnershipChanged(
                "the owner of the identity changed while it started",
                identity=f"{host.name}/{grain._inaho_key}",
                authority=host.authority,
            )

    def check_owner(self, kind: str, key: str) -> None:
        """Raises `ShuttingDown`, `Blocked` or `OwnershipChanged` if this node may not activate the identity."""
        self.check_open(kind, key)
        owner = self._topology.lookup.owner(kind, key)
        if owner.node_id != self._local.node_id:
            version = 0 if self._topology.snapshot is None else self._topology.snapshot.version
            seen = f"{version} ({self._topology.lookup.hash or 0:016x})"
            raise OwnershipChanged(
                f"{owner.authority} owns it by topology {seen} of this node",
                identity=f"{kind}/{key}",
                authority=self._local.authority,
            )

    @property
    def open(self) -> bool:
        """Whether this node may activate anything."""
        topology = self._topology.snapshot
        blocked = topology is not None and self._local.authority in topology.blocked
        return not self._local.shutting_down and not blocked

    def obtain(self, host: LeaseHost, key: str) -> Lease:
        """A pending lease for an activation that a call makes. Raises as `KindHost.activate`."""
        if host.pool is not None:
            self.check_open(host.name, key)
            self.check_placement(host.name, key)
            return host.pool.lease(key)
        if host.kind.placed:
            self.check_open(host.name, key)
            raise OwnershipChanged(
                "the identity is not active here; ask its owner",
                identity=f"{host.name}/{key}",
                authority=self._local.authority,
            )
        self.check_owner(host.name, key)
        return self.grant(host.name, key)

    def check_open(self, kind: str, key: str) -> None:
        """Raises `ShuttingDown` or `Blocked` if this node may activate nothing."""
        if self._local.shutting_down:
            raise ShuttingDown("this node is leaving", identity=f"{kind}/{key}", authority=self._local.authority)
        if (
            self._topology.snapshot is not None
            and self._topology.snapshot.blocked
            and self._local.authority in self._topology.snapshot.blocked
        ):
            raise Blocked(
                "an operator has blocked this node", identity=f"{kind}/{key}", authority=self._local.authority
            )

    def check_placement(self, kind: str, key: str) -> None:
        """Raises `PlacementPaused` while the provider that is the membership is away or empty."""
        if self._local.placement_paused:
            raise PlacementPaused(
                self._local.placement_paused, identity=f"{kind}/{key}", authority=self._local.authority
            )

    def grant(self, kind: str, key: str) -> Lease:
        """A pending lease of this node.

        Raises:
            Pending: another activation has a lease.
            Overloaded: there are too many leases.
            PlacementPaused: there is nothing to place by.
        """
        try:
            self.check_placement(kind, key)
            return self.ledger.grant(kind, key, self._local.node_id, self._local.now)
        except InahoError as error:
            self._history.note(kind, key, "refused", error.reason, 0)
            raise

    # An activation's life.

    def activated(self, lease: Lease) -> None:
        """The activation has started. Raises `OwnershipChanged` if its lease was revoked during the start."""
        if lease.state is not LeaseState.PENDING:
            raise self.lost(lease, executed=False)
        if lease.epoch:
            self.ledger.activate(lease, self._local.now)
        else:  # of a stateless kind, in no ledger
            lease.move(LeaseState.ACTIVE, self._local.now)

    async def confirm(self, grain: Activation) -> None:
        """As `activated`. If the lease was lost during `on_activate`, it runs `on_deactivate` to clean up."""
        try:
            self.activated(grain._inaho_lease)
        except OwnershipChanged:
            try:
                await grain.on_deactivate("moved")
            except Exception as error:
                self._local.log.warning("on_deactivate of %s failed", grain.identity, exc_info=error)
            raise

    def begin_release(self, lease: Lease) -> None:
        """The activation ends after its running turns."""
        if lease.state is not LeaseState.ACTIVE:
            return
        if lease.epoch:
            self.ledger.begin_release(lease, self._local.now)
        else:
            lease.move(LeaseState.RELEASING, self._local.now)

    def ended(self, lease: Lease) -> None:
        """The activation has ended: releases its lease if the lease still holds."""
        self.begin_release(lease)
        if not lease.holding:
            return
        if lease.epoch:
            self.ledger.release(lease, self._local.now)
        else:
            lease.move(LeaseState.RELEASED, self._local.now)

    def time_out(self, lease: Lease) -> None:
        """The activation did not end in time: its identity is free from now on, and this is reported (SPEC BS-3.4)."""
        if lease.holding:
            now = self._local.now
            held_s = now - lease.since
            self.begin_release(lease)
            if lease.epoch:
                self.ledger.time_out(lease, now)
            else:
                lease.move(LeaseState.TIMED_OUT, now)
            self._report(lease, held_s)

    def lost(self, lease: Lease, *, executed: bool) -> OwnershipChanged:
        """The error for code of an activation whose lease has ended; `executed`: whether a turn has begun."""
        return OwnershipChanged(
            f"the lease of this activation is {lease.state.value} (epoch {lease.epoch:#x}); another may be active",
            identity=f"{lease.kind}/{lease.key}",
            authority=self._local.authority,
            maybe_executed=executed,
        )

    # Changes of the cluster, and time limits.

    def apply_topology(self, before: TopologySnapshot | None, snapshot: TopologySnapshot) -> list[Member]:
        """Revokes the leases of blocked, unreachable and removed members, before caches are changed (VA-1.4).

        Returns:
            The members that did not release their activations: they may still run them.
        """
        silent: list[Member] = []
        self.ledger.note_topology(snapshot.version)
        now = {member.node_id: member for member in snapshot.members}
        for member in () if before is None else before.members:
            present = now.get(member.node_id)
            if present is None or not _may_hold(present, snapshot):
                self.revoke(member.node_id, _why_revoked(member, present, snapshot))
                if present is not None or member.status is not MemberStatus.LEAVING:  # one that left has released all
                    silent.append(member)
        return silent

    def renew(self, lease: Lease) -> bool:
        """Starts the time limit of a pending lease anew; returns False for any other lease."""
        if lease.state is not LeaseState.PENDING:
            return False
        self.ledger.renew(lease, self._local.now)
        return True

    def revoke(self, node_id: str, reason: str) -> list[Lease]:
        """Revokes all leases of a node at once."""
        lost = self.ledger.revoke(node_id, self._local.now)
        for lease in lost:
            self.note(lease, "revoked", reason)
        return lost

    def expire(self) -> list[Lease]:
        """Ends leases of this node whose activations take too long to start or to end.

        Returns:
            Overdue leases of other nodes. They stay, since their activations may still start, and no second one may
            start beside them. The caller must ask those nodes.
        """
        pending_s = self._local.config.activation.lease_pending_s
        for lease in self.ledger.expire(self._local.now, self._local.node_id):
            self._report(lease, pending_s)
        overdue = self.ledger.overdue(self._local.now, self._local.node_id)
        for lease in overdue:
            self._report(lease, pending_s)
        return overdue

    def _report(self, lease: Lease, held_s: float) -> None:
        identity = ClusterIdentity(lease.kind, lease.key)
        self.note(lease, "timed_out", f"after {held_s:.1f} s")
        self._local.log.warning("the lease of %s (epoch %#x) timed out after %.1f s", identity, lease.epoch, held_s)
        self._local.publish(LeaseTimedOut(identity=identity, epoch=lease.epoch, holder=lease.holder, held_s=held_s))


def _may_hold(member: Member, snapshot: TopologySnapshot) -> bool:
    return member.status not in SILENT and member.authority not in snapshot.blocked


def _why_revoked(member: Member, present: Member | None, snapshot: TopologySnapshot) -> str:
    if member.authority in snapshot.blocked:
        return f"an operator blocked {member.authority}"
    status = MemberStatus.REMOVED if present is None else present.status
    return f"{member.authority} is {status.name.lower()}"
