"""Reads and writes the record of all markers: one per storage, for all clusters that use it.

The record is replaced as a whole by a node that adds a marker. Its version decides which write was first; the other
nodes read it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from inaho.core.activation.doubt import MARKERS_FORMAT, Marker, Markers, add_marker
from inaho.errors import StateConflict, StorageFailed
from inaho.types import ClusterIdentity
from inaho.wire.codec import DECODE_ERRORS, decoder, encode

if TYPE_CHECKING:
    from inaho.runtime.local.local_node import LocalNode
    from inaho.storage import Storage

__all__ = ["MARKERS", "MarkerRecord"]

MARKERS: Final = ClusterIdentity("inaho.markers", "all")
"""The identity under which the markers are stored."""

MARKER_EPOCH: Final = 1
"""All writers of the markers have one epoch."""

WRITE_ATTEMPTS: Final = 50
"""Attempts to replace the record, which others replace at the same time."""

WRITE_PAUSE_S: Final = 0.01
"""Longest random pause before the next attempt; it grows with the number of attempts."""

_decode: Final = decoder(Markers)


class MarkerRecord:
    """Reads and writes the markers for one node.

    Args:
        local: the node.
        opened: opens its storage if needed, and returns it.

    Attributes:
        reads, writes: counted.
    """

    def __init__(self, local: LocalNode, opened: Callable[[], Awaitable[Storage]]) -> None:
        self.reads = 0
        self.writes = 0
        self._local = local
        self._opened = opened

    async def add(self, marker: Marker) -> Markers:
        """Writes a marker of this node; returns what was there before.

        Raises:
            StorageFailed: the marker was not written, or it is unknown whether it was.
        """
        storage = await self._opened()
        membership = self._local.config.membership
        for attempt in range(WRITE_ATTEMPTS):
            markers, version = await self.read()
            record = add_marker(markers, marker, keep_s=2 * membership.tombstone_s, markers_max=membership.members_max)
            try:
                await storage.save(MARKERS, encode(record), expected_version=version, epoch=MARKER_EPOCH)
            except StateConflict:  # another node has written its marker
                await asyncio.sleep(self._local.entropy.random.uniform(0.0, WRITE_PAUSE_S * (attempt + 1)))
            else:
                self.writes += 1
                return markers
        raise StorageFailed(
            "other nodes replaced the record of the markers at each attempt",
            identity=str(MARKERS),
            maybe_executed=False,
        )

    async def read(self) -> tuple[Markers, int]:
        """The markers, and the version of their record.

        Raises:
            StorageFailed: the storage does not answer, or the record cannot be read.
        """
        storage = await self._opened()
        self.reads += 1
        stored = await storage.load(MARKERS)
        if stored is None or stored.data is None:
            return Markers(), 0 if stored is None else stored.version
        try:
            markers: Markers = _decode(stored.data)
        except DECODE_ERRORS as error:
            raise StorageFailed(
                f"the record of the markers cannot be read: {error}", identity=str(MARKERS), maybe_executed=False
            ) from error
        if markers.format > MARKERS_FORMAT:
            raise StorageFailed(
                f"the record of the markers is in format {markers.format}, written by a later release; this one reads "
                f"format {MARKERS_FORMAT}: run the later release on all nodes",
                identity=str(MARKERS),
                maybe_executed=False,
            )
        return markers, stored.version
