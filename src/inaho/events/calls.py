"""Events of calls (SPEC CL-6)."""

from __future__ import annotations

from typing import ClassVar

from inaho.events.base import Event, IdentityEvent

__all__ = ["CallFailed", "CallSucceeded", "RetryThrottled", "SerializationFailure"]


class CallFailed(IdentityEvent, frozen=True, kw_only=True):
    """A call failed for a reason that is not the user's exception, or a one-way call failed for any reason.

    `code` is empty if the user's exception ended a one-way call; `reason` names the exception.
    """

    method: str
    code: str
    reason: str


class CallSucceeded(IdentityEvent, frozen=True, kw_only=True):
    """A call of this node has returned, or a stream that it opened has come to its end (SPEC CL-6.5).

    One-way calls are among them. There is one event for each call, so it reaches only subscribers that name this class,
    as `cluster.events(CallSucceeded)` does. As long as there are none, it is not made.

    Attributes:
        duration_s: from the call to its result, or to the end of the stream, in seconds; attempts included that failed.
    """

    by_name_only: ClassVar[bool] = True

    method: str
    duration_s: float


class RetryThrottled(Event, frozen=True, kw_only=True):
    """Of the retries of a kind within a period, `suppressed` were not logged (SPEC VA-4.1, VA-4.4)."""

    kind: str
    suppressed: int
    period_s: float


class SerializationFailure(IdentityEvent, frozen=True, kw_only=True):
    """A message could not be encoded or decoded; only that call failed (SPEC CL-6.4).

    `direction`: `in` or `out` on the node where it happened, `call` on the node whose call failed.
    """

    method: str
    direction: str
    reason: str
