"""Says what has changed between two snapshots, and takes each change once.

Remoting needs changes and not lists: who has come, who has gone, who may not be talked to (SPEC PR-4.1). An event names
its provider and the number of its snapshot. An event that comes again, or is older than one that was taken for the same
authority, changes nothing.

Why not compare with the newest snapshot only: of events that arrive out of order, those of the older snapshot would be
lost, and no later event repeats them.
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

import msgspec

from inaho.core.bounded_map import BoundedMap
from inaho.core.provisioning.snapshot import ProviderMember, ProviderSnapshot

__all__ = ["RemoteTopologyEvent", "RemoteTopologyKind", "RemoteTopologyLog", "changes"]


class RemoteTopologyKind(enum.StrEnum):
    """What has changed for an authority."""

    JOIN = "join"
    LEAVE = "leave"
    BLOCKED = "blocked"
    UNBLOCKED = "unblocked"


class RemoteTopologyEvent(msgspec.Struct, frozen=True):
    """One change (SPEC PR-4.1).

    Attributes:
        kind: what has changed.
        authority: for which node.
        node_id: of that process; empty where the provider does not know it.
        provider, seq_no, hash: of the snapshot that says so.
    """

    kind: RemoteTopologyKind
    authority: str
    node_id: str
    provider: str
    seq_no: int
    hash: int


def changes(before: ProviderSnapshot | None, now: ProviderSnapshot) -> tuple[RemoteTopologyEvent, ...]:
    """The changes from one snapshot to the next, in a fixed order: leave, join, unblocked, blocked; by authority.

    A process that replaced another one at its authority is a leave and a join. Where one of the snapshots has addresses
    only, it cannot be known, and is no change.
    """
    old = {} if before is None else {member.authority: member for member in before.members}
    new = {member.authority: member for member in now.members}
    blocked_before = dict.fromkeys(() if before is None else before.blocked_nodes)
    blocked_now = dict.fromkeys(now.blocked_nodes)
    found: list[tuple[RemoteTopologyKind, str, str]] = []
    for authority, member in old.items():
        there = new.get(authority)
        if there is None or _replaced(member, there):
            found.append((RemoteTopologyKind.LEAVE, authority, member.node_id))
    for authority, member in new.items():
        was = old.get(authority)
        if was is None or _replaced(was, member):
            found.append((RemoteTopologyKind.JOIN, authority, member.node_id))
    for authority in blocked_before:
        if authority not in blocked_now:
            found.append((RemoteTopologyKind.UNBLOCKED, authority, ""))
    for authority in blocked_now:
        if authority not in blocked_before:
            found.append((RemoteTopologyKind.BLOCKED, authority, ""))
    return tuple(
        RemoteTopologyEvent(kind, authority, node_id, now.provider, now.seq_no, now.hash)
        for kind, authority, node_id in found
    )


def _replaced(before: ProviderMember, now: ProviderMember) -> bool:
    return bool(before.node_id and now.node_id and before.node_id != now.node_id)


_COMES: Final = (RemoteTopologyKind.JOIN, RemoteTopologyKind.BLOCKED)
_OF_MEMBERS: Final = (RemoteTopologyKind.JOIN, RemoteTopologyKind.LEAVE)

GONE_MAX: Final = 4096
"""Authorities that are gone, of which the log knows when."""

SNAPSHOTS_MAX: Final = 256
"""Snapshots of which the log knows the hash."""


class _Position(NamedTuple):
    """The place of an event among all that concern its authority: in one snapshot a leave comes before a join."""

    seq_no: int
    comes: bool


class RemoteTopologyLog:
    """Which events were taken (SPEC PR-4.1).

    For each authority the newest event counts, so events may come again and in any order: when all have come, the log
    is at the newest snapshot. Whether an authority is a member and whether it is blocked are kept apart.

    Attributes:
        stale: number of events that were not taken, because they came again, were old, or belong to another snapshot
            with the same number.
    """

    def __init__(self) -> None:
        self.stale = 0
        self._present: dict[tuple[bool, str], _Position] = {}
        """By whether it is about members, and authority: members and blocked authorities."""
        self._gone: dict[tuple[bool, str], _Position] = {}
        """The same for those that are no more, the one that went first at the beginning."""
        self._forgotten = _Position(0, False)
        """The newest position that `_gone` has lost."""
        self._hashes: BoundedMap[int, tuple[str, int]] = BoundedMap(SNAPSHOTS_MAX)

    def accepts(self, event: RemoteTopologyEvent) -> bool:
        """Whether the event is newer than all that were taken for its authority. It then counts as taken."""
        key = event.kind in _OF_MEMBERS, event.authority
        position = _Position(event.seq_no, event.kind in _COMES)
        newest = self._present.get(key) or self._gone.get(key) or self._forgotten
        origin = event.provider, event.hash
        if position <= newest or self._hashes.setdefault(event.seq_no, origin) != origin:
            self.stale += 1
            return False
        self._present.pop(key, None)
        self._gone.pop(key, None)
        if position.comes:
            self._present[key] = position
        else:
            self._gone[key] = position
            if len(self._gone) > GONE_MAX:
                self._forgotten = max(self._forgotten, self._gone.pop(next(iter(self._gone))))
        return True

    @property
    def members(self) -> tuple[str, ...]:
        """The authorities that have joined and not left, sorted."""
        return tuple(sorted(authority for of_members, authority in self._present if of_members))

    @property
    def blocked(self) -> tuple[str, ...]:
        """The authorities that are blocked, sorted."""
        return tuple(sorted(authority for of_members, authority in self._present if not of_members))

    def check(self) -> None:
        """Asserts the invariants."""
        assert not any(key in self._present for key in self._gone)
        assert len(self._gone) <= GONE_MAX
        assert all(position.comes for position in self._present.values())
        self._hashes.check()
