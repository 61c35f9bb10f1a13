"""Decides which side holds when two views exclude each other, and whether this node refutes (SPEC CL-7.3, CL-7.4).

Two checks; nobody loses its place by one voice where two could speak. *Conflicting views*: two nodes have removed
each other, so neither may merge the other's table; the view that holds is the one with the first seed, then the one of
more members, then the one an operator names. Both sides compute the same answer from the same two lists. *Self
unreachable*: a node that reads its own name as unreachable asks the seeds and the others whether they hear it; one seed
or a majority of the others is enough to refute.

Why not let incarnations decide: after a partition both sides are right by their own lights, and either would win by
chance. A seed is the one member that an operator has named beforehand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from inaho.core.bounded_map import BoundedMap

__all__ = ["OURS", "THEIRS", "UNDECIDED", "SelfBallot", "Settlement", "Verdicts", "View", "settle"]

OURS: Final = "ours"
THEIRS: Final = "theirs"
UNDECIDED: Final = "undecided"


class View(msgspec.Struct, frozen=True):
    """One side of a conflict: who is up in it, and the seeds as its speaker is configured."""

    members: tuple[str, ...]
    seeds: tuple[str, ...]


class Settlement(msgspec.Struct, frozen=True):
    """Which view holds, and by which rule: `seed`, `majority` or `operator`."""

    holds: str
    rule: str


def settle(ours: View, theirs: View) -> Settlement:
    """Settles two views that exclude each other. Called with the sides swapped it gives the opposite answer."""
    our_members, their_members = frozenset(ours.members), frozenset(theirs.members)
    for seed in _common_seeds(ours.seeds, theirs.seeds):
        in_ours, in_theirs = seed in our_members, seed in their_members
        if in_ours != in_theirs:
            return Settlement(OURS if in_ours else THEIRS, "seed")
    if len(our_members) != len(their_members):
        return Settlement(OURS if len(our_members) > len(their_members) else THEIRS, "majority")
    return Settlement(UNDECIDED, "operator")


def _common_seeds(ours: tuple[str, ...], theirs: tuple[str, ...]) -> tuple[str, ...]:
    """Seeds that both sides know, in an order that both compute alike: the configured one only if it is the same."""
    if ours == theirs:
        return ours
    known = frozenset(theirs)
    return tuple(sorted(seed for seed in dict.fromkeys(ours) if seed in known))


class Verdicts:
    """Who has told this node that it has no place.

    Args:
        keep_s: how long each word counts.
        size_max: bound; beyond it the oldest is forgotten.
    """

    def __init__(self, keep_s: float, size_max: int) -> None:
        self._keep_s = keep_s
        # When each speaker last said so, and whether an operator stood behind it.
        self._spoken: BoundedMap[str, tuple[float, bool]] = BoundedMap(size_max)

    def hear(self, now: float, speaker: str, by_operator: bool) -> None:
        """That node says so."""
        before = self._spoken.get(speaker)
        self._spoken.renew(speaker, (now, by_operator or (before is not None and before[1])))

    def speakers(self, now: float) -> tuple[str, ...]:
        """Node ids of those whose word counts, the latest last."""
        for who in [who for who, said in self._spoken.items() if now >= said[0] + self._keep_s]:
            del self._spoken[who]
        return tuple(self._spoken)

    @property
    def by_operator(self) -> bool:
        """Whether an operator stood behind one of them."""
        return any(operator for _, operator in self._spoken.values())

    def clear(self) -> None:
        """Forgets all: this node has begun anew."""
        self._spoken.clear()

    def check(self) -> None:
        """Asserts the invariants."""
        self._spoken.check()


class SelfBallot:
    """Asks whether the others hear this node.

    Args:
        retry_s: between two rounds of questions.
        give_up_s: after it the node takes the others' word, and joins again.
    """

    def __init__(self, retry_s: float, give_up_s: float) -> None:
        self._retry_s = retry_s
        self._give_up_s = give_up_s
        self._since: float | None = None
        self._ask_at = 0.0
        self._votes: dict[str, None] = {}

    @property
    def open(self) -> bool:
        """Whether the question stands."""
        return self._since is not None

    def start(self, now: float) -> None:
        """This node reads that it is unreachable."""
        if self._since is None:
            self._since, self._ask_at, self._votes = now, now, {}

    def stop(self) -> None:
        """Settled."""
        self._since = None

    def asks(self, now: float) -> bool:
        """Whether to ask (again) now."""
        if self._since is None or now < self._ask_at:
            return False
        self._ask_at = now + self._retry_s
        return True

    def vote(self, authority: str) -> None:
        """That member hears us."""
        if self._since is not None:
            self._votes[authority] = None

    def outcome(self, now: float, others: Sequence[str], seeds: Sequence[str]) -> str:
        """`seed` or `majority` when we are heard, `isolated` when time is up, empty while open."""
        if self._since is None:
            return ""
        if not others or any(seed in self._votes for seed in seeds):
            return "seed"
        if 2 * sum(1 for authority in others if authority in self._votes) > len(others):
            return "majority"
        return "isolated" if now >= self._since + self._give_up_s else ""

    def next_deadline(self) -> float | None:
        """When to ask again or give up."""
        return None if self._since is None else min(self._ask_at, self._since + self._give_up_s)
