"""Decides which of two records of one authority holds: the merge rule.

It is a total order, so a merge is a maximum: associative, commutative and idempotent, whatever the order, loss and
repetition of messages. The higher generation wins. Within a generation `REMOVED` wins over everything, then the higher
incarnation, which is the subject's own refutation, then the more severe status, then any other difference. Why no clock
and no order of arrival: two nodes would disagree about both. Why removal before incarnation: the subject may not know
of its removal, and a refutation meanwhile must not undo what other members already act upon.

Two nodes can hold one authority in one generation, if one side of a network partition did not know of the first node
and admitted the second. Then the node id decides before incarnation and severity, so that a replaced node stays
replaced and does not come back with its next statement. If it is alive, it joins again under the next generation.
"""

from __future__ import annotations

from inaho.core.membership.incarnation import generation_of
from inaho.types import Member, MemberStatus

__all__ = ["join", "precedence", "stronger"]

Precedence = tuple[int, bool, str, int, int, tuple[str, ...], float, tuple[str, ...]]


def precedence(member: Member) -> Precedence:
    """The rank of a record among those of its authority (DESIGN section 3)."""
    return (
        generation_of(member.incarnation),
        member.status is MemberStatus.REMOVED,
        member.node_id,
        member.incarnation,
        int(member.status),
        member.kinds,
        member.weight,
        member.roles,
    )


def stronger(challenger: Member, holder: Member) -> bool:
    """Whether `challenger` replaces `holder`. Equal records do not replace each other."""
    return precedence(challenger) > precedence(holder)


def join(left: Member, right: Member) -> Member:
    """The record that holds of two about the same authority."""
    return left if precedence(left) >= precedence(right) else right
