"""The result of applying a delta from another node, and the comparison of digests.

A digest has for each origin the number up to which its statements are covered. The difference of two digests is, per
origin, the range that one side lacks, and a delta carries such a range. If a delta starts beyond the receiver's
coverage there is a gap: the delta is not applied, and the receiver asks for the missing range.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from inaho.core.messages import Entry, OriginVersion
from inaho.types import Member

__all__ = ["Applied", "Change", "MissingRange", "Refusal", "lacking", "to_digest"]


class Change(msgspec.Struct, frozen=True):
    """One record of the table replaced another."""

    before: Member | None
    entry: Entry

    @property
    def after(self) -> Member:
        """The record that holds now."""
        return self.entry.member


class MissingRange(msgspec.Struct, frozen=True):
    """The range that must come before a delta can be applied: versions after `from_version`, up to `to_version`."""

    origin: str
    from_version: int
    to_version: int


class Refusal(msgspec.Struct, frozen=True):
    """A statement that was refused, and why."""

    entry: Entry
    reason: str


class Applied(msgspec.Struct):
    """The result of applying statements.

    Attributes:
        changes: records that were replaced, in order.
        advanced: origins whose coverage grew, each with the coverage before.
        gaps: ranges that are missing.
        refused: statements out of bounds.
        deferred: statements that are held back until there are more sources.
    """

    changes: list[Change] = msgspec.field(default_factory=list[Change])
    advanced: dict[str, int] = msgspec.field(default_factory=dict[str, int])
    gaps: list[MissingRange] = msgspec.field(default_factory=list[MissingRange])
    refused: list[Refusal] = msgspec.field(default_factory=list[Refusal])
    deferred: list[Entry] = msgspec.field(default_factory=list[Entry])


def to_digest(versions: Mapping[str, int]) -> tuple[OriginVersion, ...]:
    """A digest in canonical order."""
    return tuple(OriginVersion(origin, versions[origin]) for origin in sorted(versions))


def lacking(ours: Mapping[str, int], theirs: Iterable[OriginVersion]) -> list[OriginVersion]:
    """Origins of which `theirs` covers more than `ours`, with the coverage of `ours`: what to ask for."""
    wanted: list[OriginVersion] = []
    for line in theirs:
        covered = ours.get(line.origin, 0)
        if covered < line.version:
            wanted.append(OriginVersion(line.origin, covered))
    return wanted
