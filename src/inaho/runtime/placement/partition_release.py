"""This node is the previous owner: it releases identities and partitions when their new owner asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from inaho.runtime.placement.agreement import topology_seen
from inaho.runtime.placement.moved_partitions import moving
from inaho.runtime.placement.taking_over import age

if TYPE_CHECKING:
    from inaho.runtime.activation.kind_host import KindHost
    from inaho.runtime.activation.leases import Leases
    from inaho.runtime.activation.records import ActivationRecord
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.local.topology import Topology
    from inaho.runtime.placement.previous_owners import PreviousOwners
    from inaho.runtime.placement.taking_over import TakingOver

__all__ = ["PartitionRelease"]


class PartitionRelease:
    """Answers the new owners of partitions that this node had.

    Args:
        local: this node.
        topology: of this node.
        hosts: its kinds, by name.
        leases: know what it owns.
        previous: the previous owners that this node itself waits for.
        taking_over: asks those previous owners to release an identity first.
    """

    def __init__(
        self,
        local: LocalNode,
        topology: Topology,
        hosts: Mapping[str, KindHost],
        leases: Leases,
        previous: PreviousOwners,
        taking_over: TakingOver,
    ) -> None:
        self._local = local
        self._topology = topology
        self._hosts = hosts
        self._leases = leases
        self._previous = previous
        self._taking_over = taking_over

    async def release(self, kind: str, key: str, version: int, askers: list[str]) -> ActivationRecord:
        """See `PlacementActor.release`."""
        await topology_seen(self._local, self._topology, version, while_=lambda: self._leases.owns(kind, key))
        record = await self._taking_over.take_over(kind, key, askers)  # this node may itself wait for an earlier owner
        host = self._hosts.get(kind)
        if host is not None and key in host.activations:
            record = max(record, await host.hand_over(key), key=age)
        return msgspec.structs.replace(record, drained=self._holds_nothing(kind, key))

    def _holds_nothing(self, kind: str, key: str) -> bool:
        """Whether this node has released the whole partition of the identity, so that its owner need not ask again."""
        host = self._hosts.get(kind)
        if host is None:
            return True
        through = not host.draining.walking and not host.draining.moving
        return through and self._previous.first(kind, key) is None and not self._leases.owns(kind, key)

    async def through(self, kind: str, partitions: list[int], version: int) -> list[int]:
        """See `PlacementActor.through`. Partitions for which this node waits since a later version do not count."""
        await topology_seen(self._local, self._topology, version)
        await self._local.slices.ended(moving(kind))
        host = self._hosts.get(kind)
        if host is None:
            return partitions
        if host.draining.walking or self._topology.version < version:
            return []
        busy = {self._topology.lookup.partition(kind, key) for key in host.draining.moving}
        return [
            partition
            for partition in partitions
            if partition not in busy
            and (
                (owner := self._topology.lookup.owner_of(kind, partition)) is None
                or owner.node_id != self._local.node_id
            )
            and not self._previous.handoff.waits_since(kind, partition, version)
        ]
