"""Decides which failures may be tried again, and after which pause.

Whether a call may be repeated depends on two questions. Did it certainly not run (the node that refused it says so in
the error), or does it not matter if it runs twice (the method is `idempotent`)? And would it help, that is, can waiting
change the answer? The table below answers the second question per code; the error answers the first.

Why a table and not a flag on the classes: errors arrive from other releases, by code, and an operator who asks "what is
retried" should find one answer in one place. A code that is not in the table is not retried. One exception is made
outside: for the calls of a node, `quarantined` is never retried (`runtime.calls.retrying`), because a quarantine lasts
longer than a call.

The pause is exponential with jitter in its upper half: callers that failed together retry at different times, and none
retries at once (Brooker, "Exponential Backoff And Jitter", 2015, "equal jitter"; full jitter from 0 spreads better, but
lets some callers retry at once on a node that is still taking over).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from inaho.core.back_off import back_off_s
from inaho.errors import InahoError, InvalidConfig

__all__ = ["MOVING", "RETRY_RULES", "RetryPolicy", "RetryRule", "Tries", "may_retry"]


class RetryRule(enum.Enum):
    """The rule of the table for a code."""

    REFUSED = "refused"
    """Waiting helps. Retry if the error says that the call did not run, or the method is idempotent."""

    IN_DOUBT = "in_doubt"
    """Waiting helps, but the call may have run, even if the error denies it. Retry if the method is idempotent."""

    FINAL = "final"
    """The answer would be the same, or the caller must decide. Never retry."""


RETRY_RULES: Final[Mapping[str, RetryRule]] = MappingProxyType(
    {
        # Another node, or the same one a moment later, will accept the call.
        "blocked": RetryRule.REFUSED,
        "ownership_changed": RetryRule.REFUSED,
        "pending": RetryRule.REFUSED,
        "placement_paused": RetryRule.REFUSED,
        "quarantined": RetryRule.REFUSED,  # not for the calls of a node, see above
        "shutting_down": RetryRule.REFUSED,
        "topology_unavailable": RetryRule.REFUSED,
        "unreachable": RetryRule.REFUSED,
        # It is unknown whether it ran (SPEC VA-3.2; DESIGN: a timeout is "unknown").
        "storage_failed": RetryRule.IN_DOUBT,
        "timeout": RetryRule.IN_DOUBT,
        # The method ran in an activation that was stale; its successor has the newer state.
        "state_conflict": RetryRule.IN_DOUBT,
        # The node asks for less load. A retry is more load: the caller must slow down, so it gets the error.
        "mailbox_full": RetryRule.FINAL,
        "overloaded": RetryRule.FINAL,
        # The answer is the same at any time.
        "call_cycle": RetryRule.FINAL,
        "frame_too_large": RetryRule.FINAL,
        "invalid_arguments": RetryRule.FINAL,
        "invalid_pid": RetryRule.FINAL,
        "no_such_kind": RetryRule.FINAL,
        "no_such_method": RetryRule.FINAL,
        "schema_mismatch": RetryRule.FINAL,
        "serialization_failed": RetryRule.FINAL,
        "state_missing": RetryRule.FINAL,
        # The user's own code has answered: its exception is the result.
        "activation_failed": RetryRule.FINAL,
        "remote_error": RetryRule.FINAL,
    }
)


MOVING: Final = ("blocked", "ownership_changed", "pending", "shutting_down")
"""Refusals of an identity that is moving to another node, which takes a moment and needs no long pause."""


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How often and when a call is tried again. Defaults are those of `config.RpcConfig` (SPEC VA-3.2).

    Attributes:
        attempts: tries in all that may have run; 1 means that such a one is not repeated. See `Tries`.
        base_s: the first pause at its longest; doubles with every further attempt.
        max_s: the longest pause; at least `base_s`.
        moving_max_s: the longest pause after a refusal in `MOVING`.

    Raises:
        InvalidConfig: a value is out of range.
    """

    attempts: int = 3
    base_s: float = 0.05
    max_s: float = 2.0
    moving_max_s: float = 0.05

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise InvalidConfig(f"RetryPolicy.attempts must be at least 1, not {self.attempts}")
        if not self.base_s > 0:
            raise InvalidConfig(f"RetryPolicy.base_s must be above 0, not {self.base_s}")
        if not self.moving_max_s > 0:
            raise InvalidConfig(f"RetryPolicy.moving_max_s must be above 0, not {self.moving_max_s}")
        if not self.max_s >= self.base_s:
            raise InvalidConfig(f"RetryPolicy.max_s ({self.max_s}) must be at least base_s ({self.base_s})")

    def delay_s(self, attempt: int, random_unit: float, code: str = "") -> float:
        """The pause before the next attempt, in seconds: half to the whole of `min(max_s, base_s * 2**(attempt-1))`.

        Args:
            attempt: number of attempts that have failed, from 1.
            random_unit: a random number from 0 to 1, drawn by the caller.
            code: of the error that the last attempt failed with.

        Raises:
            ValueError: `attempt` is below 1 or `random_unit` out of range.
        """
        if attempt < 1:
            raise ValueError(f"attempt must be at least 1, not {attempt}")
        if not 0.0 <= random_unit <= 1.0:
            raise ValueError(f"random_unit must be from 0 to 1, not {random_unit}")
        longest_s = min(self.max_s, self.moving_max_s) if code in MOVING else self.max_s
        return back_off_s(self.base_s, longest_s, attempt) * (0.5 + 0.5 * random_unit)


class Tries:
    """The results of the attempts of one call so far.

    A refusal before execution does not count: nothing ran, and only the deadline of the call bounds the number of
    refusals. Counted attempts of an idempotent call are those that may have run.

    Attributes:
        failed: attempts that failed, refusals included; the pause before the next one grows with it.
        in_doubt: those of them that may have run.
    """

    __slots__ = ("failed", "in_doubt")

    def __init__(self) -> None:
        self.failed = 0
        self.in_doubt = 0

    def count(self, error: InahoError) -> None:
        """One more attempt has failed with `error`."""
        self.failed += 1
        self.in_doubt += error.maybe_executed


def may_retry(error: InahoError, idempotent: bool) -> bool:
    """Whether a call that failed with `error` may be sent again. It says nothing of attempts left or the deadline.

    `overloaded` is never retried, though it was refused before it ran: a retry would add to the load. The caller may
    wait and try again itself.

    Args:
        error: of the last attempt.
        idempotent: whether the method is declared so.
    """
    rule = RETRY_RULES.get(error.code, RetryRule.FINAL)
    if rule is RetryRule.FINAL:
        return False
    return idempotent or (rule is RetryRule.REFUSED and not error.maybe_executed)
