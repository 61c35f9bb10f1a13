"""A counter with labels, bounded: several parts of a node count, and telemetry reads."""

from __future__ import annotations

from typing import Final

from inaho.core.rpc.throttle import OTHER
from inaho.observe.metrics import Sample

__all__ = ["LABELS_MAX", "LabelledCounter"]

LABELS_MAX: Final = 4096
"""Combinations of labels that one counter distinguishes; it counts further ones as `other`."""


class LabelledCounter:
    """Counts by label values. It is bounded, so that labels from outside cannot fill the memory."""

    __slots__ = ("_counts", "_size_max")

    def __init__(self, size_max: int = LABELS_MAX) -> None:
        self._counts: dict[tuple[str, ...], int] = {}
        self._size_max = size_max

    def add(self, *labels: str, count: int = 1) -> None:
        """Counts one more, or `count` more."""
        counts = self._counts
        if labels not in counts and len(counts) >= self._size_max:
            labels = (OTHER,) * len(labels)
        counts[labels] = counts.get(labels, 0) + count

    def get(self, *labels: str) -> int:
        """The count of these labels."""
        return self._counts.get(labels, 0)

    @property
    def samples(self) -> list[Sample]:
        """All counts, with their labels."""
        return list(self._counts.items())

    def check(self) -> None:
        """Asserts the invariants."""
        assert len(self._counts) <= self._size_max + 1
        assert all(count > 0 for count in self._counts.values())
