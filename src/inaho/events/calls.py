"""Events of calls (SPEC CL-6)."""

from __future__ import annotations

from inaho.events.base import Event, IdentityEvent

__all__ = ["CallFailed", "RetryThrottled", "SerializationFailure"]


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


class SerializationFailure(IdentityEvent, frozen=True, kw_only=True):
    """A message could not be encoded or decoded; only that call failed (SPEC CL-6.4).

    `direction`: `in` or `out` where it happened, `call` where a call of this node failed for it.
    """

    method: str
    direction: str
    reason: str
