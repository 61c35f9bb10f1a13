"""Settings of how membership statements spread (`gossip.*`)."""

from __future__ import annotations

from inaho.config.base import Group

__all__ = ["GossipConfig"]


class GossipConfig(Group, frozen=True, kw_only=True):
    """Spreading of membership statements.

    Attributes:
        interval_s: pause between rounds while there are rumours. In a stable cluster there are none.
        fanout: peers per round. With at most `2 * fanout` peers, each round goes to all.
        retransmit_factor: a rumour is sent `factor * ceil(log2(n + 1))` times, then left to anti-entropy.
        push_bytes_max: budget of one push or piggyback.
        anti_entropy_s: pause between whole-digest exchanges with one random peer.
        convergence_s: expected time until all members have a change; a longer time is an event and a metric.
        reconcile_rounds_max: delta exchanges with one peer before a full table is sent.
        reconcile_peers_max: peers with which differences are settled at once.
        accusations_max: suspicions that are passed on at once; beyond it the oldest is dropped.
    """

    interval_s: float = 0.1
    fanout: int = 3
    retransmit_factor: int = 3
    push_bytes_max: int = 8192
    anti_entropy_s: float = 10.0
    convergence_s: float = 1.0
    reconcile_rounds_max: int = 3
    reconcile_peers_max: int = 8
    accusations_max: int = 256
