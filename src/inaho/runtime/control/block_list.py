"""The block list, as an operator and the PidCache of one node meet it (SPEC VA-1.4, BS-2.3).

A topology that bars an authority takes its leases, then what the PidCache has of it, and then the event says so. The
cache listens to that event too. It has two ways to learn of a block, so that a fault in the longer one, which goes
through owners and hashes, does not leave calls going to a barred node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inaho.authority import parse_authority
from inaho.core.inputs import BlockNode, UnblockNode
from inaho.errors import InvalidConfig, Overloaded, Pending
from inaho.events import BlockListApplied
from inaho.observe.audit import audit_order

if TYPE_CHECKING:
    from inaho.core.node import ControlNode
    from inaho.runtime.node.node import Node
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

        Then it waits, at most for `gossip.convergence_s`, until another member has it too: the order must not end with
        this process. Where no other member can be reached, this node keeps the order and tells it when it is heard
        again, also after it was removed and has joined again.

        Returns:
            Whether that changed anything.

        Raises:
            InvalidConfig: it is no authority, or this is a client.
            Overloaded: the list is full. Nothing has changed.
            Pending: this node is no member now, because others have removed it, and has not become one in time. The
                order is kept (`maybe_executed`) and is told when the node has joined again.
        """
        node = self._node
        canonical = str(parse_authority(authority, allow_port_zero=False))
        if node.driver is None:
            raise InvalidConfig("a client keeps no block list")
        control = node.driver.control
        changes = (canonical in control.blocked) != blocked
        if changes:
            node.driver.feed(BlockNode(canonical) if blocked else UnblockNode(canonical))
            if (canonical in control.blocked) != blocked:
                raise Overloaded("the block list takes no more (membership.members_max)", authority=canonical)
            audit_order("block" if blocked else "unblock", canonical, node.authority)
        if not await self.seen(canonical, blocked=blocked) and not await self._rejoined(canonical, blocked=blocked):
            raise Pending(
                f"others have removed this node and it is joining again ({control.stage}); the order is kept and will "
                "be told to them",
                authority=node.authority,
                maybe_executed=True,
            )
        if changes:
            await self._told(control)
        return changes

    async def _rejoined(self, authority: str, *, blocked: bool) -> bool:
        """Waits for a node that joins again, as long as a join may take; whether the topology has the order then."""
        node = self._node
        deadline = node.loop.time() + node.config.membership.join_timeout_s
        while (left_s := deadline - node.loop.time()) > 0 and self.has(authority) != blocked:
            await node.wait_for_topology(left_s)
        return self.has(authority) == blocked

    async def _told(self, control: ControlNode) -> None:
        """Returns when another member has all that this one knows, or none can be reached in time."""
        node = self._node
        deadline = node.loop.time() + node.config.gossip.convergence_s
        while not control.shared and (left_s := deadline - node.loop.time()) > 0:
            await node.wait_for_topology(min(left_s, node.config.gossip.interval_s))

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
