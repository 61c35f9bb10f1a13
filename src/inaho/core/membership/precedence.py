"""The merge rule: of two records of one authority, which holds.

A total order, so that the merge is a maximum: associative, commutative and idempotent, whatever the order, loss
and repetition of messages. Higher incarnation first, then the more severe status, then the node id and whatever else
could differ. Why no clock or arrival order: two nodes would disagree about both.
"""

from __future__ import annotations

from inaho.types import Member

__all__ = ["join", "precedence", "stronger"]

Precedence = tuple[int, int, str, tuple[str, ...], float, tuple[str, ...]]


def precedence(member: Member) -> Precedence:
    """The rank of a record among those of its authority (DESIGN section 3)."""
    return (member.incarnation, int(member.status), member.node_id, member.kinds, member.weight, member.roles)


def stronger(challenger: Member, holder: Member) -> bool:
    """Whether `challenger` replaces `holder`. Equal records do not replace each other."""
    if challenger.incarnation != holder.incarnation:
        return challenger.incarnation > holder.incarnation
    return precedence(challenger) > precedence(holder)


def join(left: Member, right: Member) -> Member:
    """The record that holds of two about the same authority."""
    return left if precedence(left) >= precedence(right) else right
