"""The life of a member: which status may follow which, as data.

Two tables, because an incarnation is a life of its own: within one the status only gets more severe and `REMOVED` is
final; a new incarnation starts over. Authors are held to these tables. What is merged from others may skip steps,
since the steps between may have been lost.
"""

from __future__ import annotations

from typing import Final

import msgspec

from inaho.errors import IllegalTransition
from inaho.types import Member, MemberStatus

__all__ = ["FIRST", "NEXT_INCARNATION", "SAME_INCARNATION", "advance", "is_live", "with_status"]

JOINING: Final = MemberStatus.JOINING
UP: Final = MemberStatus.UP
LEAVING: Final = MemberStatus.LEAVING
UNREACHABLE: Final = MemberStatus.UNREACHABLE
REMOVED: Final = MemberStatus.REMOVED

FIRST: Final[tuple[MemberStatus, ...]] = (JOINING, UP)
"""What may be said first of an authority: admitted by a member, or up as the founder."""

SAME_INCARNATION: Final[dict[MemberStatus, tuple[MemberStatus, ...]]] = {
    JOINING: (UP, LEAVING, UNREACHABLE, REMOVED),
    UP: (LEAVING, UNREACHABLE, REMOVED),
    LEAVING: (UNREACHABLE, REMOVED),
    UNREACHABLE: (REMOVED,),
    REMOVED: (),
}
"""What may follow within one incarnation: only the more severe."""

NEXT_INCARNATION: Final[dict[MemberStatus, tuple[MemberStatus, ...]]] = {
    JOINING: (JOINING, UP),
    UP: (JOINING, UP, LEAVING),
    LEAVING: (JOINING, LEAVING),
    UNREACHABLE: (JOINING, UP, LEAVING),
    REMOVED: (JOINING, UP),
}
"""What a higher incarnation may start with: a refutation keeps the status, a return is admitted or founds."""


def is_live(member: Member | None) -> bool:
    """Whether the record counts as a member: known and not removed."""
    return member is not None and member.status is not REMOVED


def advance(current: Member | None, proposed: Member) -> Member:
    """Checks what an author is about to say about a subject.

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
    elif proposed.incarnation > current.incarnation:
        allowed = NEXT_INCARNATION[current.status]
    elif proposed.incarnation == current.incarnation and proposed.node_id == current.node_id:
        allowed = SAME_INCARNATION[current.status]
    else:
        allowed = ()
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
