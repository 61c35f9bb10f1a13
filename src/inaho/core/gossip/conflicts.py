"""Decides which side holds when two views exclude each other, and whether this node refutes (SPEC CL-7.3, CL-7.4).

It has two checks. No node loses its place by one source if two could report.

- *Conflicting views*: two nodes have removed each other, so neither may merge the other's table. The view with the
  first seed holds, else the view with more members, else the view that an operator names. Both sides compute the same
  answer from the same two lists.
- *Self unreachable*: a node that finds its own record unreachable asks the seeds and the other members whether they
  hear it. One seed or a majority of the others is enough to refute.

Why incarnations do not decide: after a network partition each side is right in its own view, and either could win by
chance. A seed is the one member that an operator has named in advance.
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
    """One side of a conflict: the members that are up in it, and the seeds as its sender is configured."""

    members: tuple[str, ...]
    seeds: tuple[str, ...]


class Settlement(msgspec.Struct, frozen=True):
    """Which view holds, and by which rule: `seed`, `majority` or `operator`."""

    holds: str
    rule: str


def settle(ours: View, theirs: View) -> Settlement:
    """Decides between two views that exclude each other. With the sides swapped it gives the opposite answer."""
    our_members, their_members = frozenset(ours.members), frozenset(theirs.members)
    for seed in _common_seeds(ours.seeds, theirs.seeds):
        in_ours, in_theirs = seed in our_members, seed in their_members
        if in_ours != in_theirs:
            return Settlement(OURS if in_ours else THEIRS, "seed")
    if len(our_members) != len(their_members):
        return Settlement(OURS if len(our_members) > len(their_members) else THEIRS, "majority")
    return Settlement(UNDECIDED, "operator")


def _common_seeds(ours: tuple[str, ...], theirs: tuple[str, ...]) -> tuple[str, ...]:
    """The seeds that both sides know, in an order that both compute alike: the configured one only if both have it."""
    if ours == theirs:
        return ours
    known = frozenset(theirs)
    return tuple(sorted(seed for seed in dict.fromkeys(ours) if seed in known))


class Verdicts:
    """Records which nodes have reported that this node is no member.

    Args:
        keep_s: how long each verdict counts.
        size_max: bound; beyond it the oldest is forgotten.
    """

    def __init__(self, keep_s: float, size_max: int) -> None:
        self._keep_s = keep_s
        # When each node last sent its verdict, and whether an operator ordered it.
        self._spoken: BoundedMap[str, tuple[float, bool]] = BoundedMap(size_max)

    def record(self, now: float, speaker: str, by_operator: bool) -> None:
        """Records a verdict of that node."""
        before = self._spoken.get(speaker)
        self._spoken.renew(speaker, (now, by_operator or (before is not None and before[1])))

    def senders(self, now: float) -> tuple[str, ...]:
        """Node ids of the nodes whose verdict counts, the latest last."""
        for who in [who for who, said in self._spoken.items() if now >= said[0] + self._keep_s]:
            del self._spoken[who]
        return tuple(self._spoken)

    @property
    def by_operator(self) -> bool:
        """Whether an operator ordered one of the verdicts."""
        return any(operator for _, operator in self._spoken.values())

    def clear(self) -> None:
        """Forgets all: this node joins again."""
        self._spoken.clear()

    def check(self) -> None:
        """Asserts the invariants."""
        self._spoken.check()


class SelfBallot:
    """Asks whether the others hear this node.

    Args:
        retry_s: between two rounds of questions.
        give_up_s: after this time the node accepts that it was removed, and joins again.
    """

    def __init__(self, retry_s: float, give_up_s: float) -> None:
        self._retry_s = retry_s
        self._give_up_s = give_up_s
        self._since: float | None = None
        self._ask_at = 0.0
        self._votes: dict[str, None] = {}

    @property
    def open(self) -> bool:
        """Whether the ballot is open."""
        return self._since is not None

    def start(self, now: float) -> None:
        """This node finds itself unreachable in its table."""
        if self._since is None:
            self._since, self._ask_at, self._votes = now, now, {}

    def stop(self) -> None:
        """Ends the ballot."""
        self._since = None

    def asks(self, now: float) -> bool:
        """Whether to ask (again) now."""
        if self._since is None or now < self._ask_at:
            return False
        self._ask_at = now + self._retry_s
        return True

    def vote(self, authority: str) -> None:
        """Records that the member hears this node."""
        if self._since is not None:
            self._votes[authority] = None

    def outcome(self, now: float, others: Sequence[str], seeds: Sequence[str]) -> str:
        """`seed` or `majority` when enough members hear this node, `isolated` when time is up, empty while open."""
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
