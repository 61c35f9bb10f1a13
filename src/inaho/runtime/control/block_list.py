"""Takes an operator's order to block or unblock, and waits until another member knows it (SPEC VA-1.4, BS-2.3).

A topology that blocks an authority first revokes its leases; then the PidCache drops its entries, and then the event is
published. The cache handles that event too. So it learns of a block in two ways, and an error in the longer one, which
goes through owners and hashes, does not leave calls going to a blocked node.
"""

from __future__ import annotations

from inaho.authority import parse_authority
from inaho.core.identity.pid_cache import PidCache
from inaho.core.inputs import BlockNode, UnblockNode
from inaho.core.node import ControlNode
from inaho.errors import BlockedByProvider, InvalidConfig, Overloaded, Pending
from inaho.events import BlockListApplied
from inaho.observe.audit import audit_order
from inaho.runtime.control.control_plane import ControlPlane
from inaho.runtime.local.local_node import LocalNode
from inaho.runtime.local.topology import Topology
from inaho.types import TopologySnapshot

__all__ = ["BlockList"]


class BlockList:
    """Handles blocks on one node.

    Args:
        local: the node.
        topology: its newest snapshot has the list.
        control: the control plane, which gossips the list.
        pid_cache: drops entries of an authority that is blocked.
    """

    def __init__(self, local: LocalNode, topology: Topology, control: ControlPlane, pid_cache: PidCache) -> None:
        self._local = local
        self._topology = topology
        self._control = control
        self._pid_cache = pid_cache
        self.close = local.events.subscribe_callback(BlockListApplied, self._applied)

    def _applied(self, event: BlockListApplied) -> None:
        for dropped in self._pid_cache.invalidate_authority(event.authority, "blocked"):
            self._local.publish(dropped)

    def told(self, before: TopologySnapshot | None, snapshot: TopologySnapshot) -> None:
        """A client has received a topology; members publish this from the control plane."""
        known = () if before is None else before.blocked
        for authority in snapshot.blocked:
            if authority not in known:
                self._local.publish(BlockListApplied(authority=authority, version=snapshot.version))

    async def set_blocked(self, authority: str, *, blocked: bool) -> bool:
        """Blocks or unblocks an authority, and waits until the topology of this node has it.

        Then it waits, at most for `gossip.convergence_s`, until another member has it too: the order must not be lost
        with this process. If no other member can be reached, this node keeps the order and announces it when it reaches
        one, also after it was removed and has joined again.

        Returns:
            Whether that changed anything.

        Raises:
            InvalidConfig: `authority` is not valid, or this is a client.
            Overloaded: the list is full. Nothing has changed.
            Pending: this node is no member now, because others have removed it, and has not become one in time. The
                order is kept (`maybe_executed`) and announced when the node has joined again.
            BlockedByProvider: the provider of topology still blocks the authority. The order is taken.
        """
        canonical = str(parse_authority(authority, allow_port_zero=False))
        control = self._control.machine
        if control is None:
            raise InvalidConfig("a client has no block list")
        changes = (canonical in control.blocked_by_operators) != blocked
        if changes:
            self._control.feed(BlockNode(canonical) if blocked else UnblockNode(canonical))
            if (canonical in control.blocked_by_operators) != blocked:
                raise Overloaded("the block list is full (membership.members_max)", authority=canonical)
            audit_order("block" if blocked else "unblock", canonical, self._local.authority)
        if not blocked and canonical in control.blocked_by_provider:
            raise BlockedByProvider(
                "no operator of this cluster blocks it any more, but the provider of topology does, or two members "
                "have quarantined it",
                authority=canonical,
            )
        if not await self.seen(canonical, blocked=blocked) and not await self._rejoined(canonical, blocked=blocked):
            raise Pending(
                f"others have removed this node and it is joining again ({control.stage}); the order is kept and will "
                "be announced then",
                authority=self._local.authority,
                maybe_executed=True,
            )
        if changes:
            await self._told(control)
        return changes

    async def _rejoined(self, authority: str, *, blocked: bool) -> bool:
        """Waits, as long as a join may take, for a topology with the order. Returns whether there is one."""
        within_s = self._local.config.membership.join_timeout_s
        return await self._topology.wait_until(lambda: self.has(authority) == blocked, within_s)

    async def _told(self, control: ControlNode) -> None:
        """Returns when another member knows all that this one knows, or when the time is over."""
        gossip = self._local.config.gossip
        await self._topology.wait_until(lambda: control.shared, gossip.convergence_s, each_s=gossip.interval_s)

    def has(self, authority: str) -> bool:
        """Whether the newest topology blocks the authority."""
        return self._topology.snapshot is not None and authority in self._topology.snapshot.blocked

    async def seen(self, authority: str, *, blocked: bool) -> bool:
        """Waits until the topology has the order, as long as views take to agree. Returns whether it has it."""
        within_s = self._local.config.gossip.convergence_s + self._local.config.membership.update_period_s
        return await self._topology.wait_until(lambda: self.has(authority) == blocked, within_s)
