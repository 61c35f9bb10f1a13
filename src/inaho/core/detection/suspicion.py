"""Decides how long a suspect may refute, and counts the sources that confirm the suspicion.

The time starts long and shrinks with each independent source that confirms (Lifeguard, "LHA-suspicion"): `max(min_s,
max_s - (max_s - min_s) * log(c + 1) / log(k + 1))` after `c` of `k` expected confirmations. One source may have a
broken link. So where two or more other members exist, time alone is not enough: a second source is needed
(`Detector.sources_needed`).

A source is this node itself, or an accuser that sent its accusation over its own connection. An accusation that another
member passes on is a reason to probe, and for the suspect to refute. It does not count as a source, because the member
that passes it on could have invented it.

A dead process cannot refute. When two sources have seen the process die, with its connection reset and its port
refused, waiting only delays the repair, so a short time is enough.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec

from inaho.config import DetectionConfig
from inaho.core.messages import SOURCES_MAX, Accusation

__all__ = ["Suspicion", "Suspicions", "suspicion_s"]


def suspicion_s(confirmations: int, expected: int, least_s: float, most_s: float) -> float:
    """How long a suspect may take to refute, seconds.

    Args:
        confirmations: sources beyond the first.
        expected: sources beyond the first that are possible in this cluster; 0 gives `least_s`.
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
        reason: the most specific evidence so far.
        since: when it began here, seconds.
        least_s, most_s, expected: of `suspicion_s`, as they were when it began.
        sources: distinct accusers that sent their accusation themselves, in order.
        named: all accusers that any message named, in order: these are passed on.
        dead_s: how long it has once enough sources have seen its process die.
        evidence: confirmations from connections, which are no sources.
        deaths: the sources that have seen the process die, in order.
        extended: whether its time was extended once because a source was missing.
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
    sources: list[str] = msgspec.field(default_factory=list[str])
    named: list[str] = msgspec.field(default_factory=list[str])
    deaths: list[str] = msgspec.field(default_factory=list[str])
    evidence: int = 0
    extended: bool = False

    @property
    def deadline(self) -> float:
        """When it is decided or lapses."""
        confirmations = max(0, len(self.sources) - 1) + self.evidence
        wait_s = suspicion_s(confirmations, self.expected, self.least_s, self.most_s)
        if len(self.deaths) >= min(2, self.expected + 1):
            return self.since + min(wait_s, self.dead_s)
        return self.since + wait_s + (self.most_s if self.extended else 0.0)

    def as_accusations(self) -> tuple[Accusation, ...]:
        """The accusations against the suspect, for it to refute."""
        return tuple(
            Accusation(self.authority, self.node_id, self.incarnation, source, self.reason) for source in self.named
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
        """Records an accusation.

        Args:
            accusation: of a live member at its present incarnation.
            others: members beside the suspect and this node: the number of possible further sources.
            heard: whether the accuser itself sent it to this node.

        Returns:
            Whether to pass it on: the accuser was not named before, or now reports that the process is dead.
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
        fresh = accuser not in known.named and len(known.named) < SOURCES_MAX
        if fresh:
            known.named.append(accuser)
        if heard and accuser not in known.sources and len(known.sources) < SOURCES_MAX:
            known.sources.append(accuser)
        if accusation.reason == "dead" and accuser in known.sources:
            known.reason = "dead"
            if accuser not in known.deaths:
                known.deaths.append(accuser)
                return True
        return fresh

    def confirm(self, authority: str, reason: str) -> None:
        """Records evidence that is no source: a reset connection and a refused dial count once."""
        known = self._open.get(authority)
        if known is not None:
            known.evidence = 1
            known.reason = reason

    def forget(self, authority: str) -> Suspicion | None:
        """The suspect refuted, is gone, or was decided."""
        return self._open.pop(authority, None)

    def clear(self) -> None:
        """Forgets all."""
        self._open.clear()

    def due(self, now: float) -> list[Suspicion]:
        """Suspicions whose time is up; the caller forgets, decides or extends each."""
        return [suspicion for suspicion in self._open.values() if suspicion.deadline <= now] if self._open else []

    def next_deadline(self) -> float | None:
        """When the next one is due."""
        return min([suspicion.deadline for suspicion in self._open.values()]) if self._open else None

    def check(self) -> None:
        """Asserts the invariants."""
        for suspicion in self._open.values():
            assert suspicion.sources or suspicion.named
            for sources in (suspicion.sources, suspicion.named):
                assert len(set(sources)) == len(sources) <= SOURCES_MAX
            assert all(source in suspicion.sources for source in suspicion.deaths)
            assert suspicion.least_s <= suspicion.most_s
