"""Decides which statements are refused because no correct node can make them."""

from __future__ import annotations

from inaho.core.membership.incarnation import GENERATION_MAX, REFUTATIONS_TOLD_MAX, generation_of, refutations_of
from inaho.core.messages import Entry
from inaho.types import Member, MemberStatus

__all__ = ["impossible", "jump"]


def jump(before: Member | None, member: Member) -> int:
    """How far a record exceeds what is known: in generations, or in refutations of the same generation."""
    generation = generation_of(member.incarnation)
    if before is None:
        return max(0, generation - GENERATION_MAX)
    generations = generation - generation_of(before.incarnation)
    return generations if generations else member.incarnation - before.incarnation


def impossible(entry: Entry) -> str:
    """Why no correct node can have made this statement; empty when one can."""
    member = entry.member
    refutations = refutations_of(member.incarnation)
    if refutations > REFUTATIONS_TOLD_MAX:
        return f"{refutations} refutations are more than a generation can have"
    if refutations and member.status < MemberStatus.UNREACHABLE and entry.origin != member.node_id:
        return "only its subject may refute"
    return ""
