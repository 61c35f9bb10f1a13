"""Decides which member owns each partition, for one set of members.

The table has a slot per partition. A slot is filled when it is first asked for, and from then on answers from a list:
O(1) whatever the number of nodes. When the set of members changes, `derive` makes the next table from this one and
keeps what still holds:

- A slot whose owner is still a member is compared with the new members alone: no other member became stronger. So a
  join costs one score per partition, and moves partitions to the new member only.
- A slot whose owner is gone is decided again among all. So a leave costs about `nodes * (partitions / nodes)` scores,
  and moves partitions of the member that left only.
- Each slot remembers the generation in which it was decided, each node the generation in which it came. A slot that was
  not used during several changes is compared with all members that came since, so no change is lost.

Why the table is not filled at once: 4,096 partitions and 1,000 nodes are four million scores, a fifth of a second in
which the event loop would answer no probe. Why not a ring of virtual nodes: it needs thousands of points for the
balance that rendezvous hashing has without them, and moves partitions between third members when weights change.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from math import inf
from operator import attrgetter
from typing import Final

import msgspec
from xxhash import xxh3_64_intdigest

from inaho.core.identity.hashing import node_digest, rendezvous_score, weighted_claim
from inaho.types import Member

__all__ = ["PartitionTable"]

_by_authority = attrgetter("authority")
_came = attrgetter("came")


class _Contender(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A node as a table weighs it. Derived tables share the object while authority and weight stay the same.

    There is one per table and node, so they are kept from the garbage collector: they are in no circle.
    """

    authority: str
    weight: float
    came: int
    """Generation of the first table that held it."""
    digest: bytes


class PartitionTable:
    """Owners of all partitions among one set of members (SPEC VA-1.1; DESIGN, "Ownership").

    Args:
        members: those that may own partitions, in any order; at most one per authority, weights above 0 and finite.
        partitions: number of slots; a power of two.
        previous: the table to start from, for `derive`.

    Attributes:
        members: sorted by authority.
        partitions: number of slots.
        slots: per partition its owner, or None while undecided. For the hot path: `slots[p] or resolve(p)`.
            Nobody else writes to it.
        scored: scores computed so far, a plain counter for metrics and tests.

    Raises:
        ValueError: no members, two of one authority, a weight out of range, or `partitions` no power of two.
    """

    members: tuple[Member, ...]
    slots: list[Member | None]
    _newest_first: tuple[_Contender, ...]

    def __init__(self, members: Iterable[Member], partitions: int, previous: PartitionTable | None = None) -> None:
        if partitions < 1 or partitions & (partitions - 1):
            raise ValueError(f"partitions must be a power of two, not {partitions}")
        if previous is not None and previous.partitions != partitions:
            raise ValueError(f"cannot derive {partitions} partitions from {previous.partitions}")
        self.partitions: Final[int] = partitions
        self.scored = 0
        self._generation: Final[int] = 0 if previous is None else previous._generation + 1
        self._seat(members, {} if previous is None else previous._contenders)
        if previous is None:
            self._winners: list[_Contender | None] = [None] * partitions
            self._scores = [0] * partitions
            self._decided = [0] * partitions  # generation in which the winner was last compared with everybody
            self.slots = [None] * partitions
            return
        self._winners = previous._winners.copy()
        self._scores = previous._scores.copy()
        self._decided = previous._decided.copy()
        self.slots = [None] * partitions

    def _seat(self, members: Iterable[Member], known: dict[str, _Contender]) -> None:
        """Sets the members, and their contenders: the known one where authority and weight are the same."""
        self.members = tuple(sorted(members, key=_by_authority))
        if not self.members:
            raise ValueError("a partition table needs at least one member")
        for one, other in pairwise(self.members):
            if one.authority == other.authority:
                raise ValueError(f"two members have the authority {one.authority}")
        self._contenders: dict[str, _Contender] = {}
        for member in self.members:
            if not 0 < member.weight < inf:
                raise ValueError(f"the weight of {member.authority} must be above 0 and finite, not {member.weight}")
            contender = known.get(member.authority)
            if contender is None or contender.weight != member.weight:
                contender = _Contender(member.authority, member.weight, self._generation, node_digest(member.authority))
            self._contenders[member.authority] = contender
        by_authority = tuple(self._contenders.values())
        self._owners: dict[_Contender, Member] = dict(zip(by_authority, self.members, strict=True))
        self._by_authority = by_authority
        self._digests = tuple(contender.digest for contender in by_authority)
        self._newest_first = tuple(sorted(by_authority, key=_came, reverse=True))
        self._equal_weights = len({member.weight for member in self.members}) == 1

    def owner(self, partition: int) -> Member:
        """The member that owns `partition` (0 to `partitions - 1`)."""
        return self.slots[partition] or self.resolve(partition)

    def resolve(self, partition: int) -> Member:
        """Decides an undecided slot. At 1,000 nodes that takes 40 us for a first decision, else about 1 us."""
        winner = self._winners[partition]
        if winner is None or winner not in self._owners:
            winner, score = self._strongest(partition)
        else:
            winner, score = self._challenge(partition, winner)
        self._winners[partition] = winner
        self._scores[partition] = score
        self._decided[partition] = self._generation
        owner = self._owners[winner]
        self.slots[partition] = owner
        return owner

    def _strongest(self, partition: int) -> tuple[_Contender, int]:
        """The winner among all members, and its score."""
        scores = [xxh3_64_intdigest(digest, partition) for digest in self._digests]
        self.scored += len(scores)
        if self._equal_weights:
            score = max(scores)
            return self._by_authority[scores.index(score)], score  # the first of equals is the lowest authority
        best, best_score = self._by_authority[0], scores[0]
        best_claim = weighted_claim(best_score, best.weight)
        for contender, score in zip(self._by_authority, scores, strict=True):
            if contender.weight == best.weight and score <= best_score:
                continue  # the scores alone decide between equal weights
            claim = weighted_claim(score, contender.weight)
            if contender.weight == best.weight or claim > best_claim or (claim == best_claim and score > best_score):
                best, best_score, best_claim = contender, score, claim
        return best, best_score

    def _challenge(self, partition: int, best: _Contender) -> tuple[_Contender, int]:
        """The winner between the present owner and all members that came since the slot was decided."""
        since = self._decided[partition]
        best_score = self._scores[partition]
        for contender in self._newest_first:
            if contender.came <= since:
                break
            score = rendezvous_score(contender.digest, partition)
            self.scored += 1
            if self._equal_weights and score < best_score:
                continue  # the usual case, without a call
            if self._beats(contender, score, best, best_score):
                best, best_score = contender, score
        return best, best_score

    @staticmethod
    def _beats(challenger: _Contender, score: int, best: _Contender, best_score: int) -> bool:
        if challenger.weight != best.weight:
            claim, best_claim = weighted_claim(score, challenger.weight), weighted_claim(best_score, best.weight)
            if claim != best_claim:
                return claim > best_claim
        return score > best_score or (score == best_score and challenger.authority < best.authority)

    def derive(self, members: Iterable[Member]) -> PartitionTable:
        """The table for another set of members, with every decision that still holds. This table is not changed.

        It computes no score itself: slots that need one are decided when asked for.

        Raises:
            ValueError: as the constructor.
        """
        return PartitionTable(members, self.partitions, self)

    def check(self) -> None:
        """Asserts that decided slots agree with their winners, and that no member of today beats a winner."""
        sizes = {len(self.slots), len(self._winners), len(self._scores), len(self._decided)}
        assert sizes == {self.partitions}, sizes
        assert [member.authority for member in self.members] == sorted(self._contenders), "members out of order"
        for partition, owner in enumerate(self.slots):
            if owner is None:
                continue
            winner = self._winners[partition]
            assert winner is not None, f"partition {partition} has an owner but no winner"
            assert self._owners[winner] is owner, f"partition {partition} shows {owner.authority}, not its winner"
            assert self._scores[partition] == rendezvous_score(winner.digest, partition), f"score of {partition}"
            if owner is not self.members[0]:  # one challenger per slot: a full comparison is what `resolve` does
                first = self._by_authority[0]
                score = rendezvous_score(first.digest, partition)
                assert not self._beats(first, score, winner, self._scores[partition]), f"partition {partition}"
