"""Finds the partitions that a change of owners gave to this node or took from it, in slices.

With a thousand members and many kinds this takes longer than a call can wait. So a change is queued, per kind, and
worked off while calls are served (`Slices`). Code that needs one partition at once, to begin or hand over an activation
of it, calls `settle`: this checks the partition alone, under every queued change. Each partition is checked once per
change, and the changes in their order, so both ways give the same result.

Why queued changes are not merged into one: if this node owned a partition only in between, the previous owner may not
have released it yet, and the next owner relies on this node to know that.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Final, Protocol

from inaho.core.identity.own_partitions import OwnPartitions
from inaho.types import MemberStatus

if TYPE_CHECKING:
    from inaho.core.identity.lookup import OwnershipChange
    from inaho.runtime.local.history import TopologyChange
    from inaho.types import Member, TopologySnapshot

__all__ = ["Move", "MoveSink", "MovedPartitions", "moving"]

SCORE_US: Final = 0.15
"""Microseconds to compute one score."""

MOVE_US: Final = 5
"""Microseconds for one moved partition, besides the scores of its two owners."""


def moving(kind: str) -> str:
    """The job (`Slices`) that works off the changes of a kind."""
    return f"moved-{kind}"


class Move:
    """One change of owners.

    Args:
        change: the owners before and after.
        reasons: why partitions move.
        snapshot: the new topology.

    Attributes:
        version: of the topology.
        reasons: as given.
    """

    def __init__(self, change: OwnershipChange, reasons: TopologyChange, snapshot: TopologySnapshot) -> None:
        self.change = change
        self.reasons = reasons
        self.version = snapshot.version
        self._leaving = [member for member in snapshot.members if member.status is MemberStatus.LEAVING]
        self._owned: dict[tuple[int, tuple[str, ...]], tuple[OwnPartitions | None, OwnPartitions]] = {}
        """Partitions owned before and after, by `id` of the former and by the hosts: many kinds have the same."""

    def search(
        self, kind: str, node_id: str, partitions: int, before: OwnPartitions | None
    ) -> Generator[int, None, OwnPartitions]:
        """What the node owns after the change. Yields from time to time how many microseconds it has taken."""
        hosts = self.change.hosts(kind)
        key = id(before), tuple([host.authority for host in hosts])
        found = self._owned.get(key)
        if found is None:
            owned = OwnPartitions(node_id, partitions, hosts, before)
            for scores in owned.search():
                yield int(scores * SCORE_US)
            found = self._owned[key] = before, owned
        return found[1]

    def leaving(self, kind: str) -> list[Member]:
        """Hosts of the kind that leave."""
        return [member for member in self._leaving if kind in member.kinds]


class MoveSink(Protocol):
    """Receives the partitions that have moved."""

    def gained(self, kind: str, partition: int, before: Member, now: Member, move: Move) -> None:
        """This node owns the partition now."""
        ...

    def lost(self, kind: str, partition: int, now: Member) -> None:
        """This node owned the partition; the member `now` owns it now."""
        ...


class _Waiting:
    """One queued change for one kind, and the partitions that `settle` has already checked under it."""

    def __init__(self, move: Move) -> None:
        self.move = move
        self.settled: set[int] = set()


class MovedPartitions:
    """The changes of owners that one node has not worked off yet.

    Args:
        node_id: of this node.
        partitions: `activation.partitions`.
        sink: receives what has moved.

    Attributes:
        waiting: by kind, the queued changes, oldest first. Empty unless owners have just changed.
    """

    def __init__(self, node_id: str, partitions: int, sink: MoveSink) -> None:
        self.waiting: dict[str, list[_Waiting]] = {}
        self._node_id = node_id
        self._partitions = partitions
        self._sink = sink
        self._owned: dict[str, OwnPartitions] = {}

    def add(self, kind: str, move: Move) -> None:
        """Queues a change for the kind. Its `steps`, which run already or begin now, work it off."""
        self.waiting.setdefault(kind, []).append(_Waiting(move))

    def settle(self, kind: str, partition: int) -> None:
        """Checks the partition under all queued changes. When this returns, the sink knows all its moves."""
        for each in self.waiting.get(kind, ()):
            self._look(kind, partition, each)

    def steps(self, kind: str) -> Generator[int]:
        """Works off the changes of a kind. Each step yields about how many microseconds it took."""
        waiting = self.waiting[kind]
        while waiting:
            each = waiting[0]
            before = self._owned.get(kind) if each.move.change.hosted_before(kind) else None
            owned = yield from each.move.search(kind, self._node_id, self._partitions, before)
            had = () if before is None else before.owned
            for partition in sorted(set(had) ^ set(owned.owned)):
                self._look(kind, partition, each)
                yield MOVE_US + int(2 * len(each.move.change.hosts(kind)) * SCORE_US)
            self._owned[kind] = owned
            waiting.pop(0)
        del self.waiting[kind]

    def _look(self, kind: str, partition: int, each: _Waiting) -> None:
        if partition in each.settled:
            return
        owners = each.move.change.owners(kind, partition)
        if owners is not None:
            before, now = owners
            if before.node_id == now.node_id:
                pass
            elif now.node_id == self._node_id:
                self._sink.gained(kind, partition, before, now, each.move)
            elif before.node_id == self._node_id:
                self._sink.lost(kind, partition, now)
        each.settled.add(partition)

    def check(self) -> None:
        """Asserts that each kind in the table has a queued change."""
        assert all(self.waiting.values())
