"""The result of applying a delta from another node, and the comparison of digests.

A digest says per origin how far its statements are covered. The difference of two digests is, per origin, a range
that one side lacks; a delta carries such a range. A delta that starts beyond what the receiver covers is a gap: it is
not applied, the missing range is reported and asked for.
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
    """What must come before a delta can be applied: versions after `from_version`, up to `to_version`."""

    origin: str
    from_version: int
    to_version: int


class Refusal(msgspec.Struct, frozen=True):
    """A statement that was not taken over, and why."""

    entry: Entry
    reason: str


class Applied(msgspec.Struct):
    """What applying did.

    Attributes:
        changes: records that were replaced, in order.
        advanced: origins of which more is covered than before, each with what was covered before.
        gaps: ranges that are missing.
        refused: statements out of bounds.
        deferred: statements that are held back until more voices are heard.
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
    """Origins of which `theirs` covers more than `ours`, with what ours covers: what we would ask for."""
    wanted: list[OriginVersion] = []
    for line in theirs:
        covered = ours.get(line.origin, 0)
        if covered < line.version:
            wanted.append(OriginVersion(line.origin, covered))
    return wanted
