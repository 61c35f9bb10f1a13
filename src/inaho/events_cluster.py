"""Events of members, views, connections and messages between nodes; those of what runs on them are in `events`."""

from __future__ import annotations

import msgspec

from inaho.types import Member, TopologySnapshot

__all__ = [
    "AuthorityCollision",
    "AuthorityConnected",
    "AuthorityDisconnected",
    "AuthorityEvent",
    "AuthorityQuarantined",
    "AuthorityReleased",
    "BlockListApplied",
    "BlockListChanged",
    "ConnectionClosed",
    "ConnectionOpened",
    "ConnectionRefused",
    "ConvergenceDelayed",
    "ConvergenceReached",
    "DoubtBegan",
    "DoubtEnded",
    "Event",
    "FreshnessUnknown",
    "MemberEvent",
    "MemberJoining",
    "MemberLeaving",
    "MemberReachable",
    "MemberRemoved",
    "MemberSuspected",
    "MemberUnreachable",
    "MemberUp",
    "MessageInDoubt",
    "MessageRefused",
    "NodePaused",
    "QueueDrained",
    "SelfRemoved",
    "StatementRefused",
    "SuspicionCleared",
    "TopologyChanged",
    "ViewConflict",
    "ViewRefused",
]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all events.

    Attributes:
        at: Unix seconds on the publishing node; 0 until published.
        cause: id of the input that led to it, for following a log back; empty when none is.
    """

    at: float = 0.0
    cause: str = ""


class MemberEvent(Event, frozen=True, kw_only=True):
    """Base of what happens to one member: `member` as it is after the change, and why."""

    member: Member
    reason: str = ""

    @property
    def authority(self) -> str:
        return self.member.authority


class MemberJoining(MemberEvent, frozen=True, kw_only=True):
    """A node was admitted and is not yet up."""


class MemberUp(MemberEvent, frozen=True, kw_only=True):
    """A member is up and may own identities."""


class MemberLeaving(MemberEvent, frozen=True, kw_only=True):
    """A member has said that it leaves; it gets no new identities."""


class MemberUnreachable(MemberEvent, frozen=True, kw_only=True):
    """A member missed its probes and did not refute in time."""


class MemberReachable(MemberEvent, frozen=True, kw_only=True):
    """An unreachable member refuted and is back under a higher incarnation."""


class MemberRemoved(MemberEvent, frozen=True, kw_only=True):
    """A member left or was removed; final for its incarnation."""


class SelfRemoved(MemberEvent, frozen=True, kw_only=True):
    """This node learnt that the others removed it; its activations stop."""


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
    """A suspicion ended without harm: the member refuted it, or nobody confirmed it."""


class NodePaused(Event, frozen=True, kw_only=True):
    """This process did not run for `gap_s` seconds (stopped, swapped out, suspended); it blames nobody for it."""

    gap_s: float


class DoubtBegan(Event, frozen=True, kw_only=True):
    """A member may have taken over what is active here: it is `unreachable` or `removed`, or this node was away."""

    authority: str
    node_id: str
    reason: str


class DoubtEnded(Event, frozen=True, kw_only=True):
    """That member is harmless: it `left`, was `replaced`, or `confirmed` that it let go; or the doubt has `expired`."""

    authority: str
    node_id: str
    outcome: str
    lasted_s: float


class FreshnessUnknown(Event, frozen=True, kw_only=True):
    """This node doubts members and cannot read the storage: its answers may be old (`activation.when_unproved`)."""

    authority: str
    reason: str


class BlockListChanged(Event, frozen=True, kw_only=True):
    """An authority was barred from holding activations, or is allowed to again."""

    authority: str
    blocked: bool


class BlockListApplied(Event, frozen=True, kw_only=True):
    """The topology of that version bars this authority, and its activations here are revoked (SPEC VA-4.1, BS-2.3)."""

    authority: str
    version: int


class StatementRefused(Event, frozen=True, kw_only=True):
    """A statement about a member was out of bounds and was not taken over; `origin` made it."""

    authority: str
    origin: str
    reason: str


class ConvergenceReached(Event, frozen=True, kw_only=True):
    """News has reached the peers that were asked: `elapsed_s` from the first change to agreement (SPEC CL-7.5)."""

    elapsed_s: float
    version: int


class ConvergenceDelayed(Event, frozen=True, kw_only=True):
    """News is not agreed on after `gossip.convergence_s`; `behind` are peers known to differ."""

    elapsed_s: float
    behind: tuple[str, ...]


class ViewRefused(Event, frozen=True, kw_only=True):
    """Two views were settled and one lost (SPEC CL-7.4): `refused` is `theirs` or `ours`, by `rule`."""

    authority: str
    refused: str
    rule: str


class ViewConflict(Event, frozen=True, kw_only=True):
    """Two views exclude each other and no rule settles it: an operator must (`ResolveConflict`)."""

    authority: str
    reason: str


class TopologyChanged(Event, frozen=True, kw_only=True):
    """A new topology, one per update period however many changes it gathers (SPEC CL-1)."""

    snapshot: TopologySnapshot


class ConnectionOpened(Event, frozen=True, kw_only=True):
    """A connection was authenticated."""

    authority: str
    node_id: str


class ConnectionClosed(Event, frozen=True, kw_only=True):
    """A connection ended; `reason` tells how."""

    authority: str
    node_id: str
    reason: str


class ConnectionRefused(Event, frozen=True, kw_only=True):
    """A handshake failed, in or out: wrong secret, wrong cluster, garbage, no common version."""

    authority: str
    code: str
    reason: str


class AuthorityEvent(Event, frozen=True, kw_only=True):
    """Base of what happens to the association with one authority (SPEC CL-4.5); `node_id` is empty while unknown."""

    authority: str
    node_id: str
    reason: str = ""


class AuthorityConnected(AuthorityEvent, frozen=True, kw_only=True):
    """Messages can be sent; `reconnected` tells whether they could before, `failures` how many dials had failed."""

    reconnected: bool
    failures: int = 0


class AuthorityDisconnected(AuthorityEvent, frozen=True, kw_only=True):
    """The connection for messages ended; they wait in the delay queue."""


class AuthorityQuarantined(AuthorityEvent, frozen=True, kw_only=True):
    """Nothing is sent to the authority or accepted from it for `for_s` seconds."""

    for_s: float


class AuthorityReleased(AuthorityEvent, frozen=True, kw_only=True):
    """A quarantine ended: its time was up, an operator released it, or another process lives there now."""


class QueueDrained(AuthorityEvent, frozen=True, kw_only=True):
    """The messages that had waited, `count` of them, were sent in order after a reconnection (SPEC CL-3.5)."""

    count: int


class MessageRefused(Event, frozen=True, kw_only=True):
    """A message was not accepted for sending, or was given up unsent because its authority was quarantined."""

    recipient: str
    sender: str
    authority: str
    code: str
    reason: str


class MessageInDoubt(Event, frozen=True, kw_only=True):
    """A message was sent and its connection broke before the peer acknowledged it. It is not sent again."""

    recipient: str
    sender: str
    authority: str
    message: object
