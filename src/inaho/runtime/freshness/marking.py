"""Writes the marker of this node before it activates identities that may be active elsewhere, too."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from inaho.core.activation.doubt import DOUBT, FOUNDED, Marker, Markers
from inaho.errors import StorageFailed
from inaho.runtime.freshness.time_limit import time_limit

if TYPE_CHECKING:
    from inaho.core.activation.doubt import Doubts
    from inaho.runtime.freshness.marker_record import MarkerRecord
    from inaho.runtime.freshness.proved_kinds import ProvedKinds
    from inaho.runtime.local.local_node import LocalNode

__all__ = ["Marking"]


class Marking:
    """The marker of one node.

    Args:
        local: the node.
        kinds: those whose activations are proved; if there are none, no marker is written.
        doubts: the members that the node doubts.
        record: of all markers.

    Attributes:
        kinds: see above.
        found_there: the markers of others when this node last wrote its own.
    """

    def __init__(self, local: LocalNode, kinds: ProvedKinds, doubts: Doubts, record: MarkerRecord) -> None:
        self.kinds = kinds
        self.found_there = Markers()
        self._local = local
        self._doubts = doubts
        self._record = record
        self._writing: asyncio.Task[None] | None = None
        self._episode = 0
        """The episode of doubt for which this node has written its marker."""
        self._written_at = 0.0
        self._founded = False
        """This node has founded a cluster, and its marker is not written yet."""
        self._took_over = False
        """A member was blocked and may not know it. What this node takes over from it waits for the marker."""

    def founded(self) -> None:
        """This node has founded a cluster: its marker says so from now on."""
        self._founded = True

    def member_blocked(self) -> None:
        """A member was blocked: what this node takes over from it waits for the marker."""
        self._took_over = True

    @property
    def is_written(self) -> bool:
        """Whether the marker of the present time of doubt is written."""
        return self._episode == self._doubts.episode

    @property
    def is_due(self) -> bool:
        """Whether this node must write its marker before it activates anything whose state others may change."""
        return self._founded or self._took_over or (bool(self._doubts) and not self.is_written)

    async def written(self) -> None:
        """Returns when no marker is due.

        Raises:
            StorageFailed: the marker could not be written.
        """
        while self.is_due and self.kinds:
            writing = self.begin()
            await asyncio.wait((writing,))
            if writing.cancelled():
                raise StorageFailed("the node stops", authority=self._local.authority, maybe_executed=False)
            writing.result()

    def begin(self) -> asyncio.Task[None]:
        """Writes the marker in the background; callers share the Task that runs already."""
        if self._writing is None:
            self._writing = self._local.spawn(self._write(), name="inaho-marker")
            self._writing.add_done_callback(self._ended)
        return self._writing

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._writing = None
        if not task.cancelled():
            task.exception()  # retrieved here; those who wait raise it

    async def renew(self, began: float) -> None:
        """Writes the marker again, before others drop it because it is too old; `began`: boot seconds now."""
        if self.is_written and began > self._written_at + self._local.config.membership.tombstone_s:
            await self._write()

    async def _write(self) -> None:
        local = self._local
        episode, founded = self._doubts.episode, self._founded
        why = FOUNDED if founded else DOUBT
        marker = Marker(local.node_id, local.authority, why, local.unix_time(), local.config.name)
        async with time_limit(local):  # all activations of this node wait for it
            markers = await self._record.add(marker)
        self.found_there = markers
        self._episode, self._written_at = (episode if self._doubts else self._episode), local.boot_time()
        self._founded, self._took_over = self._founded and not founded, False
