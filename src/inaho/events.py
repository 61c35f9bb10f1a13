"""What the event stream carries.

Every event is a frozen Struct with the kind and key or the authority concerned and the outcome. `at` is the time
of the publishing node in Unix seconds; whoever publishes stamps it, and the pure core leaves it at 0 for the
runtime to fill in.
"""

from __future__ import annotations

import msgspec

from inaho.types import ClusterIdentity, Member, Pid, TopologySnapshot

__all__ = [
    "ActivationFailed",
    "ActivationPassivated",
    "ActivationStarted",
    "ActivationTerminated",
    "ActorFailed",
    "AlertCleared",
    "AlertRaised",
    "AuthorityCollision",
    "AuthorityConnected",
    "AuthorityDisconnected",
    "AuthorityEvent",
    "AuthorityQuarantined",
    "AuthorityReleased",
    "BlockListApplied",
    "BlockListChanged",
    "CallFailed",
    "ConnectionClosed",
    "ConnectionOpened",
    "ConnectionRefused",
    "ConvergenceDelayed",
    "ConvergenceReached",
    "DeadLetter",
    "Event",
    "HandOffCompleted",
    "HandOffFailed",
    "LeaseTimedOut",
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
    "PassivationFrequent",
    "PidInvalidated",
    "QueueDrained",
    "ReminderFailed",
    "ReminderMissed",
    "RetryThrottled",
    "SelfRemoved",
    "SerializationFailure",
    "StateReset",
    "StatementRefused",
    "SuspicionCleared",
    "TerminationsMissed",
    "TimerFailed",
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


class IdentityEvent(Event, frozen=True, kw_only=True):
    """Base of what happens to one identity."""

    identity: ClusterIdentity


class ActivationStarted(IdentityEvent, frozen=True, kw_only=True):
    """A grain was activated on this node.

    `origin`: `first`, as far as this node knows; `again`, it has saved state or was unloaded here; `moved`, it goes on
    from another node.
    """

    pid: Pid
    epoch: int
    origin: str = "first"


class ActivationFailed(IdentityEvent, frozen=True, kw_only=True):
    """An activation did not come up; `reason` has the exception."""

    reason: str


class ActivationPassivated(IdentityEvent, frozen=True, kw_only=True):
    """An idle activation was unloaded."""

    idle_s: float


class PassivationFrequent(Event, frozen=True, kw_only=True):
    """Most of the `unloaded` activations of a kind were called again within `ttl_s`; `setting` is what to raise."""

    kind: str
    unloaded: int
    returned: int
    ttl_s: float
    setting: str


class ActivationTerminated(IdentityEvent, frozen=True, kw_only=True):
    """An activation ended; `reason` tells why (idle, moved, stopped, failed, shutdown).

    Published on every node that subscribes, wherever it ended: `authority` names the node, whose time `at` is.
    """

    reason: str
    authority: str


class TerminationsMissed(Event, frozen=True, kw_only=True):
    """So many activations ended on `authority` while this node was too slow to be told of each (SPEC VA-4.2)."""

    authority: str
    count: int


class HandOffCompleted(IdentityEvent, frozen=True, kw_only=True):
    """An activation of `from_authority` goes on here; `snapshot`: with its state as it stood, else with the saved."""

    from_authority: str
    version: int
    snapshot: bool


class HandOffFailed(IdentityEvent, frozen=True, kw_only=True):
    """An activation of `from_authority` does not go on here: its state is missing or unreadable."""

    from_authority: str
    reason: str


class LeaseTimedOut(IdentityEvent, frozen=True, kw_only=True):
    """An activation did not come up, or did not end, within `held_s` seconds: its identity is free again.

    What still runs of it on the node `holder` cannot commit once a successor has: the successor's epoch is higher.
    """

    epoch: int
    holder: str
    held_s: float


class TimerFailed(IdentityEvent, frozen=True, kw_only=True):
    """A tick of a timer raised or was interrupted at its deadline; the timer goes on."""

    timer: str
    reason: str


class StateReset(IdentityEvent, frozen=True, kw_only=True):
    """A turn failed, and the state was loaded again as it was saved last (`on_failure="reset"`)."""

    method: str
    reason: str


class ReminderFailed(IdentityEvent, frozen=True, kw_only=True):
    """A reminder could not be delivered; `given_up`: this occurrence is not tried again."""

    name: str
    attempt: int
    reason: str
    given_up: bool = False


class ReminderMissed(IdentityEvent, frozen=True, kw_only=True):
    """`count` occurrences of a reminder had passed and are not delivered, by its policy for these."""

    name: str
    count: int


class PidInvalidated(Event, frozen=True, kw_only=True):
    """Entries left the PidCache: one identity, or all of an authority (then `key` is empty)."""

    kind: str
    key: str
    authority: str
    reason: str
    count: int = 1


class CallFailed(IdentityEvent, frozen=True, kw_only=True):
    """A call failed for a reason that is not the user's exception."""

    method: str
    code: str
    reason: str


class RetryThrottled(Event, frozen=True, kw_only=True):
    """Of the retries of a kind within a period, `suppressed` were not logged (SPEC VA-4.1, VA-4.4)."""

    kind: str
    suppressed: int
    period_s: float


class AlertEvent(Event, frozen=True, kw_only=True):
    """Base of alerts about one kind, as the callers on this node see it (SPEC CL-6.5).

    `measure` is `latency_p99_s` or `failure_ratio`, the name of its setting in the group `alerts`; `figure` is what was
    measured over the last `window_s` seconds, and `threshold` the setting.
    """

    kind: str
    measure: str
    figure: float
    threshold: float
    window_s: float


class AlertRaised(AlertEvent, frozen=True, kw_only=True):
    """A figure exceeds its threshold."""


class AlertCleared(AlertEvent, frozen=True, kw_only=True):
    """A figure is well below its threshold again, or too few calls are left to judge by."""


class SerializationFailure(IdentityEvent, frozen=True, kw_only=True):
    """A message could not be encoded or decoded; only that call failed (SPEC CL-6.4).

    `direction`: `in` or `out` where it happened, `call` where a call of this node failed for it.
    """

    method: str
    direction: str
    reason: str


class ActorFailed(Event, frozen=True, kw_only=True):
    """A local actor raised, and what its supervisor made of it.

    `directive` is `resume`, `restart`, `stop`, `escalate`, or `ignore` for a hook that failed while the actor ended
    anyway. `at_root`: the failure was escalated past the topmost actor, which is stopped for it.
    """

    path: str
    reason: str
    directive: str
    at_root: bool = False


class DeadLetter(Event, frozen=True, kw_only=True):
    """A message that reached nobody."""

    recipient: str
    sender: str
    message: object
    reason: str
