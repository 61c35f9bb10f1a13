"""Decides whether a message to a Pid can be sent: ready, unreachable or in quarantine (SPEC CL-2).

A Pid names a process, not an address. So it is resolved against the newest membership every time, and the answer has
the version of that membership: of two answers the later one is known. A membership older than the present one is
ignored, so consecutive answers for one Pid never go back in time.

Why answers are not remembered: the whole work is one dict look-up of the member, and a remembered answer can be out of
date.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from inaho.errors import Quarantined
from inaho.types import Member, MemberStatus, Pid, TopologySnapshot

__all__ = ["IdentityTable", "QuarantinedPid", "ReachablePid", "Resolution", "UnreachablePid", "holders"]


class ReachablePid(msgspec.Struct, frozen=True):
    """Messages may be sent.

    Attributes:
        pid: what was resolved.
        version: of the membership that says so; 0 before the first.
        path: canonical name of the actor.
        member: its node.
    """

    pid: Pid
    version: int
    path: str
    member: Member


class UnreachablePid(msgspec.Struct, frozen=True):
    """Nothing is sent: the node is no member (any more), is unreachable, or runs as another process.

    Attributes:
        pid, version: see `ReachablePid`.
        reason: which of these, in words.
        final: whether it stays so: that process will never be a member again.
    """

    pid: Pid
    version: int
    reason: str
    final: bool


class QuarantinedPid(msgspec.Struct, frozen=True):
    """Nothing is sent: the node is quarantined.

    Attributes:
        pid, version: see `ReachablePid`.
        reason: of the quarantine.
    """

    pid: Pid
    version: int
    reason: str


Resolution = ReachablePid | UnreachablePid | QuarantinedPid


class IdentityTable:
    """Resolves Pids under the newest membership.

    Args:
        path_of: the canonical path of a Pid; raises `InvalidPid` for a malformed one.
        refusal: why nothing may be sent to the process at an authority, or None (`Authorities.refusal`).

    Attributes:
        version: of the newest membership; 0 before the first.
    """

    def __init__(self, path_of: Callable[[Pid], str], refusal: Callable[[str, str], Quarantined | None]) -> None:
        self.version = 0
        self._path_of = path_of
        self._refusal = refusal
        self._members: dict[str, Member] = {}

    def update(self, snapshot: TopologySnapshot) -> bool:
        """Takes a membership; False, and nothing changes, when it is older than the present one (SPEC CL-2.5)."""
        if snapshot.version < self.version:
            return False
        self._members, self.version = holders(snapshot.members), snapshot.version
        return True

    def forget(self) -> None:
        """A new life of the cluster, whose versions count anew: the next membership is the newest whatever it says."""
        self._members, self.version = {}, 0

    def member(self, authority: str) -> Member | None:
        """The member that has that authority under the newest membership."""
        return self._members.get(authority)

    def resolve(self, pid: Pid) -> Resolution:
        """What can be done with `pid` now.

        Raises:
            InvalidPid: it is malformed; the reason names the part (SPEC CL-2.4).
        """
        path = self._path_of(pid)
        refused = self._refusal(pid.authority, pid.node_id)
        if refused is not None:
            return QuarantinedPid(pid, self.version, refused.reason)
        member = self._members.get(pid.authority)
        if member is None:
            return UnreachablePid(pid, self.version, "no member has this authority", final=False)
        if member.node_id != pid.node_id:
            reason = f"node {member.node_id} has this authority now, not {pid.node_id}"
            return UnreachablePid(pid, self.version, reason, final=True)
        if member.status in (MemberStatus.UNREACHABLE, MemberStatus.REMOVED):
            final = member.status is MemberStatus.REMOVED
            return UnreachablePid(pid, self.version, f"the member is {member.status.name.lower()}", final)
        return ReachablePid(pid, self.version, path, member)

    def check(self) -> None:
        """Asserts the invariants."""
        assert self.version >= 0
        assert all(member.authority == authority for authority, member in self._members.items())


def holders(members: Iterable[Member]) -> dict[str, Member]:
    """By authority, the member that has it."""
    found: dict[str, Member] = {}
    for member in members:
        other = found.get(member.authority)
        if other is None or _later(member, other):
            found[member.authority] = member
    return found


def _later(member: Member, other: Member) -> bool:
    """Two processes of one authority while views differ: a live one before one that is gone, then the later."""
    return (member.status < MemberStatus.UNREACHABLE, member.incarnation, member.node_id) > (
        other.status < MemberStatus.UNREACHABLE,
        other.incarnation,
        other.node_id,
    )
