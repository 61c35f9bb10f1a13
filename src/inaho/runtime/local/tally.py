"""Counts by the values of labels, bounded: several parts of a node count, and telemetry reads."""

from __future__ import annotations

from typing import Final

from inaho.core.rpc.throttle import OTHER
from inaho.observe.metrics import Sample

__all__ = ["LABELS_MAX", "Tally"]

LABELS_MAX: Final = 4096
"""Combinations of labels that one tally distinguishes; further ones count as `other`."""


class Tally:
    """Counts by the values of labels, bounded, so that labels from outside cannot fill the memory."""

    __slots__ = ("_counts", "_size_max")

    def __init__(self, size_max: int = LABELS_MAX) -> None:
        self._counts: dict[tuple[str, ...], int] = {}
        self._size_max = size_max

    def add(self, *labels: str) -> None:
        """Counts one more."""
        counts = self._counts
        if labels not in counts and len(counts) >= self._size_max:
            labels = (OTHER,) * len(labels)
        counts[labels] = counts.get(labels, 0) + 1

    def get(self, *labels: str) -> int:
        """How many of these labels."""
        return self._counts.get(labels, 0)

    @property
    def samples(self) -> list[Sample]:
        """All counts."""
        return list(self._counts.items())

    def check(self) -> None:
        """Asserts the invariants."""
        assert len(self._counts) <= self._size_max + 1
        assert all(count > 0 for count in self._counts.values())
