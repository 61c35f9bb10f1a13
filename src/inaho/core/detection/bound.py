"""Computes the longest time for which a node may not notice a fault.

A member that was cut off acts by its old view until it finds another member unreachable. Decisions of the other members
must allow for that until this time has passed.
"""

from __future__ import annotations

import math

from inaho.config import ClusterConfig

__all__ = ["detection_bound_s"]


def detection_bound_s(config: ClusterConfig, nodes: int) -> float:
    """The longest time, in seconds, from a fault to the moment at which a node finds the member unreachable.

    A member is probed at least once in `2n - 1` intervals and has one more to answer. The suspicion then takes its
    longest time, twice if it waits for a second source. Then the statement spreads and becomes a topology.

    Args:
        config: of the nodes.
        nodes: their number, at least 1.
    """
    detection = config.detection
    probing_s = 2 * nodes * detection.probe_interval_s
    suspicion_s = detection.suspicion_factor * math.log10(nodes + 9) * detection.probe_interval_s
    spreading_s = config.gossip.convergence_s + config.membership.update_period_s
    return probing_s + 2 * suspicion_s * detection.suspicion_factor_max + spreading_s
