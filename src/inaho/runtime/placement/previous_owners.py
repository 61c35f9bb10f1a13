"""The previous owners of this node's partitions that may not have released them yet."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from inaho.core.activation.handoff import HandOff, PreviousOwner
from inaho.runtime.activation.leases import SILENT

if TYPE_CHECKING:
    from inaho.runtime.activation.fencing import Fencing
    from inaho.runtime.local.topology import Topology
    from inaho.runtime.placement.moved_partitions import MovedPartitions
    from inaho.types import Member

__all__ = ["PreviousOwners"]


class PreviousOwners:
    """Keeps `HandOff` up to date, and fences the previous owners that this node waits for no longer.

    Args:
        partitions: `activation.partitions`.
        topology: of this node.
        fencing: makes the storage refuse their saves.
        moved: the queued changes of owners.

    Attributes:
        handoff: partitions of this node whose previous owner may not have released them.
    """

    def __init__(self, partitions: int, topology: Topology, fencing: Fencing, moved: MovedPartitions) -> None:
        self.handoff = HandOff(partitions)
        self._topology = topology
        self._fencing = fencing
        self._moved = moved
        self._alive: dict[str, None] = {}
        """Node ids of the members that can be asked."""

    def first(self, kind: str, key: str) -> PreviousOwner | None:
        """The first previous owner to ask before the identity is activated here; usually None."""
        if not self._moved.waiting and not self.handoff:
            return None
        owners = self.of(kind, self._topology.lookup.partition(kind, key))
        return owners[0] if owners else None

    def of(self, kind: str, partition: int) -> tuple[PreviousOwner, ...]:
        """All previous owners to ask before an identity of the partition is activated here, earliest first."""
        if self._moved.waiting:
            self._moved.settle(kind, partition)
        return self.handoff.previous_owners(kind, partition)

    def gained(self, kind: str, partition: int, before: Member, version: int) -> None:
        """This node owns the partition since that version of the topology; `before` may not have released it."""
        if before.node_id in self._alive:
            self.handoff.gained(kind, partition, PreviousOwner(before.authority, before.node_id), version)
        else:
            self._fencing.took_over(kind, partition)

    def members_changed(self) -> None:
        """Stops waiting for members that are gone or unreachable."""
        self._alive = {member.node_id: None for member in self._topology.members if member.status not in SILENT}
        self._wait_only_for(self._alive)

    def give_up(self, previous: PreviousOwner) -> None:
        """Stops waiting for one previous owner. Once a successor is active, the storage refuses saves of that node."""
        self._wait_only_for({m.node_id for m in self._topology.members if m.node_id != previous.node_id})

    def _wait_only_for(self, node_ids: Collection[str]) -> None:
        """Stops waiting for other nodes; fences those that never confirmed release: they may still run and save."""
        for (previous, kind), (partitions, _) in self.handoff.awaited().items():
            if previous.node_id not in node_ids:
                for partition in partitions:
                    self._fencing.took_over(kind, partition)
        self.handoff.retain(node_ids)
