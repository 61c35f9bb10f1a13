"""Keeps a provider that is the membership from removing members by mistake (`membership.source = "provider"`).

A back end may return an empty or a short list although the members live: it was restored from a backup, its leases ran
out while it was away, a permission was taken from it, a label was changed. So a snapshot that lacks this node, or half
of the members, is doubted: a member that it lacks is removed only after a second full read lacks it too and a direct
probe of it has failed. Those that answer stay until they are listed again, or a later probe fails. A backup may have
former processes at the authorities of members: it lacks these members too.

A doubt stands until it is settled for each of these members. Otherwise the list of a back end that recovers, which
lacks fewer members with each read, would remove the last ones without a probe. Losses one by one count together, and
while the list lacks a member that answers, it is doubted in all that it lacks.

Why not a limit of removals per minute: it would only make the same mistake slower.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

import msgspec

from inaho.core.provisioning.snapshot import ProviderSnapshot

__all__ = ["MassRemovalGuard"]

SHARE: Final = 0.5
"""A snapshot that lacks at least this share of the members is doubted."""

READS: Final = 2
"""A doubted member must be missing in so many reads in a row."""


class _Lack(msgspec.Struct):
    """A member that is doubted.

    Attributes:
        reads: full reads in a row that lack it.
        answers: the result of its newest probe; None before the first.
        probe: it is to be probed.
    """

    reads: int = 0
    answers: bool | None = None
    probe: bool = True


class MassRemovalGuard:
    """The question of one node whether a snapshot may remove members.

    Args:
        authority: of this node, which is never probed and never removed by a list.
    """

    def __init__(self, authority: str) -> None:
        self._authority = authority
        self._lacks: dict[str, _Lack] = {}
        self._let_go: list[str] = []
        """Members that were removed without a probe since the last doubt, and are not listed again."""

    def doubts(
        self,
        snapshot: ProviderSnapshot,
        members: Iterable[str],
        *,
        steady: bool = True,
        replaced: Collection[str] = (),
    ) -> bool:
        """Whether the snapshot waits for another read and for probes. Called once after each full read.

        Args:
            snapshot: a new one, or the same one read again.
            members: authorities of the present members, this node among them.
            steady: `TopologyFeed.steady`; if the provider was away a short time ago, each missing member is doubted.
            replaced: authorities of present members at which the snapshot has another process: those members are
                missing too.
        """
        listed = {member.authority for member in snapshot.members}.difference(replaced)
        known = sorted(set(members))
        missing = [authority for authority in known if authority not in listed]
        self._let_go = [authority for authority in self._let_go if authority not in listed]
        fresh = [authority for authority in missing if authority not in self._lacks and authority not in self._let_go]
        lost, all_known = len(self._let_go) + len(fresh), len(self._let_go) + len(known)
        doubted = not steady or self._is_doubtful(missing) or lost >= SHARE * all_known
        if fresh:
            self._let_go = [] if doubted else self._let_go + fresh
        before, self._lacks = self._lacks, {}
        for authority in missing:
            lack = before.get(authority)
            if lack is None and doubted:
                lack = _Lack(probe=authority != self._authority)
            if lack is not None:
                lack.reads += 1
                lack.probe = lack.probe or bool(lack.answers)
                self._lacks[authority] = lack
        return not self.settled

    def _is_doubtful(self, missing: list[str]) -> bool:
        """Whether something speaks against the list: it lacks this node or one that answers, or a doubt stands."""
        answers = any(self._lacks[authority].answers for authority in missing if authority in self._lacks)
        return answers or self._authority in missing or not self.settled

    def probed(self, authority: str, *, alive: bool) -> None:
        """The result of a direct probe."""
        lack = self._lacks.get(authority)
        if lack is not None:
            lack.answers, lack.probe = alive, False

    @property
    def missing(self) -> tuple[str, ...]:
        """Members that the newest snapshot lacks and that are or were doubted, sorted."""
        return tuple(self._lacks)

    @property
    def to_probe(self) -> tuple[str, ...]:
        """Members to probe now: those that are doubted, and after each read again those that have answered."""
        return tuple(authority for authority, lack in self._lacks.items() if lack.probe)

    @property
    def settled(self) -> bool:
        """Whether nothing is doubted: all of `missing` were missing twice in a row, and were probed."""
        return all(self._is_settled(authority, lack) for authority, lack in self._lacks.items())

    @property
    def alive(self) -> tuple[str, ...]:
        """Those of `missing` that stay members."""
        return tuple(authority for authority, lack in self._lacks.items() if lack.answers is not False)

    def _is_settled(self, authority: str, lack: _Lack) -> bool:
        return lack.reads >= READS and (lack.answers is not None or authority == self._authority)

    def reset(self) -> None:
        """Nothing is doubted any more."""
        self._lacks, self._let_go = {}, []

    def check(self) -> None:
        """Asserts the invariants."""
        assert list(self._lacks) == sorted(self._lacks)
        assert all(lack.reads >= 1 for lack in self._lacks.values())
        assert self._authority not in self.to_probe
        assert all(
            lack.probe or lack.answers is not None or one == self._authority for one, lack in self._lacks.items()
        )
