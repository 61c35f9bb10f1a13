"""Remembers removed members for a bounded time.

A removed generation must be remembered, or late statements would bring it back. It must not be remembered for ever, or
the table would grow with every restart. Two ages make forgetting safe: after half of the time a tombstone is no longer
sent to others, after the whole time it is dropped. Without the first age, two nodes that forget at different moments
would send it to each other again and again.

Both moments are computed once, when the tombstone is made. If the deadline and the check whether it has passed were two
sums of the same numbers, rounding could make them differ: nothing would be done at the deadline, and the next deadline
would be now.
"""

from __future__ import annotations

from typing import Final

import msgspec

from inaho.core.membership.incarnation import generation_of
from inaho.types import Member

__all__ = ["Tombstones"]

_NEVER: Final = -1


class Tombstone(msgspec.Struct, frozen=True):
    """One node that is gone.

    Attributes:
        since: when this node learnt of it, seconds.
        fades_at: from this time on it is no longer sent to others, seconds.
        until: when it is forgotten, seconds.
        generation: the highest that is gone; -1 for an origin of statements that was never seen as a member.
    """

    since: float
    fades_at: float
    until: float
    generation: int


class Tombstones:
    """Node ids that are gone, oldest first.

    Args:
        keep_s: how long each is remembered.
        size_max: bound; beyond it the oldest is forgotten at the next `expire`.
    """

    def __init__(self, keep_s: float, size_max: int) -> None:
        self._keep_s = keep_s
        self._size_max = size_max
        self._stones: dict[str, Tombstone] = {}
        # The tombstones that `check` has found valid last, in order.
        self._sound: list[Tombstone] = []

    def __len__(self) -> int:
        return len(self._stones)

    def bury(self, now: float, member: Member) -> None:
        """Remembers that this generation is gone."""
        known = self._stones.pop(member.node_id, None)
        generation = generation_of(member.incarnation)
        self._stones[member.node_id] = self._stone(
            now, generation if known is None else max(known.generation, generation)
        )

    def orphan(self, now: float, node_id: str) -> None:
        """Remembers an origin that is no member, so that it is forgotten in time."""
        self._stones.setdefault(node_id, self._stone(now, _NEVER))

    def _stone(self, now: float, generation: int) -> Tombstone:
        return Tombstone(now, now + self._keep_s / 2, now + self._keep_s, generation)

    def lift(self, member: Member) -> None:
        """The node is back under a higher generation."""
        known = self._stones.get(member.node_id)
        if known is not None and known.generation < generation_of(member.incarnation):
            del self._stones[member.node_id]

    def removed(self, node_id: str, incarnation: int) -> bool:
        """Whether the generation of that incarnation is gone."""
        stone = self._stones.get(node_id)
        return stone is not None and stone.generation >= generation_of(incarnation)

    def fading(self, now: float) -> frozenset[str]:
        """Node ids that are no longer sent to others."""
        faded: list[str] = []
        for node_id, stone in self._stones.items():
            if now < stone.fades_at:
                break
            faded.append(node_id)
        return frozenset(faded)

    def expire(self, now: float) -> list[str]:
        """Forgets what is old enough, and the oldest above the bound; returns their node ids."""
        gone: list[str] = []
        for node_id, stone in self._stones.items():
            if len(self._stones) - len(gone) <= self._size_max and now < stone.until:
                break
            gone.append(node_id)
        for node_id in gone:
            del self._stones[node_id]
        return gone

    def next_deadline(self) -> float | None:
        """When the oldest is to be forgotten; at once when there are too many."""
        for stone in self._stones.values():
            return stone.since if len(self._stones) > self._size_max else stone.until
        return None

    def check(self) -> None:
        """Asserts the invariants."""
        stones = [*self._stones.values()]
        if stones != self._sound:
            ages = [stone.since for stone in stones]
            assert ages == sorted(ages)
            self._sound = stones
