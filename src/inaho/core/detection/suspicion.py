"""Decides when a suspect is unreachable: how long it may refute, and how many sources must agree.

The time starts long and shrinks with each independent voice that confirms (Lifeguard, "LHA-suspicion"):
`max(min_s, max_s - (max_s - min_s) * log(c + 1) / log(k + 1))` after `c` of `k` expected confirmations. One voice may
be a broken link; so where two or more others exist, time alone carries no accusation: it takes a second voice.

A voice is one that this node has heard itself: its own, or an accuser's over the accuser's own connection. What others
say that somebody said is a reason to look, and for the suspect to hear and refute; it counts for nothing, because
whoever passes it on could have made it up.

Who is dead cannot refute. When two voices have seen the process die, with its connection reset and its port refused,
waiting only delays the repair, so a short time is enough.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec

from inaho.config import DetectionConfig
from inaho.core.messages import VOICES_MAX, Accusation

__all__ = ["Suspicion", "Suspicions", "suspicion_s"]


def suspicion_s(confirmations: int, expected: int, least_s: float, most_s: float) -> float:
    """How long a suspect may take to refute, seconds.

    Args:
        confirmations: voices beyond the first.
        expected: voices beyond the first that this cluster can give; 0 gives `least_s`.
        least_s: with all of them.
        most_s: with none of them.
    """
    if expected < 1:
        return least_s
    share = math.log(confirmations + 1) / math.log(expected + 1)
    return max(least_s, most_s - (most_s - least_s) * share)


class Suspicion(msgspec.Struct):
    """One suspect.

    Attributes:
        authority, node_id, incarnation: who is suspected.
        reason: the most telling evidence so far.
        since: when it began here, seconds.
        least_s, most_s, expected: of `suspicion_s`, as they were when it began.
        voices: distinct accusers that were heard, in order.
        named: all that are said to accuse it, in order: what is passed on.
        dead_s: how long it has once enough voices have seen its process die.
        evidence: confirmations from connections, which are no voices.
        deaths: those of the voices that have seen the process die, in order.
        extended: whether it has been given time once more for want of voices.
    """

    authority: str
    node_id: str
    incarnation: int
    reason: str
    since: float
    least_s: float
    most_s: float
    expected: int
    dead_s: float
    voices: list[str] = msgspec.field(default_factory=list[str])
    named: list[str] = msgspec.field(default_factory=list[str])
    deaths: list[str] = msgspec.field(default_factory=list[str])
    evidence: int = 0
    extended: bool = False

    @property
    def deadline(self) -> float:
        """When it is carried or lapses."""
        confirmations = max(0, len(self.voices) - 1) + self.evidence
        wait_s = suspicion_s(confirmations, self.expected, self.least_s, self.most_s)
        if len(self.deaths) >= min(2, self.expected + 1):
            return self.since + min(wait_s, self.dead_s)
        return self.since + wait_s + (self.most_s if self.extended else 0.0)

    def as_accusations(self) -> tuple[Accusation, ...]:
        """What is said against the suspect, for it to hear and refute."""
        return tuple(
            Accusation(self.authority, self.node_id, self.incarnation, voice, self.reason) for voice in self.named
        )


class Suspicions:
    """The suspects of one node.

    Args:
        config: `suspicion_factor` and its maximum, and the probe interval.
    """

    def __init__(self, config: DetectionConfig) -> None:
        self._config = config
        self._open: dict[str, Suspicion] = {}

    def __contains__(self, authority: object) -> bool:
        return authority in self._open

    def __iter__(self) -> Iterator[Suspicion]:
        return iter(self._open.values())

    def get(self, authority: str) -> Suspicion | None:
        """The suspicion of that authority."""
        return self._open.get(authority)

    def accuse(self, now: float, accusation: Accusation, others: int, heard: bool = True) -> bool:
        """Notes an accusation.

        Args:
            accusation: of a live member at its present incarnation.
            others: members beside the suspect and this node: how many further voices there can be.
            heard: whether the accuser said so itself, to us.

        Returns:
            Whether to pass it on: an accuser that was not named before, or one that now says that the process is dead.
        """
        known = self._open.get(accusation.authority)
        if known is None or known.node_id != accusation.node_id or known.incarnation < accusation.incarnation:
            least_s = self._config.suspicion_factor * math.log10(others + 2 + 9) * self._config.probe_interval_s
            most_s = least_s * self._config.suspicion_factor_max
            known = self._open[accusation.authority] = Suspicion(
                accusation.authority,
                accusation.node_id,
                accusation.incarnation,
                accusation.reason,
                now,
                least_s,
                most_s,
                min(others, self._config.indirect_probes),
                self._config.dead_after_s,
            )
        accuser = accusation.accuser
        fresh = accuser not in known.named and len(known.named) < VOICES_MAX
        if fresh:
            known.named.append(accuser)
        if heard and accuser not in known.voices and len(known.voices) < VOICES_MAX:
            known.voices.append(accuser)
        if accusation.reason == "dead" and accuser in known.voices:
            known.reason = "dead"
            if accuser not in known.deaths:
                known.deaths.append(accuser)
                return True
        return fresh

    def confirm(self, authority: str, reason: str) -> None:
        """Evidence that is no voice: a reset connection and a refused dial count once."""
        known = self._open.get(authority)
        if known is not None:
            known.evidence = 1
            known.reason = reason

    def forget(self, authority: str) -> Suspicion | None:
        """The suspect refuted, is gone, or was carried."""
        return self._open.pop(authority, None)

    def clear(self) -> None:
        """Forgets all."""
        self._open.clear()

    def due(self, now: float) -> list[Suspicion]:
        """Suspicions whose time is up; the caller forgets, carries or extends each."""
        return [suspicion for suspicion in self._open.values() if suspicion.deadline <= now] if self._open else []

    def next_deadline(self) -> float | None:
        """When the next one is due."""
        return min([suspicion.deadline for suspicion in self._open.values()]) if self._open else None

    def check(self) -> None:
        """Asserts the invariants."""
        for suspicion in self._open.values():
            assert suspicion.voices or suspicion.named
            for voices in (suspicion.voices, suspicion.named):
                assert len(set(voices)) == len(voices) <= VOICES_MAX
            assert all(voice in suspicion.voices for voice in suspicion.deaths)
            assert suspicion.least_s <= suspicion.most_s
