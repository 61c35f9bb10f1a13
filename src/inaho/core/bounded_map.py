"""A dict with a bound: beyond its size it forgets the oldest entry.

What a node remembers of other nodes is bounded, since other nodes decide how much there is to remember. The age of an
entry is the time since its key was added. Setting the key again does not change the age; `renew` does.

Why not a cache that forgets the least recently read entry: reading would have to write, and almost none of these maps
is a cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, overload

__all__ = ["BoundedMap"]

K = TypeVar("K")
V = TypeVar("V")


class BoundedMap(dict[K, V]):
    """As a dict, with at most `size_max` entries.

    Args:
        size_max: entries that are kept, at least 1; one more makes the oldest go.
    """

    __slots__ = ("_size_max",)

    def __init__(self, size_max: int) -> None:
        assert size_max >= 1, f"a map of {size_max} entries"
        super().__init__()
        self._size_max = size_max

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        if len(self) > self._size_max:
            del self[next(iter(self))]

    def renew(self, key: K, value: V) -> None:
        """Sets an entry and makes it the newest."""
        self.pop(key, None)
        self[key] = value

    @overload
    def setdefault(self: BoundedMap[K, V | None], key: K, default: None = None, /) -> V | None: ...
    @overload
    def setdefault(self, key: K, default: V, /) -> V: ...
    def setdefault(self, key: K, default: Any = None, /) -> Any:
        """As of a dict; within the bound."""
        if key not in self:
            self[key] = default
        return self[key]

    def update(self, other: Mapping[K, V] | Iterable[tuple[K, V]], /) -> None:  # type: ignore[override]
        """As of a dict, without keywords; within the bound."""
        for key, value in dict(other).items():
            self[key] = value

    def __ior__(self, other: Mapping[K, V] | Iterable[tuple[K, V]]) -> BoundedMap[K, V]:  # type: ignore[override,misc]
        self.update(other)
        return self

    def check(self) -> None:
        """Asserts the bound."""
        assert len(self) <= self._size_max, f"{len(self)} entries, the most is {self._size_max}"
