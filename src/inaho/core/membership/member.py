"""The status of a member and the tables of which status may follow which.

There are three tables. Within an incarnation the status only gets more severe. A refutation, which is a higher
incarnation of the same generation, takes back an accusation but never a removal. A new generation starts again. Authors
of statements must obey these tables. Records merged from others may skip steps, since the steps between may have been
lost.
"""

from __future__ import annotations

from typing import Final

import msgspec

from inaho.core.membership.incarnation import generation_of
from inaho.errors import IllegalTransition
from inaho.types import Member, MemberStatus

__all__ = ["FIRST", "NEXT_GENERATION", "REFUTATION", "SAME_INCARNATION", "advance", "is_live", "with_status"]

JOINING: Final = MemberStatus.JOINING
UP: Final = MemberStatus.UP
LEAVING: Final = MemberStatus.LEAVING
UNREACHABLE: Final = MemberStatus.UNREACHABLE
REMOVED: Final = MemberStatus.REMOVED

FIRST: Final[tuple[MemberStatus, ...]] = (JOINING, UP)
"""The first status of an authority: admitted by a member, or up as the founder."""

SAME_INCARNATION: Final[dict[MemberStatus, tuple[MemberStatus, ...]]] = {
    JOINING: (UP, LEAVING, UNREACHABLE, REMOVED),
    UP: (LEAVING, UNREACHABLE, REMOVED),
    LEAVING: (UNREACHABLE, REMOVED),
    UNREACHABLE: (REMOVED,),
    REMOVED: (),
}
"""The status that may follow within one incarnation: only a more severe one."""

REFUTATION: Final[dict[MemberStatus, tuple[MemberStatus, ...]]] = {
    JOINING: (UP,),
    UP: (UP, LEAVING),
    LEAVING: (LEAVING,),
    UNREACHABLE: (UP, LEAVING),
    REMOVED: (),
}
"""The status that may follow under a higher incarnation of the same generation: the subject refutes others."""

NEXT_GENERATION: Final[tuple[MemberStatus, ...]] = (JOINING, UP)
"""The first status of a new generation, whatever was before: admitted by a member, or up as the founder."""


def is_live(member: Member | None) -> bool:
    """Whether the record counts as a member: known and not removed."""
    return member is not None and member.status is not REMOVED


def advance(current: Member | None, proposed: Member) -> Member:
    """Checks what an author is about to state about a subject.

    Args:
        current: the record that holds, None when the authority is unknown.
        proposed: the record to replace it.

    Returns:
        `proposed`.

    Raises:
        IllegalTransition: the tables do not allow it.
    """
    if current is None:
        allowed: tuple[MemberStatus, ...] = FIRST
    elif generation_of(proposed.incarnation) > generation_of(current.incarnation):
        allowed = NEXT_GENERATION
    elif proposed.node_id != current.node_id or proposed.incarnation < current.incarnation:
        allowed = ()
    else:
        table = SAME_INCARNATION if proposed.incarnation == current.incarnation else REFUTATION
        allowed = table[current.status]
    if proposed.status not in allowed:
        before = "unknown" if current is None else f"{current.status.name} at incarnation {current.incarnation}"
        raise IllegalTransition(
            f"{before} cannot become {proposed.status.name} at incarnation {proposed.incarnation}",
            authority=proposed.authority,
        )
    return proposed


def with_status(member: Member, status: MemberStatus, incarnation: int | None = None) -> Member:
    """A copy under another status, and another incarnation where given."""
    if incarnation is None:
        return msgspec.structs.replace(member, status=status)
    return msgspec.structs.replace(member, status=status, incarnation=incarnation)
