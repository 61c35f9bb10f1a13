"""Profiles: sets of defaults for one machine, one data centre, or several regions.

The network dictates only timing, so a profile changes times and fan-out and nothing else: bounds, limits and guarantees
are the same everywhere. A profile is a function that returns a whole configuration, not a name that other modules
check, so the behaviour of a node can be read from its `ClusterConfig` alone.
"""

from __future__ import annotations

from typing import Final

from inaho.config.activation import ActivationConfig
from inaho.config.cluster import ClusterConfig
from inaho.config.detection import DetectionConfig
from inaho.config.gossip import GossipConfig
from inaho.config.membership import MembershipConfig
from inaho.config.rpc import RpcConfig
from inaho.config.transport import TransportConfig

__all__ = ["PROFILES", "lan", "local", "wan"]


def local() -> ClusterConfig:
    """Settings for one machine: development, tests, `inaho quickstart`.

    Compared with `lan()`, probing and gossip are about twice as fast and removal takes 2 s instead of 5 s, because
    loopback loses nothing and a person is waiting. Shutting down waits 3 s for running turns instead of 10 s. The cost
    is that a busy laptop suspects its own nodes sooner.

    Returns:
        A configuration without authority, seeds or secret.
    """
    return ClusterConfig(
        membership=MembershipConfig(join_timeout_s=5.0, remove_unreachable_after_s=2.0, tombstone_s=600.0),
        gossip=GossipConfig(interval_s=0.05, anti_entropy_s=5.0),
        detection=DetectionConfig(probe_interval_s=0.25, probe_timeout_s=0.2),
        transport=TransportConfig(dial_timeout_s=1.0, redial_max_s=1.0),
        activation=ActivationConfig(drain_s=3.0),
    )


def lan() -> ClusterConfig:
    """Settings for one data centre, round trips below about 5 ms: the defaults of every group."""
    return ClusterConfig()


def wan() -> ClusterConfig:
    """Settings for nodes in several regions, round trips of 50 ms to 300 ms, with loss.

    Compared with `lan()`, probes wait 3 s instead of 0.4 s and suspicion lasts longer, so that a minute with packet
    loss removes no member. An unreachable member is removed after 30 s instead of 5 s. Gossip is slower, reaches more
    peers per round and is expected to take 5 s. Dialling, the handshake and calls get more time. The cost is that a
    node which really died is noticed about six times later.

    Returns:
        A configuration without authority, seeds or secret.
    """
    return ClusterConfig(
        membership=MembershipConfig(join_timeout_s=60.0, remove_unreachable_after_s=30.0, update_period_s=0.2),
        gossip=GossipConfig(interval_s=0.5, fanout=4, retransmit_factor=4, anti_entropy_s=30.0, convergence_s=5.0),
        detection=DetectionConfig(
            probe_interval_s=5.0, probe_timeout_s=3.0, suspicion_factor=4.0, lag_busy_s=0.5, lag_wedged_s=15.0
        ),
        transport=TransportConfig(handshake_timeout_s=15.0, dial_timeout_s=10.0, redial_s=0.2, redial_max_s=30.0),
        rpc=RpcConfig(timeout_s=30.0, retry_base_s=0.2, retry_max_s=5.0, retry_moving_max_s=0.2),
        activation=ActivationConfig(drain_s=30.0),
    )


PROFILES: Final = {"local": local, "lan": lan, "wan": wan}
"""Profiles by the name that the key `profile` takes."""
