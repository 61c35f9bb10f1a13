"""Decides which member to probe next, directly and then through other members (SWIM).

A probe has its own stages: `DIRECT` until the time-out, `INDIRECT` for the same time again, then failed. An answer ends
it at any time. So the interval may be shorter than a whole probe, and a lost packet costs one relay instead of an
accusation. Round robin bounds the time until a dead member is probed. Each node has a random order of its own, so that
nodes do not probe the same member at the same time. The order does not change between rounds: if it did, a member that
was first in one round and last in the next would not be probed for almost two rounds.

Source: Das, Gupta, Motivala, "SWIM: Scalable Weakly-consistent Infection-style Process Group Membership" (2002).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec

from inaho.config import DetectionConfig
from inaho.core.inputs import RandomSource
from inaho.types import Member

__all__ = ["Outstanding", "Prober"]

URGENT_MAX: Final = 64
DIRECT: Final = "direct"
INDIRECT: Final = "indirect"


class Outstanding(msgspec.Struct):
    """A probe that waits for its answer.

    Attributes:
        sequence: its number; the answer repeats it.
        member: who is probed.
        due: when the present stage ends, seconds.
        stage: `direct` or `indirect`.
        asked_by: authority for which this is a relay; empty for our own probe.
        asked_sequence: the asker's number.
        helpers: authorities that were asked to relay.
        refusals: helpers that reported that they could not reach it either.
    """

    sequence: int
    member: Member
    due: float
    stage: str = DIRECT
    asked_by: str = ""
    asked_sequence: int = 0
    helpers: tuple[str, ...] = ()
    refusals: list[str] = msgspec.field(default_factory=list[str])


class Prober:
    """The probes of one node.

    Args:
        config: interval, time-out, bound.
        random: shuffles.
    """

    def __init__(self, config: DetectionConfig, random: RandomSource) -> None:
        self._config = config
        self._random = random
        # The order of the round, and whose turn is next. Rebuilt only when the members change.
        self._ring: list[str] = []
        self._place = 0
        self._others: Sequence[Member] = ()
        self._urgent: deque[str] = deque(maxlen=URGENT_MAX)
        self._waiting: dict[int, Outstanding] = {}
        self._sequence = 0
        self._next_at: float | None = None

    def start(self, now: float) -> None:
        """This node is a member: probe from now on."""
        self._next_at = now + self._config.probe_interval_s * self._random.random()

    def stop(self) -> None:
        """No member any more."""
        self._next_at = None
        self._waiting.clear()
        self._urgent.clear()
        self._ring, self._place, self._others = [], 0, ()

    def urge(self, authority: str) -> None:
        """Probe that authority at the next opportunity, out of turn."""
        if self._next_at is not None and authority not in self._urgent:
            self._urgent.append(authority)

    def take_urgent(self) -> list[str]:
        """Authorities to probe out of turn."""
        if not self._urgent:
            return []
        urgent = list(self._urgent)
        self._urgent.clear()
        return urgent

    def is_turn(self, now: float) -> bool:
        """Whether it is time to call `turn`."""
        return self._next_at is not None and now >= self._next_at

    def turn(self, now: float, multiplier: int, others: Sequence[Member]) -> str:
        """The authority to probe now, empty when there is none; `multiplier` stretches the interval."""
        if self._next_at is None or now < self._next_at:
            return ""
        self._next_at = now + self._config.probe_interval_s * multiplier
        if others is not self._others:
            self._rearrange(others)
        if not self._ring:
            return ""
        self._place = (self._place + 1) % len(self._ring)
        return self._ring[self._place]

    def _rearrange(self, others: Sequence[Member]) -> None:
        """Takes out members that are gone, and puts new members at random places of the round."""
        self._others = others
        authorities = dict.fromkeys(member.authority for member in others)
        passed = sum(authority in authorities for authority in self._ring[: self._place + 1])
        self._ring = [authority for authority in self._ring if authority in authorities]
        present = dict.fromkeys(self._ring)
        fresh = [authority for authority in authorities if authority not in present]
        self._random.shuffle(fresh)
        if not self._ring:
            self._ring, self._place = fresh, 0
            return
        self._place = max(0, passed - 1)
        for authority in fresh:
            at = int(self._random.random() * (len(self._ring) + 1))
            self._ring.insert(at, authority)
            self._place += at <= self._place

    def begin(
        self, now: float, member: Member, multiplier: int, asked_by: str = "", asked_sequence: int = 0
    ) -> int | None:
        """Begins a probe; returns its number, None when too many wait already."""
        if len(self._waiting) >= self._config.probes_max:
            return None
        self._sequence += 1
        due = now + self._config.probe_timeout_s * multiplier
        self._waiting[self._sequence] = Outstanding(
            self._sequence, member, due, asked_by=asked_by, asked_sequence=asked_sequence
        )
        return self._sequence

    def probing(self, authority: str) -> bool:
        """Whether an own probe of that authority is waiting."""
        return any(not probe.asked_by and probe.member.authority == authority for probe in self._waiting.values())

    def failing(self, authority: str) -> bool:
        """Whether an own probe of that authority has gone unanswered for the time of a direct answer."""
        return any(
            not probe.asked_by and probe.stage is INDIRECT and probe.member.authority == authority
            for probe in self._waiting.values()
        )

    def answered(self, sequence: int, node_id: str) -> Outstanding | None:
        """That node answered; returns the probe that this ends, None for a stale or foreign answer."""
        probe = self._waiting.get(sequence)
        if probe is None or probe.member.node_id != node_id:
            return None
        return self._waiting.pop(sequence)

    def not_reached(self, now: float, sequence: int, node_id: str, helper: str) -> None:
        """A helper could not reach it either. When all helpers have reported this, the probe ends."""
        probe = self._waiting.get(sequence)
        if probe is None or probe.member.node_id != node_id or helper not in probe.helpers:
            return
        if helper not in probe.refusals:
            probe.refusals.append(helper)
            if len(probe.refusals) == len(probe.helpers):
                probe.due = min(probe.due, now)

    def go_indirect(self, now: float, probe: Outstanding, helpers: Sequence[str], multiplier: int) -> None:
        """The direct answer did not come: helpers were asked."""
        probe.stage, probe.helpers = INDIRECT, tuple(helpers)
        probe.due = now + self._config.probe_timeout_s * (multiplier if helpers else 0)

    def finish(self, probe: Outstanding) -> None:
        """The probe failed."""
        self._waiting.pop(probe.sequence, None)

    def due(self, now: float) -> list[Outstanding]:
        """Probes whose present stage has ended."""
        return [probe for probe in self._waiting.values() if probe.due <= now] if self._waiting else []

    def next_deadline(self) -> float | None:
        """When something is due."""
        if self._next_at is None:
            return None
        due = self._next_at
        for probe in self._waiting.values():
            due = min(due, probe.due)
        return due

    def check(self) -> None:
        """Asserts the invariants."""
        assert len(self._waiting) <= self._config.probes_max
        for sequence, probe in self._waiting.items():
            assert probe.sequence == sequence
            assert probe.stage in (DIRECT, INDIRECT)
            assert len(probe.refusals) <= len(probe.helpers)
        assert not self._ring or 0 <= self._place < len(self._ring)
