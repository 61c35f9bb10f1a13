"""Which partitions one member owns, kept up from change to change without asking who owns the others.

A member owns a partition when no other host of the kind claims it more strongly. To know that it does not, one stronger
host is enough. So each partition that is not ours has one *rival* that beats us there, and as long as the rival stays
nothing need be computed. A change of hosts then costs:

- for each newcomer one score per partition that we own, few of 4,096 in a big cluster;
- for each host that goes, a search for another rival in the partitions where it was ours. Half of all searches end at
  the first host that is tried; about seven scores are computed per partition, whatever the number of hosts.

At first all partitions are searched, one host after the other over the partitions that are still open: with 1,000 hosts
30,000 scores, some milliseconds, where the whole table of owners takes four million. The work is an iterator, so the
caller decides how much of it is done at a time.

Why not the table of owners (`PartitionTable`): it answers who owns *one* partition at the first question, and that is
what calls need. To learn from two of them what has moved, both must be complete.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Final

from xxhash import xxh3_64_intdigest

from inaho.core.identity.hashing import node_digest, weighted_claim
from inaho.types import Member

__all__ = ["OwnPartitions"]

STEP_SCORES: Final = 4_000
"""Scores computed in one step, about; half a millisecond."""

HOST_SCORES: Final = 20
"""What it takes to begin with one host, in scores."""


class OwnPartitions:
    """The partitions of one member among one set of hosts (SPEC VA-1.1). It is complete once `search` has ended.

    Args:
        node_id: of the member, in this boot.
        partitions: how many there are.
        hosts: those that may own partitions, sorted by authority, one per authority; the member need not be among them.
        previous: a complete one of the same member, for the hosts before; None at first.

    Attributes:
        owned: the member's partitions, in order.
    """

    def __init__(
        self, node_id: str, partitions: int, hosts: Sequence[Member], previous: OwnPartitions | None = None
    ) -> None:
        self.owned: tuple[int, ...] = ()
        self._partitions = partitions
        self._hosts = {host.authority: host for host in hosts}
        self._me = next((host for host in hosts if host.node_id == node_id), None)
        self._previous = previous
        self._rivals: dict[str, tuple[int, ...]] = {}
        """By authority of a host, partitions in which it beats the member; each that is not owned is in one."""

    def search(self) -> Generator[int]:
        """Finds out what is owned. Yields from time to time how many scores it has computed since."""
        previous, self._previous = self._previous, None
        me = self._me
        if me is None:
            return
        if previous is None or previous._me is None or not _claims_alike(previous._me, me):
            yield from self._compare(me, range(self._partitions), [*self._hosts.values()])
            return
        newcomers = [host for name, host in self._hosts.items() if not _claims_alike(previous._hosts.get(name), host)]
        opened: list[int] = []
        for name, partitions in previous._rivals.items():
            if _claims_alike(previous._hosts[name], self._hosts.get(name)):
                self._rivals[name] = partitions
            else:
                opened += partitions
        self.owned = previous.owned
        if newcomers:
            yield from self._compare(me, previous.owned, newcomers)
        if opened:
            kept = self.owned
            yield from self._compare(me, opened, [*self._hosts.values()])
            self.owned = tuple(sorted((*kept, *self.owned)))

    def _compare(self, me: Member, partitions: Sequence[int], hosts: Sequence[Member]) -> Generator[int]:
        """Sets `owned` to those of the partitions in which none of the hosts beats the member."""
        digest, weight = node_digest(me.authority), me.weight
        left = [(partition, xxh3_64_intdigest(digest, partition)) for partition in partitions]
        scores = len(left)
        for host in hosts:
            if host.node_id == me.node_id or not left:
                continue
            other = node_digest(host.authority)
            if host.weight == weight and host.authority > me.authority:
                beaten = [at for at in left if xxh3_64_intdigest(other, at[0]) > at[1]]
            elif host.weight == weight:
                beaten = [at for at in left if xxh3_64_intdigest(other, at[0]) >= at[1]]
            else:
                beaten = [at for at in left if _beats(host, xxh3_64_intdigest(other, at[0]), me, at[1])]
            scores += len(left) + HOST_SCORES
            if beaten:
                lost = [partition for partition, _ in beaten]
                self._rivals[host.authority] = (*self._rivals.get(host.authority, ()), *lost)
                gone = set(lost)
                left = [at for at in left if at[0] not in gone]
            if scores >= STEP_SCORES:
                yield scores
                scores = 0
        self.owned = tuple(sorted(partition for partition, _ in left))

    def check(self) -> None:
        """Asserts that each partition is owned or has a rival, and one only. Only once the search has ended."""
        if self._me is None:
            assert not self.owned
            return
        known = [*self.owned, *(partition for lost in self._rivals.values() for partition in lost)]
        assert sorted(known) == list(range(self._partitions)), "a partition is missing, or is there twice"
        assert all(name in self._hosts for name in self._rivals), "a rival is no host"


def _claims_alike(one: Member | None, other: Member | None) -> bool:
    """Whether both claim every partition with the same strength."""
    if one is None or other is None:
        return False
    return one.authority == other.authority and one.weight == other.weight


def _beats(other: Member, other_score: int, me: Member, score: int) -> bool:
    """Whether the other's claim is the stronger one; as `PartitionTable` decides."""
    if other.weight != me.weight:
        claim, own = weighted_claim(other_score, other.weight), weighted_claim(score, me.weight)
        if claim != own:
            return claim > own
    return other_score > score or (other_score == score and other.authority < me.authority)
