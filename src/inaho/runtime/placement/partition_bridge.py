"""Moving partitions between nodes (DESIGN section 3, "Hand-off is pulled").

When a topology takes a partition from this node, its activations end after their turns, and when none is left the new
owner is told (`lost_partitions`, `partition_release`). When a topology gives one to this node, an identity of it is
activated only after the previous owner has released it (`taking_over`); meanwhile its calls wait in the queue of the
activation, so no call fails because of a rolling restart. This module gives each new topology to both roles.
"""

from __future__ import annotations

import contextlib
from asyncio import timeout_at
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from inaho.core.activation.handoff import PreviousOwner
from inaho.runtime.local.history import TopologyChange
from inaho.runtime.placement.lost_partitions import LostPartitions
from inaho.runtime.placement.moved_partitions import Move, MovedPartitions, moving
from inaho.runtime.placement.partition_release import PartitionRelease
from inaho.runtime.placement.previous_owners import PreviousOwners
from inaho.runtime.placement.taking_over import RELEASE_RETRY_S, TakingOver

if TYPE_CHECKING:
    from inaho.runtime.activation.fencing import Fencing
    from inaho.runtime.activation.kind_host import KindHost
    from inaho.runtime.activation.leases import Leases
    from inaho.runtime.local.history import OwnershipHistory
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.local.topology import Topology
    from inaho.runtime.local.warnings import WaitingWarnings
    from inaho.runtime.placement.system_calls import SystemCalls
    from inaho.types import Member, TopologySnapshot

__all__ = ["PartitionBridge"]


class PartitionBridge:
    """Hand-off of one node, both ways.

    Args:
        local: this node.
        topology: of this node.
        hosts: its kinds, by name.
        leases: say what it may activate.
        fencing: makes the storage refuse saves of previous owners that this node does not wait for.
        ownership: remembers why partitions moved.
        warnings: of nodes that this one waits for.
        calls: of placement actors.

    Attributes:
        previous: the previous owners of the partitions of this node.
        taking_over: this node as the new owner.
        release: this node as the previous owner.
    """

    def __init__(
        self,
        local: LocalNode,
        topology: Topology,
        hosts: Mapping[str, KindHost],
        leases: Leases,
        fencing: Fencing,
        ownership: OwnershipHistory,
        warnings: WaitingWarnings,
        calls: SystemCalls,
    ) -> None:
        self._local = local
        self._topology = topology
        self._hosts = hosts
        self._ownership = ownership
        partitions = local.config.activation.partitions
        self._moved = MovedPartitions(local.node_id, partitions, self)
        self.previous = PreviousOwners(partitions, topology, fencing, self._moved)
        self._lost = LostPartitions(local, topology, hosts, self.previous.handoff, self._moved.waiting, calls)
        self.taking_over = TakingOver(local, topology, leases, self.previous, calls, warnings, self._lost.report_drain)
        self.release = PartitionRelease(local, topology, hosts, leases, self.previous, self.taking_over)

    # A new topology.

    def topology_changed(self, before: TopologySnapshot | None, snapshot: TopologySnapshot) -> None:
        """Begins to note, in slices, which partitions moved to and from this node."""
        self.previous.members_changed()
        reasons = TopologyChange(self._local.unix_time(), before, snapshot)
        move = Move(self._topology.lookup.change(self._local.node_id), reasons, snapshot)
        for kind, host in self._hosts.items():
            if host.hosted and not host.system and not host.apart:
                self._moved.add(kind, move)
                if moving(kind) not in self._local.slices:
                    self._local.slices.add(moving(kind), self._note_moved(kind))
        self._local.slices.add("waiting-activations", self.taking_over.stop_waiting())

    def members_changed(self) -> None:
        """The owners are the same, but a previous owner may be gone: this node waits for it no longer."""
        self.previous.members_changed()
        self._lost.report_drain()

    def _note_moved(self, kind: str) -> Iterator[int]:
        yield from self._moved.steps(kind)
        self._lost.report_drain(kind)

    def gained(self, kind: str, partition: int, before: Member, now: Member, move: Move) -> None:
        """See `MoveSink`."""
        self._ownership.gained(kind, partition, before, now, move.reasons)
        self._lost.regained(kind, partition)
        self.previous.gained(kind, partition, before, move.version)
        for member in move.leaving(kind):  # it may have owned it by a topology that this node has not seen
            self.previous.gained(kind, partition, member, move.version)
        self.taking_over.ask_again_later()

    def lost(self, kind: str, partition: int, now: Member) -> None:
        """See `MoveSink`."""
        self._lost.add(kind, partition, PreviousOwner(now.authority, now.node_id))

    # This node as the previous owner.

    def report_drain(self, kind: str = "") -> None:
        """Begins to report to new owners which lost partitions are drained by now: of one kind, or of all."""
        self._lost.report_drain(kind)

    @property
    def told(self) -> int:
        """Drained partitions reported, counted."""
        return self._lost.told

    @property
    def hands_over(self) -> bool:
        """Whether some new owner has not yet acknowledged the partitions that it gained from this node."""
        return bool(self._moved.waiting or self._lost)

    async def wait_handed_over(self, within_s: float) -> bool:
        """Waits at most `within_s` seconds; returns whether all new owners have acknowledged what they gained."""
        deadline = self._local.loop.time() + within_s
        while self.hands_over and self._local.loop.time() < deadline:
            job = next(map(moving, self._moved.waiting), "")
            if job in self._local.slices:
                await self._local.slices.ended(job)
            elif not await self._lost.acknowledged(deadline - self._local.loop.time()):
                # A previous owner has not released a partition, or an activation has not ended.
                with contextlib.suppress(TimeoutError):
                    async with timeout_at(deadline):
                        await self.taking_over.ask_all()
                await self._topology.wait(min(RELEASE_RETRY_S, deadline - self._local.loop.time()))
        return not self.hands_over

    def check(self) -> None:
        """Asserts the invariants of the parts."""
        self.previous.handoff.check()
        self._moved.check()
        self._lost.check()
