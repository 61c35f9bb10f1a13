"""Decides whether a provider is up, degraded or down, from what was heard of it and when.

    UP        it answers, and its newest snapshot is not late
    DEGRADED  it answers late, or the last request failed: what is known of it may be stale
    DOWN      it has not been heard of for `timeout_s`, or `errors_max` requests in a row failed, or it has not been
              heard of yet

Any answer counts as heard: a snapshot, a notice that nothing has changed, a read that compares equal.

Why not only errors: a server that is stopped accepts requests and never answers, so it causes none.
"""

from __future__ import annotations

import enum
from typing import Final

from inaho.config import ProvisioningConfig

__all__ = ["HealthState", "ProviderHealth"]

NEVER: Final = float("-inf")


class HealthState(enum.StrEnum):
    """See the module."""

    UP = "up"
    DEGRADED = "degraded"
    DOWN = "down"


class ProviderHealth:
    """The health of one provider (SPEC PR-2, PR-4.5).

    Args:
        config: `timeout_s`, `errors_max` and `delay_max_s`.

    Attributes:
        errors: requests that failed in a row.
        reason: of the last failure; empty after a success.
        heard_at: when it was last heard of, in seconds.
        delay_s: how old the newest snapshot was when it arrived, in seconds.
    """

    def __init__(self, config: ProvisioningConfig) -> None:
        self.errors = 0
        self.reason = "no answer yet"
        self.heard_at = NEVER
        self.delay_s = 0.0
        self._config = config

    def heard(self, now: float, delay_s: float = 0.0) -> None:
        """It has answered; `delay_s` is how long the answer took, in seconds."""
        self.errors, self.reason = 0, ""
        self.heard_at, self.delay_s = now, delay_s

    def failed(self, reason: str) -> None:
        """A request has failed, or its stream has ended."""
        self.errors += 1
        self.reason = reason

    def state(self, now: float) -> HealthState:
        """The state at that time."""
        silent_s = now - self.heard_at
        if silent_s >= self._config.timeout_s or self.errors >= self._config.errors_max:
            return HealthState.DOWN
        if self.errors or self.delay_s > self._config.delay_max_s:
            return HealthState.DEGRADED
        return HealthState.UP

    def why(self, now: float) -> str:
        """Why it is not up, for people; empty if it is."""
        state = self.state(now)
        if state is HealthState.UP:
            return ""
        if self.reason:
            return self.reason
        if state is HealthState.DOWN:
            return f"no answer for {now - self.heard_at:.1f} s"
        return f"its last answer took {self.delay_s:.1f} s"

    def next_deadline(self) -> float | None:
        """When it is down if it stays silent; None if it is down now."""
        if self.heard_at == NEVER or self.errors >= self._config.errors_max:
            return None
        return self.heard_at + self._config.timeout_s

    def check(self) -> None:
        """Asserts the invariants."""
        assert self.errors >= 0
        assert self.delay_s >= 0
        assert self.errors or not self.reason or self.heard_at == NEVER
