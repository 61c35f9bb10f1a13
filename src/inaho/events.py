"""What the event stream carries.

Every event is a frozen Struct with the kind and key or the authority concerned and the outcome. `at` is the time
of the publishing node in Unix seconds; whoever publishes stamps it, and the pure core leaves it at 0 for the
runtime to fill in. Those of the cluster itself are in `events_cluster` and are named here too.
"""

from __future__ import annotations

from inaho.events_cluster import (
    AuthorityCollision,
    AuthorityConnected,
    AuthorityDisconnected,
    AuthorityEvent,
    AuthorityQuarantined,
    AuthorityReleased,
    BlockListApplied,
    BlockListChanged,
    ConnectionClosed,
    ConnectionOpened,
    ConnectionRefused,
    ConvergenceDelayed,
    ConvergenceReached,
    DoubtBegan,
    DoubtEnded,
    Event,
    FreshnessUnknown,
    MemberEvent,
    MemberJoining,
    MemberLeaving,
    MemberReachable,
    MemberRemoved,
    MemberSuspected,
    MemberUnreachable,
    MemberUp,
    MessageInDoubt,
    MessageRefused,
    NodePaused,
    QueueDrained,
    SelfRemoved,
    StatementRefused,
    SuspicionCleared,
    TopologyChanged,
    ViewConflict,
    ViewRefused,
)
from inaho.types import ClusterIdentity, Pid

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
    "DoubtBegan",
    "DoubtEnded",
    "Event",
    "FreshnessUnknown",
    "HandOffCompleted",
    "HandOffFailed",
    "LeaseTimedOut",
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
    "StorageAccepted",
    "StorageDataLost",
    "SuspicionCleared",
    "TerminationsMissed",
    "TimerFailed",
    "TopologyChanged",
    "ViewConflict",
    "ViewRefused",
]


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
    """A call failed for a reason that is not the user's exception, or a one-way call failed for any reason.

    `code` is empty where the user's exception ended a one-way call; `reason` names it.
    """

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


class StorageDataLost(Event, frozen=True, kw_only=True):
    """The storage of this node has lost what it had acknowledged: grains with a state are refused (`StorageLost`).

    `storage`: its name, without secrets. `reason`: what was seen before, and what is there now.
    """

    storage: str
    reason: str


class StorageAccepted(Event, frozen=True, kw_only=True):
    """An operator has accepted what the storage of this node has now; activations with a state begin again.

    `reason`: what had been found; empty where this node had noticed no loss.
    """

    storage: str
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
