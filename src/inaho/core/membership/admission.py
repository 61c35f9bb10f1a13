"""Decides how a member answers a join request (SPEC CL-1.1, CL-1.4).

It only reads the table. A second node on an authority whose holder is not known to be dead is refused. The refusal says
"try again" while the holder is being checked: usually its process was killed and restarted on the same port, and a
second later the old record is proved dead.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from inaho.core.bounded_map import BoundedMap
from inaho.core.membership.incarnation import first_of, generation_of, next_generation
from inaho.core.membership.member import is_live, with_status
from inaho.core.membership.table import MembershipTable
from inaho.core.messages import JoinRefused
from inaho.types import Member, MemberStatus

__all__ = ["Admit", "Collisions", "Welcome", "examine"]


class Admit(msgspec.Struct, frozen=True):
    """Admit: announce this record of the joiner, then accept."""

    member: Member


class Welcome(msgspec.Struct, frozen=True):
    """The joiner is a member already (the first acceptance was lost): accept again."""

    member: Member


def examine(
    table: MembershipTable, joiner: Member, members_max: int, is_dead: Callable[[Member], bool]
) -> Admit | Welcome | JoinRefused:
    """Decides about a join request.

    Args:
        table: of the member that was asked.
        joiner: as it describes itself.
        members_max: see `MembershipConfig.members_max`.
        is_dead: whether there is proof that this member's process is gone.
    """
    namesake = table.find(joiner.node_id)
    if namesake is not None and namesake.authority != joiner.authority:
        reason = f"node id {joiner.node_id} is a member at {namesake.authority}"
        return JoinRefused("node_id_in_use", reason, False, namesake.node_id)
    holder = table.get(joiner.authority)
    if holder is None or not is_live(holder):
        if len(table) >= members_max:
            return JoinRefused("cluster_full", f"the cluster has {len(table)} members, its maximum", True)
    elif holder.node_id == joiner.node_id:
        current = holder.status in (MemberStatus.JOINING, MemberStatus.UP)
        if current and generation_of(holder.incarnation) >= generation_of(joiner.incarnation):
            return Welcome(holder)
    elif holder.status is not MemberStatus.UNREACHABLE and not is_dead(holder):
        reason = f"{joiner.authority} belongs to node {holder.node_id}, which is being checked"
        return JoinRefused("authority_collision", reason, True, holder.node_id)
    least = first_of(1) if holder is None else next_generation(holder.incarnation)
    return Admit(with_status(joiner, MemberStatus.JOINING, max(least, first_of(generation_of(joiner.incarnation)))))


class Collision(msgspec.Struct):
    """Two nodes claim one authority.

    Attributes:
        claimant: node id that was refused.
        since: when the check began, seconds.
        alive: whether the holder has answered since.
    """

    claimant: str
    since: float
    alive: bool = False


class Collisions:
    """Claims on authorities whose holders are being checked.

    Args:
        keep_s: how long a claim is remembered after it was first made.
        size_max: bound; beyond it the oldest is forgotten.
    """

    def __init__(self, keep_s: float, size_max: int) -> None:
        self._keep_s = keep_s
        self._open: BoundedMap[str, Collision] = BoundedMap(size_max)

    def claim(self, now: float, authority: str, claimant: str) -> tuple[bool, bool]:
        """Notes a claim. Returns whether it is new, and whether the holder has proved to be alive."""
        collision = self._open.get(authority)
        if collision is None or collision.claimant != claimant or now > collision.since + self._keep_s:
            self._open.renew(authority, Collision(claimant, now))
            return True, False
        return False, collision.alive

    def answered(self, authority: str) -> None:
        """The holder of that authority answered a probe."""
        collision = self._open.get(authority)
        if collision is not None:
            collision.alive = True

    def settled(self, authority: str) -> None:
        """The claim was admitted, or its authority has no holder any more."""
        self._open.pop(authority, None)

    def check(self) -> None:
        """Asserts the invariants."""
        self._open.check()
