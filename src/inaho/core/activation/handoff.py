"""Decides which partitions need a question to a previous owner before this node may activate in them.

When a topology moves a partition, its previous owner may still run activations of it. So the new owner asks the
previous owner before it activates an identity of that partition; the previous owner ends the activation after its turn
and answers. This ends when the previous owner reports that the partition is drained, or is no longer a member. In a
stable cluster the table is empty and costs one look-up in an empty dict per activation.

Why pulled: pushing all activations of a partition at once would stop its calls for as long as the slowest one takes.
Here a caller waits only for the one that it calls (DESIGN section 3, "Hand-off is pulled").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

__all__ = ["HandOff", "PreviousOwner"]


class PreviousOwner(msgspec.Struct, frozen=True, array_like=True):
    """A previous owner of a partition: its authority and its node id."""

    authority: str
    node_id: str


class HandOff:
    """Partitions of this node that another node may not have released yet.

    Args:
        partitions: `activation.partitions`; bounds the table per kind. Each has at most the living members as owners.
    """

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._awaited: dict[str, dict[int, tuple[tuple[PreviousOwner, int], ...]]] = {}

    def __bool__(self) -> bool:
        return bool(self._awaited)

    def __len__(self) -> int:
        return sum(map(len, self._awaited.values()))

    def gained(self, kind: str, partition: int, last: PreviousOwner, version: int = 0) -> None:
        """The topology of that version gave the partition to this node.

        If it comes back before an earlier owner has released it, both are asked: each may have identities of it, since
        the later owner asked the earlier one only for identities that it activated.
        """
        if not 0 <= partition < self._partitions:
            raise ValueError(f"partition {partition} is not below {self._partitions}")
        awaited = self._awaited.setdefault(kind, {})
        before = awaited.get(partition, ())
        others = tuple(each for each in before if each[0].node_id != last.node_id)
        awaited[partition] = (*others, (last, version))

    def previous_owner(self, kind: str, partition: int) -> PreviousOwner | None:
        """The node to ask first before an identity of the partition is activated; None when there is none."""
        awaited = self._awaited.get(kind)
        owners = () if awaited is None else awaited.get(partition, ())
        return owners[0][0] if owners else None

    def previous_owners(self, kind: str, partition: int) -> tuple[PreviousOwner, ...]:
        """All nodes to ask before an identity of the partition is activated, earliest first."""
        awaited = self._awaited.get(kind)
        return () if awaited is None else tuple(last for last, _ in awaited.get(partition, ()))

    def drained(self, kind: str, partitions: Iterable[int], node_id: str, version: int) -> int:
        """The node has no activation of these partitions any more; returns for how many this node waited for it.

        Args:
            kind, partitions: which.
            node_id: of the previous owner.
            version: of its topology when it reported this. What it lost by a later one, it may have had again in
                between.
        """
        count = 0
        for partition in partitions:
            awaited = self._awaited.get(kind)
            if awaited is None:
                break
            waited = len(awaited.get(partition, ()))
            if waited:
                self._keep(kind, partition, lambda last, since: last.node_id != node_id or since > version)
                count += waited - len(self.previous_owners(kind, partition))
        return count

    def retain(self, alive: Iterable[str]) -> int:
        """Forgets nodes that are not in `alive` (node ids): they cannot be asked. Returns for how many partitions."""
        known = dict.fromkeys(alive)
        touched = [
            (kind, partition)
            for kind, awaited in self._awaited.items()
            for partition, owners in awaited.items()
            if any(last.node_id not in known for last, _ in owners)
        ]
        for kind, partition in touched:
            self._keep(kind, partition, lambda last, _: last.node_id in known)
        return len(touched)

    def awaited(self) -> dict[tuple[PreviousOwner, str], tuple[list[int], int]]:
        """By previous owner and kind: the partitions waited for, and the newest version that gave one of them."""
        found: dict[tuple[PreviousOwner, str], tuple[list[int], int]] = {}
        for kind, partitions in self._awaited.items():
            for partition, owners in partitions.items():
                for last, since in owners:
                    numbers, newest = found.get((last, kind), ([], 0))
                    numbers.append(partition)
                    found[last, kind] = (numbers, max(newest, since))
        return found

    def waits_since(self, kind: str, partition: int, version: int) -> bool:
        """Whether this node waits for a previous owner since that version or an earlier one."""
        awaited = self._awaited.get(kind)
        return awaited is not None and any(since <= version for _, since in awaited.get(partition, ()))

    def _keep(self, kind: str, partition: int, wanted: Callable[[PreviousOwner, int], bool]) -> None:
        awaited = self._awaited[kind]
        left = tuple(each for each in awaited[partition] if wanted(*each))
        if left:
            awaited[partition] = left
            return
        del awaited[partition]
        if not awaited:
            del self._awaited[kind]

    def check(self) -> None:
        """Asserts the bound, and that no kind has an empty table."""
        for kind, awaited in self._awaited.items():
            assert awaited, f"{kind} waits for nothing"
            assert len(awaited) <= self._partitions
            for partition, owners in awaited.items():
                assert 0 <= partition < self._partitions
                assert owners, f"{kind} waits for nobody in {partition}"
                assert len({last.node_id for last, _ in owners}) == len(owners)
