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
    """Figures were asked of a node that keeps none: `metrics.enabled` is off (SPEC CL-10.4). Events still flow."""

    code = "metrics_off"
    advice = "set metrics.enabled, or subscribe to events"


class IllegalTransition(InahoError):
    """A state machine was asked for a transition that its table does not allow. Nothing changed."""

    code = "illegal_transition"


class InvalidPid(InahoError):
    """A Pid or path does not parse; `reason` names the part."""

    code = "invalid_pid"
