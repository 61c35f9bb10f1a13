"""Keeps a provider that is the membership from removing members by mistake (`membership.source = "provider"`).

A back end may return an empty or a short list although the members live: it was restored from a backup, its leases ran
out while it was away, a permission was taken from it, a label was changed. So a snapshot that lacks this node, or half
of the members, is applied only after a second full read says the same and direct probes of those that it lacks have
failed. Those that answer stay.

Why not a limit of removals per minute: it would only make the same mistake slower.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from inaho.core.provisioning.snapshot import ProviderSnapshot

__all__ = ["MassRemovalGuard"]

SHARE: Final = 0.5
"""A snapshot that lacks at least this share of the members is doubted."""


class MassRemovalGuard:
    """The question of one node whether a snapshot may remove so many members.

    Args:
        authority: of this node.

    Attributes:
        missing: members that the doubted snapshot lacks, sorted; empty when none is doubted.
    """

    def __init__(self, authority: str) -> None:
        self.missing: tuple[str, ...] = ()
        self._authority = authority
        self._hash = 0
        self._read_again = False
        self._dead: dict[str, bool] = {}

    def doubts(self, snapshot: ProviderSnapshot, members: Iterable[str]) -> bool:
        """Whether the snapshot waits for a second read and probes.

        Args:
            snapshot: a new one, or the same one read again.
            members: authorities of the present members, this node among them.
        """
        present = {member.authority for member in snapshot.members}
        known = sorted(set(members))
        missing = tuple(authority for authority in known if authority not in present)
        if self._authority not in missing and len(missing) < SHARE * len(known):
            self.reset()
            return False
        if snapshot.hash == self._hash and missing == self.missing:
            self._read_again = True
        else:
            self._hash, self.missing, self._read_again, self._dead = snapshot.hash, missing, False, {}
        return not self.settled

    def probed(self, authority: str, *, alive: bool) -> None:
        """The result of a direct probe; this node itself needs none."""
        if authority in self.missing:
            self._dead[authority] = not alive

    @property
    def to_probe(self) -> tuple[str, ...]:
        """Members that are not probed yet."""
        return tuple(one for one in self.missing if one not in self._dead and one != self._authority)

    @property
    def settled(self) -> bool:
        """Whether the snapshot was read twice and all that it lacks was probed."""
        return bool(self.missing) and self._read_again and not self.to_probe

    @property
    def alive(self) -> tuple[str, ...]:
        """Members that the snapshot lacks and that stay: they answer, or are this node."""
        return tuple(one for one in self.missing if not self._dead.get(one, False))

    def reset(self) -> None:
        """Nothing is doubted any more."""
        self.missing, self._hash, self._read_again, self._dead = (), 0, False, {}
