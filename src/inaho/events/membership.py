"""Events of members, of the block list and of the topology (SPEC CL-1, BS-2)."""

from __future__ import annotations

from inaho.events.base import Event, MemberEvent
from inaho.types import TopologySnapshot

__all__ = [
    "AuthorityCollision",
    "BlockListApplied",
    "BlockListChanged",
    "MemberJoining",
    "MemberLeaving",
    "MemberReachable",
    "MemberRemoved",
    "MemberSuspected",
    "MemberUnreachable",
    "MemberUp",
    "NodePaused",
    "SelfRemoved",
    "StatementRefused",
    "SuspicionCleared",
    "TopologyChanged",
]


class MemberJoining(MemberEvent, frozen=True, kw_only=True):
    """A node was admitted and is not yet up."""


class MemberUp(MemberEvent, frozen=True, kw_only=True):
    """A member is up and may own identities."""


class MemberLeaving(MemberEvent, frozen=True, kw_only=True):
    """A member has announced that it leaves; it gets no new identities."""


class MemberUnreachable(MemberEvent, frozen=True, kw_only=True):
    """A member missed its probes and did not refute in time."""


class MemberReachable(MemberEvent, frozen=True, kw_only=True):
    """An unreachable member refuted and is back under a higher incarnation."""


class MemberRemoved(MemberEvent, frozen=True, kw_only=True):
    """A member left or was removed; final for its incarnation."""


class SelfRemoved(MemberEvent, frozen=True, kw_only=True):
    """This node learnt that the others removed it; its activations end."""


class AuthorityCollision(Event, frozen=True, kw_only=True):
    """A second live node claims an authority (SPEC CL-1.4). It was refused."""

    authority: str
    node_id: str
    claimed_by: str
    reason: str


class MemberSuspected(MemberEvent, frozen=True, kw_only=True):
    """A member did not answer; it has a few seconds to refute. `reason`: dead, wedged, busy or silent."""

    voices: int = 1


class SuspicionCleared(MemberEvent, frozen=True, kw_only=True):
    """A suspicion ended: the member refuted it, or no other member confirmed it."""


class NodePaused(Event, frozen=True, kw_only=True):
    """This process did not run for `gap_s` seconds (stopped, swapped out, suspended), so it accuses no other member."""

    gap_s: float


class BlockListChanged(Event, frozen=True, kw_only=True):
    """An authority was blocked, or unblocked."""

    authority: str
    blocked: bool


class BlockListApplied(Event, frozen=True, kw_only=True):
    """The topology of that version blocks this authority, and its leases here are revoked (SPEC VA-4.1, BS-2.3)."""

    authority: str
    version: int


class StatementRefused(Event, frozen=True, kw_only=True):
    """A statement about a member was out of bounds and was not accepted; `origin` made it."""

    authority: str
    origin: str
    reason: str


class TopologyChanged(Event, frozen=True, kw_only=True):
    """There is a new topology, one per update period for all changes in it (SPEC CL-1)."""

    snapshot: TopologySnapshot
