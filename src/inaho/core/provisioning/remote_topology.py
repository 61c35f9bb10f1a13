"""Says what has changed between two snapshots, and takes each change once.

Remoting needs changes and not lists: who has come, who has gone, who may not be talked to (SPEC PR-4.1). An event names
its provider and the number of its snapshot. An event that comes again, or belongs to an older snapshot, changes
nothing.
"""

from __future__ import annotations

import enum

import msgspec

from inaho.core.provisioning.snapshot import ProviderSnapshot

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

    A process that replaced another one at its authority is a leave and a join.
    """
    old = {} if before is None else {member.authority: member for member in before.members}
    new = {member.authority: member for member in now.members}
    blocked_before = () if before is None else before.blocked_nodes
    found: list[tuple[RemoteTopologyKind, str, str]] = []
    for authority, member in old.items():
        there = new.get(authority)
        if there is None or there.node_id != member.node_id:
            found.append((RemoteTopologyKind.LEAVE, authority, member.node_id))
    for authority, member in new.items():
        was = old.get(authority)
        if was is None or was.node_id != member.node_id:
            found.append((RemoteTopologyKind.JOIN, authority, member.node_id))
    for authority in blocked_before:
        if authority not in now.blocked_nodes:
            found.append((RemoteTopologyKind.UNBLOCKED, authority, ""))
    for authority in now.blocked_nodes:
        if authority not in blocked_before:
            found.append((RemoteTopologyKind.BLOCKED, authority, ""))
    return tuple(
        RemoteTopologyEvent(kind, authority, node_id, now.provider, now.seq_no, now.hash)
        for kind, authority, node_id in found
    )


class RemoteTopologyLog:
    """Which events were taken.

    Attributes:
        stale: number of events that were not taken, because they came again or were old.
    """

    def __init__(self) -> None:
        self.stale = 0
        self._seq_no = 0
        self._hash = 0
        self._taken: dict[tuple[RemoteTopologyKind, str], None] = {}

    def accepts(self, event: RemoteTopologyEvent) -> bool:
        """Whether the event is new: of a newer snapshot, or of this one and not taken yet. It then counts as taken."""
        if event.seq_no > self._seq_no:
            self._seq_no, self._hash = event.seq_no, event.hash
            self._taken.clear()
        key = event.kind, event.authority
        if event.seq_no < self._seq_no or event.hash != self._hash or key in self._taken:
            self.stale += 1
            return False
        self._taken[key] = None
        return True
