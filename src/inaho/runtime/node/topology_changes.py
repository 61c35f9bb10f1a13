"""Applies a new topology to the parts of one node, in a fixed order.

The order matters. First the leases of members that may hold none any more end, so that nothing is activated by an old
lease. Then owners change, and entries of members that are gone leave the PidCache. Only then do waiting calls continue.
What follows from other owners (stale Pids, partitions and activations that have moved, clients to notify) begins here
and continues in slices (`runtime.local.slices`; docs/decisions/0034).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from inaho.events import OwnersChanged, TopologyChanged

if TYPE_CHECKING:
    from inaho.runtime.node.parts import NodeParts
    from inaho.types import TopologySnapshot

__all__ = ["TopologyChanges"]

MEMBER_US: Final = 4
"""Microseconds per member to apply a topology. In a small cluster, queued `Slices` begin in the same iteration."""


class TopologyChanges:
    """Applies topologies to the parts of one node.

    Args:
        node: whose parts they are.
    """

    def __init__(self, node: NodeParts) -> None:
        self._node = node

    def apply(self, snapshot: TopologySnapshot) -> None:
        """Applies a topology."""
        node, topology = self._node, self._node.topology
        if topology.closed:
            return
        before, topology.snapshot = topology.snapshot, snapshot
        revoked_before = node.leases.ledger.revoked
        for member in node.leases.apply_topology(before, snapshot):
            node.fencing.fell_silent(member)
        node.peers.topology_changed(before, snapshot)
        node.associations.apply_topology(snapshot)
        node.remoting.apply_topology(snapshot)
        node.known_kinds.apply_topology(before, snapshot)
        owners_changed = topology.lookup.update_topology(snapshot)
        self._forget_members_gone(before, snapshot)
        if node.survey.is_outdated(before, snapshot, owners_changed):
            node.loads.book.retain(member.node_id for member in snapshot.members)
            node.placed_activations.owners_changed()
            node.survey.begin_anew()
        if owners_changed:
            node.moved_pids.owners_changed()
            if not node.local.client:
                node.bridge.topology_changed(before, snapshot)
                node.saved_versions.owners_changed()
                for host in node.hosts.values():
                    if host.hosted and not host.system:
                        host.draining.begin()
                node.bridge.report_drain()
        elif not node.local.client:
            node.bridge.members_changed()
        node.topics.apply_topology(before, snapshot)
        node.acceptor.push_topology(snapshot)
        node.local.slices.run(MEMBER_US * len(snapshot.members))
        topology.wake()
        if node.local.client:  # a member's control plane publishes it
            node.local.publish(TopologyChanged(snapshot=snapshot))
            node.block_list.told(before, snapshot)
        elif owners_changed or node.leases.ledger.revoked != revoked_before:
            self._tell_leases(snapshot, node.leases.ledger.revoked - revoked_before)

    def _tell_leases(self, snapshot: TopologySnapshot, revoked: int) -> None:
        ledger = self._node.leases.ledger
        self._node.local.publish(
            OwnersChanged(
                version=snapshot.version,
                hash=snapshot.hash,
                epoch=ledger.epoch,
                held=len(ledger),
                revoked=revoked,
            )
        )

    def _forget_members_gone(self, before: TopologySnapshot | None, snapshot: TopologySnapshot) -> None:
        """Drops the PidCache entries of members that are gone, also if they owned nothing (SPEC VA-3.5)."""
        there = {member.node_id for member in snapshot.members}
        gone = [member.authority for member in (before.members if before else ()) if member.node_id not in there]
        for event in self._node.pid_cache.invalidate_authorities(gone, "the member is gone"):
            self._node.local.publish(event)

    def stop_activations(self, reason: str) -> None:
        """Ends all leases and all activations at once, with running turns: other members may run the same activations.

        Owners are unknown until the next topology. By that one this node has just joined, so it asks previous owners
        first.
        """
        node = self._node
        node.leases.revoke(node.local.node_id, reason)
        node.topology.forget_owners()
        node.all_activations.drop(reason)
        node.local.slices.run()
