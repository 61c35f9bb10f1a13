"""Pulled hand-off: which partitions this node has gained and may not serve before their last owner has let go.

When a topology moves a partition, its last owner may still run activations of it. So the new owner asks before it
activates an identity of that partition (the last owner ends the activation after its turn and answers), until the last
owner says that it has drained the partition, or is no longer a member. In a quiet cluster the table is empty and costs
one look-up of an empty dict per activation.

Why pulled: pushing all activations of a partition at once would stop its calls for as long as the slowest takes, while
a caller waits here only for the one that it calls (DESIGN section 3, "Hand-off is pulled").
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

__all__ = ["HandOff", "LastOwner"]


class LastOwner(msgspec.Struct, frozen=True, array_like=True):
    """Who had a partition before: where it is reached, and its boot."""

    authority: str
    node_id: str


class HandOff:
    """Partitions of this node that another node may not have let go of yet.

    Args:
        partitions: `activation.partitions`; bounds the table per kind.
    """

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._awaited: dict[str, dict[int, LastOwner]] = {}

    def __bool__(self) -> bool:
        return bool(self._awaited)

    def __len__(self) -> int:
        return sum(map(len, self._awaited.values()))

    def gained(self, kind: str, partition: int, last: LastOwner) -> None:
        """A topology gave the partition to this node. An owner from before that we still wait for stays the one to ask.

        The one to ask stays the earliest: whoever had it in between has got nothing from it without asking in turn.
        """
        if not 0 <= partition < self._partitions:
            raise ValueError(f"partition {partition} is not below {self._partitions}")
        self._awaited.setdefault(kind, {}).setdefault(partition, last)

    def lost(self, kind: str, partition: int) -> None:
        """A topology gave the partition to another node, which asks us, and whom we point to whom we waited for."""
        self._forget(kind, partition)

    def last_owner(self, kind: str, partition: int) -> LastOwner | None:
        """Whom to ask before an identity of the partition is activated; None when nobody need be asked."""
        awaited = self._awaited.get(kind)
        return None if awaited is None else awaited.get(partition)

    def drained(self, kind: str, partitions: Iterable[int], node_id: str) -> int:
        """The node runs nothing of these partitions any more; returns how many we waited for."""
        count = 0
        for partition in partitions:
            last = self.last_owner(kind, partition)
            if last is not None and last.node_id == node_id:
                self._forget(kind, partition)
                count += 1
        return count

    def retain(self, alive: Iterable[str]) -> int:
        """Forgets partitions of nodes that are not in `alive` (node ids): nobody is left to ask. Returns how many."""
        known = dict.fromkeys(alive)
        gone = [
            (kind, partition)
            for kind, awaited in self._awaited.items()
            for partition, last in awaited.items()
            if last.node_id not in known
        ]
        for kind, partition in gone:
            self._forget(kind, partition)
        return len(gone)

    def _forget(self, kind: str, partition: int) -> None:
        awaited = self._awaited.get(kind)
        if awaited is not None and awaited.pop(partition, None) is not None and not awaited:
            del self._awaited[kind]

    def check(self) -> None:
        """Asserts the bound, and that no kind is kept for nothing."""
        for kind, awaited in self._awaited.items():
            assert awaited, f"{kind} waits for nothing"
            assert len(awaited) <= self._partitions
            assert all(0 <= partition < self._partitions for partition in awaited)
