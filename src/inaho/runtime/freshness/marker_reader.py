"""Reads the markers while this node doubts, and decides which activations must be proved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inaho.errors import InahoError
from inaho.events import DoubtBegan
from inaho.runtime.activation.leases import SILENT
from inaho.runtime.freshness.time_limit import time_limit

if TYPE_CHECKING:
    from inaho.core.activation.doubt import Doubts, Markers
    from inaho.runtime.freshness.marker_record import MarkerRecord
    from inaho.runtime.freshness.marking import Marking
    from inaho.runtime.freshness.proofs import Proofs
    from inaho.runtime.freshness.unknown import UnknownFreshness
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.local.topology import Topology

__all__ = ["MarkerReader", "live_members"]


def live_members(topology: Topology) -> dict[str, str]:
    """Node ids of the live members by authority."""
    return {member.authority: member.node_id for member in topology.members if member.status not in SILENT}


class MarkerReader:
    """Has activations proved if a marker is foreign.

    Args:
        local: the node.
        topology: of the node.
        doubts: the members that it doubts.
        record: of all markers.
        marking: writes the marker of the node.
        proofs: proves its activations.
        unknown: reports that the storage does not answer.

    Attributes:
        known: node ids of the members that lived when the present time of doubt began.
    """

    def __init__(
        self,
        local: LocalNode,
        topology: Topology,
        doubts: Doubts,
        record: MarkerRecord,
        marking: Marking,
        proofs: Proofs,
        unknown: UnknownFreshness,
    ) -> None:
        self.known: set[str] = set()
        self._local = local
        self._topology = topology
        self._doubts = doubts
        self._record = record
        self._marking = marking
        self._proofs = proofs
        self._unknown = unknown
        self._ended: set[str] = set()
        """Node ids of processes that have been replaced and whose markers have been read."""

    @property
    def reads(self) -> int:
        """Reads of the markers, counted."""
        return self._record.reads

    def doubt_begins(self) -> None:
        """A time of doubt begins: the markers of members that live now are not foreign in it."""
        self.known = set(live_members(self._topology).values())

    async def look(self, began: float) -> None:
        """Reads the markers, and writes the one of this node if it has activations.

        An activation that has just begun may save, and a member that found this node unreachable must learn of that.

        Args:
            began: boot seconds now.
        """
        unmarked = not self._marking.is_written and self._doubts.open()
        if unmarked and next(self._marking.kinds.activations(), None) is not None:
            self._marking.begin()
        try:
            async with time_limit(self._local):
                markers, _ = await self._record.read()
                await self._marking.renew(began)
        except InahoError as error:
            self._unknown.tell(error)
            if self._local.config.activation.when_unproved == "refuse" and not self._proofs.repeat:
                self._proofs.repeat = True
                self._proofs.require_all()
        else:
            self.judge(began, markers)

    def judge(self, began: float, read: Markers) -> None:
        """Begins and ends doubts and proofs by the markers of a read that began at `began`."""
        proofs, doubts, live = self._proofs, self._doubts, live_members(self._topology)
        if not doubts:
            self.doubt_begins()
        # A node that became a member in this time of doubt may have been in another part of the split before.
        foreign = doubts.foreign(read.markers, self.known & set(live.values()))
        ended: set[str] = set()
        for marker in foreign:
            if doubts.knows(marker.node_id):
                continue
            if live.get(marker.authority, marker.node_id) != marker.node_id:  # it was replaced, but may have saved
                ended.add(marker.node_id)
                continue
            doubts.begin(began, marker.node_id, marker.authority)
            reason = "a process that was no member before this node began to doubt has activated grains"
            self._local.publish(DoubtBegan(authority=marker.authority, node_id=marker.node_id, reason=reason))
        foreign = [marker for marker in foreign if marker.node_id not in self._ended]
        self._ended = ended
        goes_on = any(doubts.get(marker.node_id) is not None for marker in foreign)
        if (goes_on and not proofs.repeat) or (not goes_on and (foreign or proofs.repeat)):
            proofs.require_all()  # from now on, or for the last time
        proofs.repeat = goes_on
        doubts.settle(began)
