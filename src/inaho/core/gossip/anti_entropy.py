"""Decides when to compare tables with a random peer, and when to contact members that were removed.

While tables are equal, nodes exchange only marks; a difference leads to digests. This module also contacts authorities
that are not members: seeds, and members that were removed without a leave. After a network partition no other part
would do this: each side has removed the other and does not probe it any more. These contacts begin fast and back off.
They go round, `fanout` at a time, because most of these authorities are dead for good and a random choice would miss
the one that is not. One contact that succeeds is enough for all members, so the members together keep a rate: the fewer
they are, the sooner each contacts again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from inaho.config import GossipConfig
from inaho.core.inputs import RandomSource

__all__ = ["AntiEntropy", "Calls"]

ROUND_INTERVALS: Final = 10
"""Gossip intervals between two rounds of contacts to removed authorities, of all members together."""


class Calls(msgspec.Struct, frozen=True):
    """Authorities to send a mark to now: a member, empty for none, and some removed authorities."""

    peer: str = ""
    lost: tuple[str, ...] = ()


NOBODY: Final = Calls()


class AntiEntropy:
    """Schedule of one node.

    Args:
        config: `anti_entropy_s`, `interval_s` and `fanout`.
        random: spreads the nodes over the period and chooses peers.
    """

    def __init__(self, config: GossipConfig, random: RandomSource) -> None:
        self._config = config
        self._random = random
        self._peer_at: float | None = None
        self._lost_at: float | None = None
        self._lost_pause_s = config.interval_s
        # Where the round over the removed authorities continues.
        self._lost_turn = 0

    def start(self, now: float) -> None:
        """This node is a member now."""
        self._peer_at = now + self._config.anti_entropy_s * self._random.random()
        self.seek(now)

    def stop(self) -> None:
        """This node is no member any more."""
        self._peer_at = self._lost_at = None

    def seek(self, now: float) -> None:
        """An authority was removed without a leave: contacts it soon."""
        if self._peer_at is not None:
            self._lost_pause_s = 2 * self._config.interval_s
            self._lost_at = now + self._lost_pause_s

    def poll(self, now: float, peers: Sequence[str], lost: Sequence[str]) -> Calls:
        """The authorities to contact now.

        Args:
            peers: other members.
            lost: authorities that may be another part of the cluster.
        """
        if lost and self._lost_at is None:
            # A seed that left: it may come back, and would found a cluster of its own if no member contacted it.
            self.seek(now)
        due = self.next_deadline()
        if due is None or now < due:
            return NOBODY
        peer, called = "", list[str]()
        if self._peer_at is not None and now >= self._peer_at:
            self._peer_at = now + self._config.anti_entropy_s * (0.75 + 0.5 * self._random.random())
            peer = self._random.sample(peers, 1)[0] if peers else ""
        if self._lost_at is not None and now >= self._lost_at:
            pace_s = ROUND_INTERVALS * self._config.interval_s * (len(peers) + 1)
            self._lost_pause_s = min(2 * self._lost_pause_s, pace_s, self._config.anti_entropy_s)
            self._lost_at = now + self._lost_pause_s * (0.75 + 0.5 * self._random.random()) if lost else None
            for _ in range(min(self._config.fanout, len(lost))):
                self._lost_turn = (self._lost_turn + 1) % len(lost)
                called.append(lost[self._lost_turn])
        return Calls(peer, tuple(called))

    def next_deadline(self) -> float | None:
        """When the next call is due."""
        if self._peer_at is None or self._lost_at is None:
            return self._lost_at if self._peer_at is None else self._peer_at
        return min(self._peer_at, self._lost_at)
