"""Settings of failure detection (`detection.*`)."""

from __future__ import annotations

from inaho.config.base import Group
from inaho.errors import InvalidConfig

__all__ = ["DetectionConfig"]


class DetectionConfig(Group, frozen=True, kw_only=True):
    """SWIM probing with Lifeguard's refinements.

    Attributes:
        probe_interval_s: one member is probed per interval. Detection takes a few intervals.
        probe_timeout_s: time for the direct answer before other members are asked to probe; below the interval.
        indirect_probes: number of members that are asked.
        suspicion_factor: a suspect has `factor * log10(n + 9) * probe_interval_s` to refute.
        suspicion_factor_max: multiplier of that time at first; it shrinks to 1 as sources confirm the suspicion.
        dead_after_s: the time to refute when two members have seen the process die (connection reset, port refused).
            Longer tolerates a port that is refused for a moment; shorter moves activations sooner.
        health_max: maximum of the local health multiplier, which lengthens this node's time-outs when it is slow
            itself.
        lag_busy_s: event-loop lag from which a node calls itself busy.
        lag_wedged_s: silence on an open connection from which peers call a node wedged.
        probes_max: own and relayed probes that may wait for an answer at once.
    """

    probe_interval_s: float = 0.5
    probe_timeout_s: float = 0.4
    indirect_probes: int = 3
    suspicion_factor: float = 3.0
    suspicion_factor_max: float = 2.0
    dead_after_s: float = 0.5
    health_max: int = 8
    lag_busy_s: float = 0.25
    lag_wedged_s: float = 2.0
    probes_max: int = 256

    def check(self) -> None:
        if self.probe_timeout_s >= self.probe_interval_s:
            raise InvalidConfig(
                f"DetectionConfig.probe_timeout_s ({self.probe_timeout_s}) must be below "
                f"probe_interval_s ({self.probe_interval_s})"
            )
