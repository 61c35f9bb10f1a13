"""Decides when to send which gossip to which peer, until the tables are equal.

Three phases (SPEC CL-7.2). *Diffusing*: there are rumours, and each round pushes them to a few random peers. If there
are more rumours than one push holds, one of these peers gets a digest instead, and answers with what is missing.
*Reconciling*: no rumours are left, but some peers are known to differ, or too few have acknowledged. Digests are
exchanged with these peers, with exponential back-off, and after `reconcile_rounds_max` the whole table. *Confirmed*:
enough peers have acknowledged exactly this table, and the engine has no deadline.

The engine sees marks (version and hash), not tables: one comparison shows whether a peer agrees. Why acknowledgements
from a sample and not from all: in a small cluster the sample is all; in a large one acknowledgements of all would cost
n messages per node.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from inaho.config import GossipConfig
from inaho.core.back_off import back_off_s
from inaho.core.gossip.convergence import ConvergenceClock
from inaho.core.gossip.rumours import RumourQueue, retransmit_limit
from inaho.core.inputs import RandomSource
from inaho.core.messages import Accusation, BlockNotice
from inaho.errors import IllegalTransition

__all__ = ["CONFIRMED", "DIFFUSING", "RECONCILING", "GossipEngine", "Push", "Reconcile", "Round"]

Phase = str
DIFFUSING: Final[Phase] = "diffusing"
RECONCILING: Final[Phase] = "reconciling"
CONFIRMED: Final[Phase] = "confirmed"

AGREEING_ENOUGH: Final = 3
"""Rumours are dropped when so many times `fanout` peers knew them already: they are old by then, and a peer that
missed one notices that its mark differs."""

ALL_AT_ONCE: Final = 2
"""If there are at most so many times `fanout` peers, each round sends to all of them."""

TRANSITIONS: Final[dict[tuple[Phase, str], Phase]] = {
    (CONFIRMED, "news"): DIFFUSING,
    (CONFIRMED, "difference"): RECONCILING,
    (DIFFUSING, "news"): DIFFUSING,
    (DIFFUSING, "spent"): RECONCILING,
    (DIFFUSING, "agreed"): CONFIRMED,
    (RECONCILING, "news"): DIFFUSING,
    (RECONCILING, "difference"): RECONCILING,
    (RECONCILING, "agreed"): CONFIRMED,
}


class Push(msgspec.Struct, frozen=True):
    """Push rumours to these peers, each rumour at most `limit` times in all."""

    targets: tuple[str, ...]
    limit: int


class Reconcile(msgspec.Struct, frozen=True):
    """Exchange digests with that peer; `full` sends the whole table instead."""

    authority: str
    full: bool


Round = Push | Reconcile


class Difference(msgspec.Struct):
    """A peer whose table differs from this node's: rounds so far, and when the next one is due."""

    due: float
    rounds: int = 0


class GossipEngine:
    """Gossip of one node.

    Args:
        config: intervals and bounds.
        random: chooses peers.
    """

    def __init__(self, config: GossipConfig, random: RandomSource) -> None:
        self._config = config
        self._random = random
        self.phase: Phase = CONFIRMED
        self.rumours = RumourQueue(config.push_bytes_max, config.accusations_max)
        self.clock = ConvergenceClock(config.convergence_s)
        self._round_at = 0.0
        self._sample_rounds = 0
        # Peers that acknowledged exactly this node's table, in order of acknowledgement.
        self._agreeing: dict[str, None] = {}
        self._differing: dict[str, Difference] = {}

    @property
    def behind(self) -> tuple[str, ...]:
        """Peers known to differ."""
        return tuple(sorted(self._differing))

    @property
    def shared(self) -> bool:
        """Whether at least one peer has exactly this node's present table."""
        return bool(self._agreeing)

    # What there is to send.

    def news_of(self, now: float, origin: str, from_version: int) -> None:
        """There are new statements of `origin` after `from_version`."""
        self.rumours.origin(origin, from_version)
        self._table_changed(now)

    def blocked(self, now: float, notice: BlockNotice) -> None:
        """The block list changed."""
        self.rumours.block(notice)
        self._table_changed(now)

    def accused(self, now: float, accusation: Accusation) -> None:
        """A member is accused. An accusation is not part of the table, so tables stay equal."""
        self.rumours.accusation(accusation)
        self._to_diffusing(now)

    def hurry(self, now: float) -> None:
        """Sends at once what this node states about itself, such as a leave, without waiting for the next round."""
        if self.phase is DIFFUSING:
            self._round_at = min(self._round_at, now)

    def _table_changed(self, now: float) -> None:
        self._agreeing.clear()
        self.clock.start(now)
        self._to_diffusing(now)

    def _to_diffusing(self, now: float) -> None:
        if self.phase is not DIFFUSING:
            self._transit("news")
            self._round_at = now

    # What peers report about themselves.

    def heard(self, now: float, authority: str, equal: bool) -> None:
        """A mark of that peer arrived: `equal` when it has this node's version and hash."""
        if equal:
            self._differing.pop(authority, None)
            self._agreeing[authority] = None
            return
        self._agreeing.pop(authority, None)
        if self.phase is DIFFUSING:
            return
        if authority not in self._differing:
            if len(self._differing) >= self._config.reconcile_peers_max:
                return
            # Not at once: the statements that make the difference are probably on their way.
            self._differing[authority] = Difference(now + 2 * self._config.interval_s)
        self.clock.start(now)
        if self.phase is CONFIRMED:
            self._transit("difference")
            self._round_at = now + 2 * self._config.interval_s

    def differs(self, now: float, authority: str) -> None:
        """That peer is to be reconciled with now: it is unknown here, or it answered a digest with more to come."""
        if len(self._differing) < self._config.reconcile_peers_max or authority in self._differing:
            known = self._differing.setdefault(authority, Difference(now))
            if known.rounds:
                # Its answer may differ as well, and be held back: one round per interval, not one per answer.
                known.due = min(known.due, now + self._config.interval_s)
            self.clock.start(now)
            if self.phase is CONFIRMED:
                self._transit("difference")

    def tried(self, authority: str) -> bool:
        """Whether digests were exchanged with that peer, and it still differs."""
        known = self._differing.get(authority)
        return known is not None and known.rounds > 1

    def agrees(self, peers: Sequence[str]) -> bool:
        """Whether enough of `peers` have acknowledged this node's table: all, or `fanout` of them."""
        agreeing = sum(1 for authority in peers if authority in self._agreeing)
        return agreeing >= min(len(peers), self._config.fanout)

    def acknowledged(self, peers: Sequence[str]) -> bool:
        """Whether any of `peers` has exactly this node's table."""
        return any(authority in self._agreeing for authority in peers)

    def forget(self, authority: str) -> None:
        """The peer is no member any more, or is another node now."""
        self._agreeing.pop(authority, None)
        self._differing.pop(authority, None)

    def reset(self) -> None:
        """There is a new table: rumours of the old one are void."""
        self.rumours.clear()
        self._agreeing.clear()
        self._differing.clear()
        self.clock = ConvergenceClock(self._config.convergence_s)
        self.phase = CONFIRMED

    # Time.

    def poll(self, now: float, peers: Sequence[str]) -> list[Round]:
        """What is due: pushes while there are rumours, else exchanges with peers that differ.

        Args:
            peers: authorities of the other members that can be reached.
        """
        if self.phase is CONFIRMED:
            return []
        if len(self._agreeing) >= AGREEING_ENOUGH * self._config.fanout or self._all_agree(peers):
            self.rumours.settle()
        if self.phase is DIFFUSING:
            if self.rumours and peers:
                return self._push(now, peers)
            self.rumours.clear()
            self._transit("agreed" if self._settled(peers) else "spent")
            self._round_at = now + 2 * self._config.interval_s
            self._sample_rounds = 0
        if self.phase is RECONCILING:
            if self._settled(peers):
                self._transit("agreed")
                return []
            return self._reconcile(now, peers)
        return []

    def _push(self, now: float, peers: Sequence[str]) -> list[Round]:
        if now < self._round_at:
            return []
        self._round_at = now + self._config.interval_s
        # The number of copies is bounded in any case. If it is enough for all peers, one round sends to all.
        count = len(peers) if len(peers) <= ALL_AT_ONCE * self._config.fanout else self._config.fanout
        targets = tuple(self._random.sample(peers, count))
        limit = retransmit_limit(self._config.retransmit_factor, len(peers) + 1)
        if self.rumours.crowded and len(targets) > 1:
            # So much is new, as when a whole cluster starts, that asking one peer what it lacks is quicker than
            # guessing.
            return [Reconcile(targets[0], full=False), Push(targets[1:], limit)]
        return [Push(targets, limit)]

    def _reconcile(self, now: float, peers: Sequence[str]) -> list[Round]:
        rounds: list[Round] = []
        for authority, difference in self._differing.items():
            if difference.due <= now:
                difference.rounds += 1
                difference.due = now + self._backoff_s(difference.rounds)
                rounds.append(Reconcile(authority, difference.rounds > self._config.reconcile_rounds_max))
        for authority in [a for a, d in self._differing.items() if d.rounds > 2 * self._config.reconcile_rounds_max]:
            # It does not answer, or cannot agree. Anti-entropy tries again later.
            del self._differing[authority]
        if not rounds and now >= self._round_at:
            silent = [authority for authority in peers if authority not in self._agreeing]
            self._sample_rounds += 1
            self._round_at = now + self._backoff_s(self._sample_rounds)
            for authority in self._random.sample(silent, min(self._config.fanout, len(silent))):
                rounds.append(Reconcile(authority, full=False))
        return rounds

    def _backoff_s(self, rounds: int) -> float:
        return back_off_s(self._config.interval_s, self._config.anti_entropy_s, rounds + 1)

    def _all_agree(self, peers: Sequence[str]) -> bool:
        return len(self._agreeing) >= len(peers) and all(authority in self._agreeing for authority in peers)

    def _settled(self, peers: Sequence[str]) -> bool:
        return not self._differing and self.agrees(peers)

    def next_deadline(self) -> float | None:
        """When `poll` has something to do; None while confirmed."""
        if self.phase is CONFIRMED:
            return None
        due = [difference.due for difference in self._differing.values()] if self.phase is RECONCILING else []
        late = self.clock.next_deadline()
        return min([self._round_at, *due] if late is None else [self._round_at, late, *due])

    def _transit(self, event: str) -> None:
        after = TRANSITIONS.get((self.phase, event))
        if after is None:
            raise IllegalTransition(f"gossip has no {event!r} while {self.phase}")
        self.phase = after

    def check(self) -> None:
        """Asserts the invariants."""
        self.rumours.check()
        assert len(self._differing) <= self._config.reconcile_peers_max
        if self.phase is CONFIRMED:
            assert not self.rumours
            assert not self._differing
