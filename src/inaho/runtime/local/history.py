"""Remembers what happened to activations and partitions on this node, bounded, for explanations.

Rings of short tuples, because they are written at every activation and read when a person asks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from inaho.types import Epoch, Member, MemberStatus, Struct

if TYPE_CHECKING:
    from inaho.types import TopologySnapshot

__all__ = ["ActivationHistory", "HistoryEntry", "OwnershipHistory", "PartitionMove", "TopologyChange"]


class HistoryEntry(Struct, frozen=True, array_like=True):
    """One thing that happened to an identity on one node.

    Attributes:
        at: Unix seconds of that node.
        what: `started`, `ended`, `failed`, `took_over`, `refused`, `timed_out`, `revoked` or `placed`.
        reason: one sentence or word; empty if `what` says all.
        epoch: of the activation; 0 if there was none.
        authority: of the node that reports it.
    """

    at: float
    what: str
    reason: str
    epoch: Epoch
    authority: str = ""


class ActivationHistory:
    """The last entries, in order.

    Args:
        size: bound of the entries, of all identities together; `activation.history_max`.
        clock: monotonic seconds.
    """

    def __init__(self, size: int, clock: Callable[[], float]) -> None:
        self._entries: deque[tuple[float, str, str, str, str, Epoch]] = deque(maxlen=size)
        self._clock = clock
        self._observers: dict[str, list[Callable[[str, str, str], None]]] = {}

    def observe(self, what: str, observer: Callable[[str, str, str], None]) -> None:
        """Calls `observer(kind, key, reason)` at each entry of that `what`, repeated ones included."""
        self._observers.setdefault(what, []).append(observer)

    def note(self, kind: str, key: str, what: str, reason: str, epoch: Epoch) -> None:
        """Remembers an entry, in place of the oldest.

        A refusal that only repeats the previous entry is not remembered: callers retry many times per second.
        """
        if what in self._observers:
            for observer in self._observers[what]:
                observer(kind, key, reason)
        at, entries = self._clock(), self._entries
        if what == "refused" and entries and entries[-1][1:] == (kind, key, what, reason, epoch):
            return
        entries.append((at, kind, key, what, reason, epoch))

    def of(self, kind: str, key: str, *, offset_s: float, authority: str) -> list[HistoryEntry]:
        """What is remembered of one identity, oldest first.

        Args:
            kind, key: the identity.
            offset_s: Unix time less monotonic time.
            authority: of this node.
        """
        return [
            HistoryEntry(at + offset_s, what, reason, epoch, authority)
            for at, its_kind, its_key, what, reason, epoch in self._entries
            if its_key == key and its_kind == kind
        ]

    def __len__(self) -> int:
        return len(self._entries)


class PartitionMove(Struct, frozen=True, array_like=True):
    """How a partition came to its owner.

    Attributes:
        at: Unix seconds of the owner.
        from_authority: the previous owner.
        because: the reason of the move, such as `127.0.0.1:7701 was removed`.
    """

    at: float
    from_authority: str
    because: str


class OwnershipHistory:
    """From which member this node got its partitions last, and why: one slot per partition and kind.

    Args:
        partitions: `activation.partitions`.
    """

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._moves: dict[str, list[PartitionMove | None]] = {}

    def gained(self, kind: str, partition: int, before: Member, owner: Member, change: TopologyChange) -> None:
        """The partition went to this node by that change."""
        slots = self._moves.get(kind)
        if slots is None:
            slots = self._moves[kind] = [None] * self._partitions
        slots[partition] = change.move(before, owner)

    def of(self, kind: str, partition: int) -> PartitionMove | None:
        """How the partition came here; None when it has been here from the start."""
        slots = self._moves.get(kind)
        return None if slots is None else slots[partition]


class TopologyChange:
    """Why partitions move from one topology to the next.

    Args:
        at: Unix seconds.
        before: the topology before; None at first.
        now: the topology now.
    """

    def __init__(self, at: float, before: TopologySnapshot | None, now: TopologySnapshot) -> None:
        self._at = at
        self._then = {} if before is None else {member.node_id: member for member in before.members}
        self._was_blocked = () if before is None else before.blocked
        self._now = {member.node_id: member for member in now.members}
        self._blocked = now.blocked
        self._authorities = {member.authority for member in now.members}
        self._moves: dict[tuple[str, str], PartitionMove] = {}

    def move(self, before: Member, owner: Member) -> PartitionMove:
        """A move from one to the other by this change; all such moves are one object."""
        move = self._moves.get((before.node_id, owner.node_id))
        if move is None:
            move = PartitionMove(self._at, before.authority, self.why(before, owner))
            self._moves[before.node_id, owner.node_id] = move
        return move

    def why(self, before: Member, owner: Member) -> str:
        """Why a partition went from `before` to `owner`."""
        source = self._now.get(before.node_id)
        if source is None:
            # A member that dies is unreachable for a while first; one that leaves with nothing to hand over may be gone
            # at once.
            earlier = self._then.get(before.node_id, before)
            if before.authority in self._authorities:
                return f"{before.authority} was restarted"
            return f"{before.authority} {'was removed' if earlier.status is MemberStatus.UNREACHABLE else 'left'}"
        if source.authority in self._blocked:
            return f"an operator blocked {before.authority}"
        if source.status is MemberStatus.LEAVING:
            return f"{before.authority} left"
        if source.status is not MemberStatus.UP:
            return f"{before.authority} became {source.status.name.lower()}"
        target = self._then.get(owner.node_id)
        if target is None or target.status is MemberStatus.JOINING:
            return f"{owner.authority} joined"
        if target.authority in self._was_blocked:
            return f"an operator unblocked {owner.authority}"
        if target.status is not MemberStatus.UP:
            return f"{owner.authority} was reachable again"
        return "the members host other kinds, or have other weights, than before"
