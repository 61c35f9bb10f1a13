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
    "PassivationFrequent",
    "PidInvalidated",
    "StateReset",
    "TerminationsMissed",
    "TimerFailed",
]


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


class PidInvalidated(Event, frozen=True, kw_only=True):
    """Entries left the PidCache: one identity, or all of an authority (then `key` is empty)."""

    kind: str
    key: str
    authority: str
    reason: str
    count: int = 1
