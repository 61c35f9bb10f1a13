"""Answers a digest, a request for ranges, or a mark with the statements that the other node lacks.

Pure functions over a table that is seen through a Protocol, so that gossip does not depend on membership.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from inaho.core.gossip.rumours import clip
from inaho.core.messages import MembershipDelta, OriginVersion

__all__ = ["Deltas", "answer_digest", "answer_wants"]


class Deltas(Protocol):
    """What gossip needs of a table."""

    def digest(self, now: float) -> dict[str, int]:
        """The coverage of each origin."""
        ...

    def delta(self, now: float, origin: str, from_version: int) -> MembershipDelta:
        """The statements of an origin after a version that still hold."""
        ...


def answer_wants(
    table: Deltas, now: float, wants: Iterable[OriginVersion], budget_bytes: int
) -> tuple[MembershipDelta, ...]:
    """The ranges that were asked for, as many as fit; the rest comes in the next round."""
    deltas: list[MembershipDelta] = []
    room = budget_bytes
    for line in wants:
        found, size = clip(table.delta(now, line.origin, line.version), room)
        if found.to_version <= found.from_version:
            continue
        if deltas and size > room:
            break
        room -= size
        deltas.append(found)
    return tuple(deltas)


def answer_digest(
    table: Deltas, now: float, theirs: tuple[OriginVersion, ...], budget_bytes: int
) -> tuple[tuple[MembershipDelta, ...], tuple[OriginVersion, ...]]:
    """What the sender of a digest lacks, and what this node lacks.

    Returns:
        Deltas to send, and ranges to ask for.
    """
    ours = table.digest(now)
    known = {line.origin: line.version for line in theirs}
    they_lack = [
        OriginVersion(origin, known.get(origin, 0)) for origin in sorted(ours) if known.get(origin, 0) < ours[origin]
    ]
    we_lack = tuple(
        OriginVersion(line.origin, ours.get(line.origin, 0))
        for line in theirs
        if ours.get(line.origin, 0) < line.version
    )
    return answer_wants(table, now, they_lack, budget_bytes), we_lack
