"""Settings of metrics and alerts (`metrics.*`, `alerts.*`)."""

from __future__ import annotations

from inaho.config.base import Group
from inaho.errors import InvalidConfig

__all__ = ["AlertsConfig", "MetricsConfig"]


class MetricsConfig(Group, frozen=True, kw_only=True):
    """Metrics of a node.

    Attributes:
        enabled: whether metrics are exported and `Cluster.metrics` answers. If not, there are still events and alerts.
        kinds_max: kinds with metrics, alerts and warnings of their own; those of further kinds are added up as
            `other`. Each kind costs some thirty time series per node and 5 KB of memory.
    """

    enabled: bool = True
    kinds_max: int = 100


class AlertsConfig(Group, frozen=True, kw_only=True):
    """When a kind is too slow or fails too often, as the callers on this node see it.

    Attributes:
        enabled: whether alerts are raised.
        window_s: alerts consider the calls that ended within it. Longer gives fewer alerts, shorter gives them sooner.
        window_slots: number of steps in which the window moves.
        calls_min: with fewer calls in the window no alert is raised, because one failure of two calls shows little.
        latency_p99_s: an alert is raised when the 99th percentile of the successful calls exceeds it.
        failure_ratio: an alert is raised when more of the calls than this fail. Calls that their callers cancelled
            count too, and exceptions of the user's code, except those that `register_exception` was given and
            subclasses of `GrainError`: a program that registers an exception expects it.
        count_registered: whether registered exceptions count as failures, too.
        clear_ratio: an alert ends when the value falls to this part of the threshold. Lower values give fewer changes.
    """

    enabled: bool = True
    window_s: float = 60.0
    window_slots: int = 12
    calls_min: int = 20
    latency_p99_s: float = 1.0
    failure_ratio: float = 0.01
    count_registered: bool = False
    clear_ratio: float = 0.8

    def check(self) -> None:
        for name, value in (("failure_ratio", self.failure_ratio), ("clear_ratio", self.clear_ratio)):
            if value > 1:
                raise InvalidConfig(f"AlertsConfig.{name} must be at most 1, not {value}")
