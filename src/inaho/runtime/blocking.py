"""The block list, as an operator and the PidCache of one node meet it (SPEC VA-1.4, BS-2.3).

A topology that bars an authority takes its leases, then what the PidCache has of it, and then the event says so. The
cache listens to that event too. It has two ways to learn of a block, so that a fault in the longer one, which goes
through owners and hashes, does not leave calls going to a barred node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inaho.authority import parse_authority
from inaho.core.inputs import BlockNode, UnblockNode
from inaho.errors import InvalidConfig, Overloaded
from inaho.events import BlockListApplied
from inaho.observe.audit import audit_order

if TYPE_CHECKING:
    from inaho.runtime.node import Node
    from inaho.types import TopologySnapshot

__all__ = ["Blocking"]


class Blocking:
    """What one node does about barred authorities."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.close = node.events.subscribe_callback(BlockListApplied, self._applied)

    def _applied(self, event: BlockListApplied) -> None:
        node = self._node
        for dropped in node.pid_cache.invalidate_authority(event.authority, "blocked"):
            node.publish(dropped)

    def told(self, before: TopologySnapshot | None, snapshot: TopologySnapshot) -> None:
        """A client has learnt a topology; members publish this from the control plane."""
        known = () if before is None else before.blocked
        for authority in snapshot.blocked:
            if authority not in known:
                self._node.publish(BlockListApplied(authority=authority, version=snapshot.version))

    async def bar(self, authority: str, *, blocked: bool) -> bool:
        """Puts an authority on the list or takes it off, and waits until the topology of this node has it.

        Returns:
            Whether that changed anything.

        Raises:
            InvalidConfig: it is no authority, or this is a client.
            Overloaded: the list is full.
        """
        node = self._node
        canonical = str(parse_authority(authority, allow_port_zero=False))
        if node.driver is None:
            raise InvalidConfig("a client keeps no block list")
        if self.has(canonical) == blocked:
            return False
        node.driver.feed(BlockNode(canonical) if blocked else UnblockNode(canonical))
        audit_order("block" if blocked else "unblock", canonical, node.authority)
        if not await self.seen(canonical, blocked=blocked):
            raise Overloaded("the block list takes no more (membership.members_max)", authority=canonical)
        return True

    def has(self, authority: str) -> bool:
        """Whether the newest topology bars the authority."""
        return self._node.topology is not None and authority in self._node.topology.blocked

    async def seen(self, authority: str, *, blocked: bool) -> bool:
        """Waits until the topology of this node says so, as long as views take to agree; whether it does."""
        node = self._node
        deadline = node.loop.time() + node.config.gossip.convergence_s + node.config.membership.update_period_s
        while self.has(authority) != blocked:
            left_s = deadline - node.loop.time()
            if left_s <= 0:
                return False
            await node.wait_for_topology(left_s)
        return True
