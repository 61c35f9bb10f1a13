"""Errors of wrong use: an invalid setting, class, name or step."""

from __future__ import annotations

from inaho.errors.base import InahoError

__all__ = ["IllegalTransition", "InvalidConfig", "InvalidGrain", "InvalidPid", "MetricsOff"]


class InvalidConfig(InahoError, ValueError):
    """A setting is missing, unknown or out of range; `reason` names it and its bounds."""

    code = "invalid_config"


class InvalidGrain(InahoError, TypeError):
    """A grain class cannot be served: a signature or type in it cannot cross the wire."""

    code = "invalid_grain"


class MetricsOff(InahoError):
    """Metrics were read from a node without metrics: `metrics.enabled` is off (SPEC CL-10.4). Events go on."""

    code = "metrics_off"
    advice = "set metrics.enabled, or subscribe to events"


class IllegalTransition(InahoError):
    """A state machine got an event that its table does not allow in its state. Nothing changed."""

    code = "illegal_transition"


class InvalidPid(InahoError):
    """A Pid or path does not parse; `reason` names the part."""

    code = "invalid_pid"
