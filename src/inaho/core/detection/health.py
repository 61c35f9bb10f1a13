"""Estimates how slow this node itself is, and stretches its time-outs (Lifeguard's local health multiplier).

A slow node misses answers that have arrived, and accuses the members that sent them. So each sign that this node is
slow stretches its own time-outs: failed probes, helpers that do not even answer "not reached", accusations that it must
refute, a lag of the event loop. Each answered probe shortens them again.

Source: Dadgar, Phillips, Currey, "Lifeguard: Local Health Awareness for More Accurate Failure Detection" (2018).
"""

from __future__ import annotations

__all__ = ["LocalHealth"]


class LocalHealth:
    """A score from 0 (well) to `score_max`.

    Args:
        score_max: see `DetectionConfig.health_max`.
    """

    def __init__(self, score_max: int) -> None:
        self._score_max = score_max
        self.score = 0

    @property
    def multiplier(self) -> int:
        """The factor for this node's time-outs, 1 when well."""
        return self.score + 1

    def worse(self, by: int = 1) -> None:
        """Records a sign that this node is slow."""
        self.score = min(self._score_max, self.score + by)

    def better(self) -> None:
        """Records that a probe was answered in time."""
        self.score = max(0, self.score - 1)

    def check(self) -> None:
        """Asserts the invariants."""
        assert 0 <= self.score <= self._score_max
