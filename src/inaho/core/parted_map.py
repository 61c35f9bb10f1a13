"""A map that grows in parts, because a large dict that grows stalls whoever adds to it.

A dict that is full is copied into one of twice the size in a single step: at 700,000 entries that takes 20 ms, and maps
that are filled side by side reach that size in the same call. So a map that may hold an entry per activation is several
dicts of bounded size. Below `PART_MAX` entries there is one, and whoever is in a hurry may use it directly.

Why the parts are not chosen by a hash of the key: a portable one takes longer to compute than ten dicts take to ask.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Generic, TypeVar

__all__ = ["PART_MAX", "PartedMap"]

V = TypeVar("V")

PART_MAX: Final = 80_000
"""Entries of one part. To grow to that takes 1.5 ms at most."""


class PartedMap(Generic[V]):
    """A map from text to values that are true.

    Attributes:
        newest: the part to which entries are added.
        older: the parts that are full, or were; mostly empty. A key is in one part only.
    """

    __slots__ = ("newest", "older")

    def __init__(self) -> None:
        self.newest: dict[str, V] = {}
        self.older: list[dict[str, V]] = []

    def __len__(self) -> int:
        return len(self.newest) + sum(map(len, self.older))

    def get(self, key: str) -> V | None:
        """The value of the key; None where there is none."""
        value = self.newest.get(key)
        return self._older(key) if value is None and self.older else value

    def _older(self, key: str) -> V | None:
        for part in self.older:
            value = part.get(key)
            if value is not None:
                return value
        return None

    def add(self, key: str, value: V) -> None:
        """Adds an entry. The key must not be in the map."""
        newest = self.newest
        if len(newest) >= PART_MAX:
            self.older.append(newest)
            newest = self.newest = {}
        newest[key] = value

    def remove(self, key: str) -> None:
        """Takes an entry out. Raises `KeyError` where there is none."""
        if self.newest.pop(key, None) is not None:
            return
        for part in self.older:
            if part.pop(key, None) is not None:
                if not part:
                    self.older.remove(part)
                return
        raise KeyError(key)

    def pop_last(self) -> str:
        """Takes out one of the keys that were added last. Raises `KeyError` when the map is empty."""
        if not self.newest and self.older:
            self.newest = self.older.pop()
        return self.newest.popitem()[0]

    def items(self) -> Iterator[tuple[str, V]]:
        """All entries, part by part. The map must not change meanwhile."""
        for part in (*self.older, self.newest):
            yield from part.items()

    def values(self) -> Iterator[V]:
        """All values, part by part. The map must not change meanwhile."""
        for part in (*self.older, self.newest):
            yield from part.values()

    def check(self) -> None:
        """Asserts that no part is too large or kept empty, and that no key is in two."""
        parts = (*self.older, self.newest)
        assert all(len(part) <= PART_MAX for part in parts)
        assert all(self.older)
        assert len({key for part in parts for key in part}) == len(self)
