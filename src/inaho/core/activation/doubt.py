"""Decides which members this node doubts: members that may run activations without this node knowing it.

A member that went silent is not known to be dead. It may live on the other side of a network partition, take over
grains that are active here, and save. Then an activation here is older than the stored state. No message can show this,
because the other side may die before the network is whole again. Only the storage is left. A node that activates grains
while it doubts a member first writes one *marker* into the storage. A node that doubts a member reads the markers, and
if one is foreign, its activations prove that they have the stored state.

This machine answers three questions: is there a doubt, which markers are foreign, and when is a doubt over. A doubt of
a member is over when that member left, was replaced by a new process, or has confirmed that it released all that it
took over; at the latest after `doubt_s`. A doubt that is over still counts until one more read of the markers has begun
after that: the last save of that member may be younger than the read before.

Why not compare views: a node cannot see whether views agree, and its own view does not change when a side that it
cannot reach dies. Why not remember the versions that others saved: those nodes may die before they report them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

import msgspec

from inaho.core.bounded_map import BoundedMap

__all__ = ["DOUBT", "FOUNDED", "MARKERS_FORMAT", "Doubt", "Doubts", "Marker", "Markers", "add_marker"]

DOUBT: Final = "doubt"
FOUNDED: Final = "founded"
"""Why a marker was written."""

MARKERS_FORMAT: Final = 1
"""Version of the record of the markers."""


class Marker(msgspec.Struct, frozen=True, array_like=True):
    """The record of a node that activates grains while it doubts a member, or that founds a cluster.

    Attributes:
        node_id: of the process that wrote it.
        authority: of that process.
        reason: `doubt` or `founded`.
        written_at: Unix seconds by the clock of the node that wrote it.
        cluster: name of the cluster.
    """

    node_id: str
    authority: str
    reason: str
    written_at: float
    cluster: str = ""


class Markers(msgspec.Struct, frozen=True, array_like=True):
    """All markers of one storage: one record, replaced as a whole.

    Attributes:
        format: version of this format.
        markers: at most one per node, oldest first.
    """

    format: int = MARKERS_FORMAT
    markers: tuple[Marker, ...] = ()


def add_marker(markers: Markers, marker: Marker, *, keep_s: float, markers_max: int) -> Markers:
    """The record with `marker` in place of an earlier one of the same node.

    Args:
        markers: what is stored.
        marker: the new one.
        keep_s: markers older than this are dropped, by the clock of the writer of the new one; seconds.
        markers_max: bound; beyond it the oldest are dropped.
    """
    kept = [
        each
        for each in markers.markers
        if each.node_id != marker.node_id and marker.written_at - each.written_at <= keep_s
    ]
    return Markers(markers.format, (*kept, marker)[-markers_max:])


class Doubt(msgspec.Struct, eq=False):
    """One member that this node doubts.

    Attributes:
        node_id: of its process.
        authority: of its process.
        since: when it began, seconds.
        incarnation: of the member when this node found it unreachable; -1 where this node was found unreachable itself.
        over_at: when it was over, seconds; None before.
        why_over: `left`, `replaced`, `confirmed` or `expired`; empty before.
    """

    node_id: str
    authority: str
    since: float
    incarnation: int = -1
    over_at: float | None = None
    why_over: str = ""


class Doubts:
    """The doubts of one node.

    Args:
        node_id: of this node.
        doubt_s: longest time that a doubt lasts, seconds (`membership.tombstone_s`).
        doubts_max: bound of the doubted members, and of the members that are known to need no doubt; beyond it the
            oldest is forgotten.

    Attributes:
        episode: number of the present time of doubt; it grows when the first doubt of a time begins.
    """

    def __init__(self, node_id: str, doubt_s: float, doubts_max: int) -> None:
        self.episode = 0
        self._node_id = node_id
        self._doubt_s = doubt_s
        self._doubts: BoundedMap[str, Doubt] = BoundedMap(doubts_max)
        # Node ids of processes that have ended or have released what they took over.
        self._harmless: BoundedMap[str, None] = BoundedMap(doubts_max)

    def __bool__(self) -> bool:
        return bool(self._doubts)

    def __len__(self) -> int:
        return len(self._doubts)

    def get(self, node_id: str) -> Doubt | None:
        """The doubt of that node, unless it is over."""
        doubt = self._doubts.get(node_id)
        return doubt if doubt is not None and doubt.over_at is None else None

    def knows(self, node_id: str) -> bool:
        """Whether that node is doubted, or was since the last read of the markers."""
        return node_id in self._doubts

    def open(self) -> list[Doubt]:
        """The doubts that are not over, oldest first."""
        return [doubt for doubt in self._doubts.values() if doubt.over_at is None]

    def begin(self, now: float, node_id: str, authority: str, incarnation: int = -1) -> bool:
        """Begins to doubt that member.

        Args:
            now: seconds.
            node_id: of the member.
            authority: of the member.
            incarnation: see `Doubt`.

        Returns:
            Whether it was not doubted before.
        """
        if node_id == self._node_id:
            return False
        known = self._doubts.pop(node_id, None)
        if not self._doubts and known is None:
            self.episode += 1
        is_new = known is None or known.over_at is not None
        since = now if known is None or is_new else known.since
        before = -1 if known is None or is_new else known.incarnation
        self._doubts[node_id] = Doubt(node_id, authority, since, max(before, incarnation))
        self._harmless.pop(node_id, None)
        return is_new

    def end(self, now: float, node_id: str, why: str) -> bool:
        """The member needs no doubt from now on. Returns whether it was doubted."""
        self._harmless.renew(node_id, None)
        doubt = self.get(node_id)
        if doubt is None:
            return False
        doubt.over_at, doubt.why_over = now, why
        return True

    def expire(self, now: float) -> list[Doubt]:
        """Ends doubts that have lasted `doubt_s`, which is the documented limit; returns them."""
        late = [doubt for doubt in self.open() if now >= doubt.since + self._doubt_s]
        for doubt in late:
            self.end(now, doubt.node_id, "expired")
        return late

    def foreign(self, markers: Iterable[Marker], trusted: Collection[str]) -> list[Marker]:
        """The markers of processes that may have activated what is active here.

        Args:
            markers: that were read.
            trusted: node ids of the live members that were members before the doubt.

        Returns:
            Markers of doubted members, of members whose doubt is over since the last read, and of unknown processes. A
            process that has ended is unknown, too, because it is not known when it saved last.
        """
        found: list[Marker] = []
        for marker in markers:
            known = marker.node_id in trusted or marker.node_id in self._harmless
            if marker.node_id != self._node_id and (marker.node_id in self._doubts or not known):
                found.append(marker)
        return found

    def settle(self, read_began: float) -> list[Doubt]:
        """Forgets the doubts that were over before a read of the markers began; returns them."""
        settled = [
            doubt for doubt in self._doubts.values() if doubt.over_at is not None and doubt.over_at <= read_began
        ]
        for doubt in settled:
            del self._doubts[doubt.node_id]
        return settled

    def check(self) -> None:
        """Asserts the bounds, and that nobody is both doubted and harmless."""
        self._doubts.check()
        self._harmless.check()
        for node_id, doubt in self._doubts.items():
            assert node_id == doubt.node_id != self._node_id
            assert (doubt.over_at is None) == (not doubt.why_over)
            assert doubt.over_at is not None or node_id not in self._harmless
