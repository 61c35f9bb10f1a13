"""Decides whether a provider is up, degraded or down, from what was heard of it and when.

    STARTING  it has neither answered nor failed yet, and `timeout_s` is not over
    UP        it answers, and its newest read was not late
    DEGRADED  its newest read was late, or a request has failed since: what is known of it may be stale
    DOWN      it has not been heard of for `timeout_s`, or failed `errors_max` times in a row, or has not been read yet

Only a full read makes a provider up: it is what snapshots are made of. Other answers, such as a notice of a watch,
show that it lives and end no failure: a server may go on with its notices while all reads are refused.

The requests of one provider run at the same time, so one short outage fails several of them. Failures that are closer
together than half of the shortest back-off count once.

Why not only errors: a server that is stopped accepts requests and never answers, so it causes none.
"""

from __future__ import annotations

import enum

from inaho.config import ProvisioningConfig

__all__ = ["HealthState", "ProviderHealth"]


class HealthState(enum.StrEnum):
    """See the module."""

    STARTING = "starting"
    UP = "up"
    DEGRADED = "degraded"
    DOWN = "down"


class ProviderHealth:
    """The health of one provider (SPEC PR-2, PR-4.5).

    Args:
        config: `timeout_s`, `errors_max`, `delay_max_s` and `back_off_min_s`.
        now: when it was begun to be asked, in seconds.

    Attributes:
        errors: failures in a row.
        reason: of the last failure; empty after a read.
        heard_at: when it has last answered, in seconds; None before its first read.
        delay_s: how long its newest read took, in seconds.
    """

    def __init__(self, config: ProvisioningConfig, now: float) -> None:
        self.errors = 0
        self.reason = ""
        self.heard_at: float | None = None
        self.delay_s = 0.0
        self._config = config
        self._since = now
        self._counted_at = now

    def read(self, now: float, took_s: float) -> None:
        """All its entries were read, and are good; the read took so many seconds."""
        self.errors, self.reason = 0, ""
        self.heard_at, self.delay_s = now, took_s

    def alive(self, now: float) -> None:
        """It has answered something else. A provider that is down needs a read."""
        if self.state(now) in (HealthState.UP, HealthState.DEGRADED):
            self.heard_at = now

    def failed(self, now: float, reason: str) -> None:
        """A request has failed, or its watch has ended."""
        if not self.errors or now >= self._counted_at + self._config.back_off_min_s / 2:
            self.errors += 1
            self._counted_at = now
        self.reason = reason

    def state(self, now: float) -> HealthState:
        """The state at that time."""
        silent = now >= self.next_deadline()
        if self.heard_at is None:
            return HealthState.DOWN if silent or self.errors else HealthState.STARTING
        if silent or self.errors >= self._config.errors_max:
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
        if state is HealthState.DEGRADED:
            return f"its last read took {self.delay_s:.1f} s"
        since = self._since if self.heard_at is None else self.heard_at
        return "no answer yet" if state is HealthState.STARTING else f"no answer for {now - since:.1f} s"

    def next_deadline(self) -> float:
        """When it is down if nothing more comes."""
        return (self._since if self.heard_at is None else self.heard_at) + self._config.timeout_s

    def check(self) -> None:
        """Asserts the invariants."""
        assert self.errors >= 0
        assert self.delay_s >= 0
        assert bool(self.errors) == bool(self.reason)
