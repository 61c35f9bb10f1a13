"""Detects another cluster that saves the same grains, by the marker of a live member in the storage.

A process without seeds founds a cluster of its own. It then reads the markers, and warns if one is of a process that
runs. So a cluster must have a marker in the storage as long as it exists, whichever node founded it. When a member
goes, the first host of each kind with state checks whether there is a marker of a member that stays, and writes one of
its own if not. The first host is the one with the lowest authority, by its own topology: if two nodes both think that
they are the first, they write two markers, which does no harm; if the first one goes at the same time, its end makes
the next one check. A node that joins and is the first host checks too, because a founder that hosts no such kind has
written nothing.

The node that checks warns as a founder does: a process that founded a cluster just before may not have read its marker.

Why not ask for the author of the marker instead: every node that joins would read the markers.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from inaho.core.activation.doubt import FOUNDED, Marker, Markers
from inaho.core.bounded_map import BoundedMap
from inaho.errors import InahoError, Unreachable, WrongIncarnation
from inaho.errors.inspection import describe
from inaho.runtime.freshness.marker_reader import live_members
from inaho.runtime.freshness.time_limit import time_limit
from inaho.types import MemberStatus

if TYPE_CHECKING:
    from inaho.core.activation.doubt import Doubts
    from inaho.runtime.connections.peers import Peers
    from inaho.runtime.freshness.marker_record import MarkerRecord
    from inaho.runtime.freshness.proved_kinds import ProvedKinds
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.local.topology import Topology

__all__ = ["OtherClusters"]


class OtherClusters:
    """Keeps a marker of this cluster in the storage, and warns of other clusters over it.

    Args:
        local: the node.
        topology: of the node.
        kinds: those whose state others may save; if there are none, there is nothing to warn of.
        doubts: the members that the node doubts.
        peers: connects to a process, to see whether it runs.
        record: of the markers.
    """

    def __init__(
        self,
        local: LocalNode,
        topology: Topology,
        kinds: ProvedKinds,
        doubts: Doubts,
        peers: Peers,
        record: MarkerRecord,
    ) -> None:
        self._local = local
        self._topology = topology
        self._kinds = kinds
        self._doubts = doubts
        self._peers = peers
        self._record = record
        self._settled: BoundedMap[str, None] = BoundedMap(local.config.membership.members_max)
        """Node ids for which no warning is due: they left, have ended, or were warned of already."""
        self._looking: asyncio.Task[None] | None = None
        self._asked = False
        """A member has gone since the last check began."""

    def member_goes(self, node_id: str) -> None:
        """A member leaves, or was removed."""
        self._settled.renew(node_id, None)
        self._asked = True
        self.look()

    def look(self) -> None:
        """Checks, in the background, whether this node must write a marker."""
        if self._looking is None and self._kinds and not self._local.closing:
            self._looking = self._local.spawn(self._look(), name="inaho-other-clusters")
            self._looking.add_done_callback(self._looked)

    def _looked(self, task: asyncio.Task[None]) -> None:
        self._looking = None
        if not task.cancelled() and (error := task.exception()) is not None:
            self._local.log.error("looking for other clusters failed", exc_info=error)
        if self._asked:
            self.look()

    async def _look(self) -> None:
        while not self._local.closing and self._is_first():
            warns, self._asked = self._asked, False
            try:
                async with time_limit(self._local):
                    markers, _ = await self._record.read()
                    if not self._staying().intersection(marker.node_id for marker in markers.markers):
                        now, name = self._local.unix_time(), self._local.config.name
                        markers = await self._record.add(
                            Marker(self._local.node_id, self._local.authority, FOUNDED, now, name)
                        )
                        warns = True
                if warns:
                    await self.warn(markers, founded=False)
            except InahoError as error:
                self._local.log.debug("reading or writing the markers failed, retrying: %s", describe(error))
                self._asked = self._asked or warns
            else:
                if not self._asked:
                    return
            await asyncio.sleep(self._local.config.activation.freshness_s)
        self._asked = False

    def _is_first(self) -> bool:
        """Whether this node has the lowest authority of those that host a kind with state that it hosts."""
        kinds = self._kinds.names
        first: dict[str, str] = {}
        for member in sorted(self._topology.members, key=lambda member: member.authority):
            if member.status <= MemberStatus.UP:
                for kind in kinds.intersection(member.kinds):
                    first.setdefault(kind, member.node_id)
        return self._local.node_id in first.values()

    def _staying(self) -> set[str]:
        return {member.node_id for member in self._topology.members if member.status <= MemberStatus.UP}

    async def warn(self, markers: Markers, *, founded: bool) -> None:
        """Warns, once, of processes of other clusters that have written a marker and run; the first one is named.

        Args:
            markers: that were read.
            founded: this node has founded its cluster just now.
        """
        told = False
        # The markers of processes that are not live members and did not leave.
        for marker in self._doubts.foreign(markers.markers, set(live_members(self._topology).values())):
            settled = told or marker.node_id in self._settled or not await self._answers(marker)
            self._settled.renew(marker.node_id, None)
            if settled:
                continue
            told = True
            self._local.log.warning(
                "%s %s a cluster named %r, but %s has founded another one (%r), or is a member of it, over the same "
                "storage, so both save the same grains. A process without seeds founds a cluster of its own: give %s "
                "one the seed %s to join the other, or another storage or data_dir",
                self._local.authority, "has founded" if founded else "is a member of", self._local.config.name,
                marker.authority, marker.cluster, "this" if founded else "that",
                marker.authority if founded else self._local.authority,
            )  # fmt: skip

    async def _answers(self, marker: Marker) -> bool:
        """Whether the process that wrote a marker still runs, or may."""
        if marker.authority == self._local.authority:  # this process has its authority now
            return False
        try:
            async with asyncio.timeout(self._local.config.transport.handshake_timeout_s):
                await self._peers.connect(marker.authority, marker.node_id)
        except (Unreachable, WrongIncarnation) as error:  # no process listens there, or another one
            self._local.log.debug("%s, which has written a marker, does not run: %s", marker.authority, describe(error))
            return False
        except (TimeoutError, InahoError):  # it runs: a process of another cluster refuses this one
            return True
        return True
