"""Checks that two nodes which exchange messages about owners see the same owners."""

from __future__ import annotations

from collections.abc import Callable

from inaho.errors import OwnershipChanged
from inaho.runtime.local.local_node import LocalNode
from inaho.runtime.local.topology import Topology

__all__ = ["agree_on_owners", "topology_seen"]


async def agree_on_owners(local: LocalNode, topology: Topology, hash_: int, patience: int) -> None:
    """Returns when this node sees the owners that have the hash `hash_`.

    Args:
        local: this node.
        topology: of this node.
        hash_: of the owners as the other node sees them.
        patience: how long to wait, as a multiple of `gossip.convergence_s`.

    Raises:
        OwnershipChanged: this node still sees other owners after that time.
    """
    within_s = patience * local.config.gossip.convergence_s
    if not await topology.wait_until(lambda: topology.lookup.hash == hash_, within_s):
        raise OwnershipChanged(
            f"this node sees other owners (hash {topology.lookup.hash or 0:016x}) than the other node ({hash_:016x})",
            authority=local.authority,
        )


async def topology_seen(
    local: LocalNode, topology: Topology, version: int, *, while_: Callable[[], bool] = lambda: True
) -> None:
    """Waits until this node has seen a version of the topology, at most `gossip.convergence_s`.

    Args:
        local: this node.
        topology: of this node.
        version: the newest that the other node has seen.
        while_: the wait also ends when this returns False.
    """
    within_s = local.config.gossip.convergence_s  # by then the other node acts by a newer topology
    await topology.wait_until(lambda: topology.version >= version or not while_(), within_s)
