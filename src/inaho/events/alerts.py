"""Alerts about the calls of one kind (SPEC CL-6.5)."""

from __future__ import annotations

from inaho.events.base import Event

__all__ = ["AlertCleared", "AlertEvent", "AlertRaised"]


class AlertEvent(Event, frozen=True, kw_only=True):
    """Base of alerts about one kind, as the callers on this node see it (SPEC CL-6.5).

    `measure` is `latency_p99_s` or `failure_ratio`, the name of its setting in the group `alerts`. `figure` is the
    value measured over the last `window_s` seconds, and `threshold` is the setting.
    """

    kind: str
    measure: str
    figure: float
    threshold: float
    window_s: float


class AlertRaised(AlertEvent, frozen=True, kw_only=True):
    """The measured value exceeds its threshold."""


class AlertCleared(AlertEvent, frozen=True, kw_only=True):
    """The value is well below its threshold again, or there are too few calls."""
