"""Makes topology snapshots from the membership table, at most one per update period (SPEC CL-1).

The first change opens a period. At its end there is one snapshot for all changes in it, and none if they cancelled each
other. Why not at once: a start of seven nodes would compute ownership seven times on each of them.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import xxhash

from inaho.types import Member, MemberStatus, TopologySnapshot

__all__ = ["TopologyPublisher", "topology_hash"]

_encode = msgspec.msgpack.Encoder().encode


def topology_hash(members: Iterable[Member], blocked: Iterable[str]) -> int:
    """Hash of what ownership depends on; equal hashes mean equal owners.

    Args:
        members: in any order; only those that are `UP` and not blocked count.
        blocked: authorities that may hold no activation.

    Returns:
        xxh3_64 over canonical msgpack, 0 to 2**64 - 1.
    """
    may_not = frozenset(blocked)
    rows = sorted(
        (member.authority, member.node_id, list(member.kinds), member.weight)
        for member in members
        if member.status is MemberStatus.UP and member.authority not in may_not
    )
    return xxhash.xxh3_64_intdigest(_encode(rows))


class TopologyPublisher:
    """Decides when a new snapshot is due.

    Args:
        update_period_s: see `MembershipConfig.update_period_s`.
    """

    def __init__(self, update_period_s: float) -> None:
        self._update_period_s = update_period_s
        self._due: float | None = None
        self.latest = TopologySnapshot(0, topology_hash((), ()), ())
        # The members that `check` has found valid last; they are immutable.
        self._sound: tuple[Member, ...] = ()

    def changed(self, now: float) -> None:
        """Records that the table may have changed; opens a period unless one is open."""
        if self._due is None:
            self._due = now + self._update_period_s

    def hurry(self, now: float) -> None:
        """Ends the open period at once, or opens and ends one.

        For the first snapshot after a join, and for the list of a provider that is the membership.
        """
        self._due = now

    def next_deadline(self) -> float | None:
        """When the open period ends; None when none is open."""
        return self._due

    def poll(
        self, now: float, version: int, members: tuple[Member, ...], blocked: tuple[str, ...]
    ) -> TopologySnapshot | None:
        """The snapshot to apply, when a period has ended and something changed in it."""
        if self._due is None or now < self._due:
            return None
        self._due = None
        before = self.latest
        if members == before.members and blocked == before.blocked:
            self._stamp(version)
            return None
        self.latest = TopologySnapshot(version, topology_hash(members, blocked), members, blocked)
        return self.latest

    def _stamp(self, version: int) -> None:
        """The same members under a later version: no update, but nodes with equal tables show the same number."""
        if version != self.latest.version:
            self.latest = msgspec.structs.replace(self.latest, version=version)

    def check(self) -> None:
        """Asserts the invariants."""
        members = self.latest.members
        if members is self._sound:
            return
        authorities = [member.authority for member in members]
        assert authorities == sorted(authorities)
        assert all(member.status is not MemberStatus.REMOVED for member in members)
        self._sound = members
