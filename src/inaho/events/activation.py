"""Events of activations and of where they are placed (SPEC VA-4)."""

from __future__ import annotations

from inaho.events.base import Event, IdentityEvent
from inaho.types import Pid

__all__ = [
    "ActivationFailed",
    "ActivationPassivated",
    "ActivationStarted",
    "ActivationTerminated",
    "HandOffCompleted",
    "HandOffFailed",
    "LeaseTimedOut",
    "OwnersChanged",
    "PassivationFrequent",
    "PidInvalidated",
    "StateReset",
    "TerminationsMissed",
    "TimerFailed",
]


class ActivationStarted(IdentityEvent, frozen=True, kw_only=True):
    """A grain was activated on this node.

    `origin`: `first`, as far as this node knows; `again`: it has saved state or was unloaded here; `moved`: it comes
    from another node.
    """

    pid: Pid
    epoch: int
    origin: str = "first"


class ActivationFailed(IdentityEvent, frozen=True, kw_only=True):
    """An activation did not start; `reason` has the exception."""

    reason: str


class ActivationPassivated(IdentityEvent, frozen=True, kw_only=True):
    """An idle activation was unloaded."""

    idle_s: float


class PassivationFrequent(Event, frozen=True, kw_only=True):
    """Most of the `unloaded` activations of a kind were called again within `ttl_s`; `setting` is the one to raise."""

    kind: str
    unloaded: int
    returned: int
    ttl_s: float
    setting: str


class ActivationTerminated(IdentityEvent, frozen=True, kw_only=True):
    """An activation ended; `reason` says why (idle, moved, stopped, failed, shutdown).

    Published on every node that subscribes, wherever the activation was: `authority` names that node, and `at` is its
    time.
    """

    reason: str
    authority: str


class TerminationsMissed(Event, frozen=True, kw_only=True):
    """This node was too slow to receive all ends of activations of `authority`; so many were dropped (SPEC VA-4.2)."""

    authority: str
    count: int


class HandOffCompleted(IdentityEvent, frozen=True, kw_only=True):
    """This node took over an activation of `from_authority`; `snapshot`: with its present state, not the saved one."""

    from_authority: str
    version: int
    snapshot: bool


class HandOffFailed(IdentityEvent, frozen=True, kw_only=True):
    """This node could not take over an activation of `from_authority`: its state is missing or unreadable."""

    from_authority: str
    reason: str


class LeaseTimedOut(IdentityEvent, frozen=True, kw_only=True):
    """An activation did not start, or did not end, within `held_s` seconds: its identity is free again.

    If it still runs on the node `holder`, it cannot commit after its successor has: the successor's epoch is higher.
    """

    epoch: int
    holder: str
    held_s: float


class OwnersChanged(Event, frozen=True, kw_only=True):
    """A topology has changed owners or ended leases on this node; published in the step that applies it (SPEC PR-3.3).

    Attributes:
        version, hash: of the topology.
        epoch: leases that this node grants from now on have a higher one.
        held: leases that this node has granted and that still hold.
        revoked: leases that have ended by it, since their holders are blocked, unreachable or removed.
    """

    version: int
    hash: int
    epoch: int
    held: int
    revoked: int


class TimerFailed(IdentityEvent, frozen=True, kw_only=True):
    """A tick of a timer raised or was interrupted at its deadline; the timer continues."""

    timer: str
    reason: str


class StateReset(IdentityEvent, frozen=True, kw_only=True):
    """A turn failed, and the saved state was loaded again (`on_failure="reset"`)."""

    method: str
    reason: str


class PidInvalidated(Event, frozen=True, kw_only=True):
    """Entries left the PidCache: one identity, or all of an authority (then `key` is empty)."""

    kind: str
    key: str
    authority: str
    reason: str
    count: int = 1
