"""Finds activations that may be idle, in buckets by time, without a walk over all activations.

An activation is put into the bucket of the time at which it would be idle without further calls. At that time it is
checked once: if it was called since, it goes to the bucket of its new time; otherwise it is due. A call only sets the
activation's own time stamp, and a million idle activations cost one check each per time to live.

An activation that ends is not searched for in the buckets: its key is dropped when it is checked. An activation that
ends and starts again is in several buckets until then, but only once in each, so the number of its entries is bounded.
For that reason a bucket is a map and not a list.
"""

from __future__ import annotations

from collections.abc import Callable

from inaho.core.parted_map import PART_MAX, PartedMap

__all__ = ["IdleWheel"]

BUCKETS_PER_TTL = 16


class IdleWheel:
    """Keys of activations by the time at which they should be looked at (SPEC CL-5.3).

    Args:
        ttl_s: an activation untouched for this long is due, at most 1/16 of it late. Above 0.
    """

    def __init__(self, ttl_s: float) -> None:
        self._ttl_s = ttl_s
        self._width_s = ttl_s / BUCKETS_PER_TTL
        self._buckets: dict[int, PartedMap[bool]] = {}

    def add(self, key: str, touched_at: float) -> None:
        """Schedules the check of `key` for the time at which it could be idle; `touched_at` in monotonic seconds."""
        bucket = int((touched_at + self._ttl_s) / self._width_s) + 1
        keys = self._buckets.get(bucket)
        if keys is None:
            keys = self._buckets[bucket] = PartedMap()
        newest = keys.newest
        if not keys.older and len(newest) < PART_MAX:
            newest[key] = True
        elif keys.get(key) is None:
            keys.add(key, True)

    def due(
        self, now: float, touched_at: Callable[[str], float | None], most: int, found_max: int | None = None
    ) -> list[str]:
        """Takes out keys that have been idle for the time to live.

        Args:
            now: monotonic seconds.
            touched_at: when a key was last called; None when it is not active, which forgets it.
            most: bound of the keys that are checked, so that a call never waits long for this.
            found_max: bound of the keys that are returned, if ending them costs more than checking them.

        Returns:
            Keys that are due, each once.
        """
        found: dict[str, None] = {}
        current = int(now / self._width_s)
        for bucket in sorted(number for number in self._buckets if number <= current):
            keys = self._buckets[bucket]
            while len(keys) and most > 0 and (found_max is None or len(found) < found_max):
                most -= 1
                key = keys.pop_last()
                touched = touched_at(key)
                if touched is None:
                    continue
                if now >= touched + self._ttl_s:
                    found[key] = None
                else:
                    self.add(key, touched)
            if len(keys):
                break
            del self._buckets[bucket]
        return list(found)

    def behind(self, now: float) -> bool:
        """Whether there are keys that should have been checked by now."""
        return bool(self._buckets) and min(self._buckets) <= int(now / self._width_s)

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values()))

    def check(self) -> None:
        """Asserts that there is no empty bucket."""
        for number, keys in self._buckets.items():
            keys.check()
            assert len(keys), f"bucket {number} is empty and still there"
