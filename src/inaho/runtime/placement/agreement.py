"""Checks that two nodes which exchange messages about owners have the same owners."""

from __future__ import annotations

from collections.abc import Callable

from inaho.errors import OwnershipChanged
from inaho.runtime.local.local_node import LocalNode
from inaho.runtime.local.topology import Topology

__all__ = ["agree_on_owners", "topology_seen"]


async def agree_on_owners(local: LocalNode, topology: Topology, hash_: int, patience: int) -> None:
    """Returns when the owners that this node sees are those of that hash.

    Args:
        local: this node.
        topology: of this node.
        hash_: of the owners that the other node sees.
        patience: how long to wait, in times of `gossip.convergence_s`.

    Raises:
        OwnershipChanged: they are others after that time.
    """
    within_s = patience * local.config.gossip.convergence_s
    if not await topology.wait_until(lambda: topology.lookup.hash == hash_, within_s):
        raise OwnershipChanged(
            f"owners are seen in another way here ({topology.lookup.hash or 0:016x}) than there ({hash_:016x})",
            authority=local.authority,
        )


async def topology_seen(
    local: LocalNode, topology: Topology, version: int, *, while_: Callable[[], bool] = lambda: True
) -> None:
    """Waits until this node has seen that topology, but no longer than views take to agree.

    Args:
        local: this node.
        topology: of this node.
        version: that the other node has seen.
        while_: the wait ends, too, when this does not hold any more.
    """
    within_s = local.config.gossip.convergence_s  # then the other one has seen more, and goes by that
    await topology.wait_until(lambda: topology.version >= version or not while_(), within_s)
