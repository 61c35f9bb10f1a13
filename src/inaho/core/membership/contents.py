"""A copy of the contents of a membership table, and the conditions that must hold between its parts.

A copy shows whether anything has changed since the last check, and a comparison costs less than the check, which hashes
all members and walks over all statements in order. So a table can be checked after every step of a long history.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec
import xxhash

from inaho.core.membership.member import is_live
from inaho.core.messages import Entry, MembershipDelta
from inaho.types import Member, MemberStatus

__all__ = ["HASH_MASK", "Contents", "hash_of", "version_of"]

_encode = msgspec.msgpack.Encoder().encode
HASH_MASK: Final = 2**64 - 1


class Contents(NamedTuple):
    """The parts of one table, under the names that they have there; entries and members are immutable.

    Attributes:
        kept: the statements of each origin in their order, one origin after the other.
    """

    entries: dict[str, Entry]
    live: dict[str, Member]
    covered: dict[str, int]
    told: dict[str, MembershipDelta]
    authority_of: dict[str, str]
    order: list[str]
    kept: list[Entry]
    covered_sum: int
    hash: int
    unreachable: int

    def copy(self) -> Contents:
        """A copy that later changes of the table do not affect."""
        return self._replace(
            entries=self.entries.copy(),
            live=self.live.copy(),
            covered=self.covered.copy(),
            told=self.told.copy(),
            authority_of=self.authority_of.copy(),
            order=self.order.copy(),
        )

    def check(self, members_max: int) -> None:
        """Asserts the conditions that follow from the contents alone.

        Args:
            members_max: see `MembershipConfig.members_max`.
        """
        live = self.live
        assert self.covered_sum == sum(self.covered.values())
        assert len(live) <= members_max
        assert self.order == sorted(live)
        content = unreachable = 0
        for member in live.values():
            content += hash_of(member)
            unreachable += member.status is MemberStatus.UNREACHABLE
        assert self.hash == content & HASH_MASK
        assert self.unreachable == unreachable
        for origin, told in self.told.items():
            assert told.to_version == self.covered.get(origin, 0)
            entries = [entry for entry in self.kept if entry.origin == origin]
            assert told.entries == tuple(sorted(entries, key=version_of))
        for authority, entry in self.entries.items():
            member = entry.member
            assert member.authority == authority
            assert (authority in live) == is_live(member)
        for node_id, authority in self.authority_of.items():
            assert live[authority].node_id == node_id


def version_of(entry: Entry) -> int:
    """The sort key of the statements of one origin."""
    return entry.version


def hash_of(member: Member) -> int:
    """xxh3_64 over the canonical msgpack of one record."""
    return xxhash.xxh3_64_intdigest(_encode(member))
