"""Caches at which node each identity was last reached (`PidCache`).

Every call begins with this look-up, so it must cost next to nothing: two dictionary look-ups and a flag (SPEC VA-3.1).

Eviction is CLOCK, the second-chance form of LRU: entries are in a ring, and a hit sets the entry's flag. When room is
needed, a hand goes round, clears flags and takes the first entry that had none. Entries used since the hand last passed
stay, entries used once go first; so a scan over a million keys does not empty the cache. One eviction looks at no more
than `_HAND_STEPS_MAX` entries and then takes the next one, so that no single `put` pays for a whole round.

Why not true LRU: moving an entry to the front on every hit costs more than the rest of the hit, and gives a better
order only among entries that are about to leave anyway.

Events: an entry that leaves because something changed (moved, replaced, node gone, blocked, quarantined) is an
invalidation and yields `PidInvalidated` (SPEC CL-5). An entry that leaves because of its age or to make room is only
counted, since its Pid was still good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from inaho.events import PidInvalidated
from inaho.types import Pid

__all__ = ["PidCache"]

_HAND_STEPS_MAX: Final = 128
_NONE: Final[tuple[PidInvalidated, ...]] = ()


class _Entry(msgspec.Struct, eq=False, gc=False):
    """One entry. There are 100,000 of them, so they are kept from the garbage collector: they are in no circle."""

    pid: Pid
    authority: str
    """That of `pid`, one step nearer for whoever looks at all entries."""
    expires_at: float
    index: int
    """Place in the ring."""
    used: bool = False
    """Since the hand last passed."""


class PidCache:
    """A bounded map from identity to Pid, with a time to live (SPEC CL-5, VA-3.1, VA-3.5).

    Args:
        size: most entries; `activation.pid_cache_size`.
        ttl_s: an entry older than this is resolved anew; `activation.pid_cache_ttl_s`.

    Attributes:
        hits: `get` found a Pid.
        misses: `get` found none, or one too old.
        evictions: entries that were dropped to make room.
        expirations: entries that were found too old.
        invalidations: entries that were dropped because something changed.

    Raises:
        ValueError: `size` or `ttl_s` is not above 0.
    """

    __slots__ = (
        "_free", "_hand", "_kinds", "_ring", "_size", "_ttl_s",
        "evictions", "expirations", "hits", "invalidations", "misses",
    )  # fmt: skip

    def __init__(self, size: int, ttl_s: float) -> None:
        if size < 1:
            raise ValueError(f"size must be above 0, not {size}")
        if not ttl_s > 0:
            raise ValueError(f"ttl_s must be above 0, not {ttl_s}")
        self._size = size
        self._ttl_s = ttl_s
        self._kinds: dict[str, dict[str, _Entry]] = {}
        self._ring: list[_Entry | None] = []
        self._free: list[int] = []  # places in the ring that are empty
        self._hand = 0
        self.hits = 0
        self.misses = 0
        self.evictions = 0
        self.expirations = 0
        self.invalidations = 0

    def __len__(self) -> int:
        return len(self._ring) - len(self._free)

    @property
    def places(self) -> int:
        """Places in the ring, empty ones included: the range that `retain` walks in slices."""
        return len(self._ring)

    def get(self, kind: str, key: str, now: float) -> Pid | None:
        """The Pid under which an identity was last reached, or None.

        Args:
            kind: of the grain.
            key: of the grain.
            now: seconds, monotonic.
        """
        keys = self._kinds.get(kind)
        if keys is not None:
            entry = keys.get(key)
            if entry is not None:
                if now < entry.expires_at:
                    if not entry.used:  # to look costs less than to set
                        entry.used = True
                    self.hits += 1
                    return entry.pid
                self._remove(entry)
                self.expirations += 1
        self.misses += 1
        return None

    def peek(self, kind: str, key: str) -> Pid | None:
        """As `get`, without counting, however old the entry is."""
        keys = self._kinds.get(kind)
        entry = None if keys is None else keys.get(key)
        return None if entry is None else entry.pid

    def put(self, pid: Pid, now: float) -> tuple[PidInvalidated, ...]:
        """Stores a Pid that was just reached; its time to live starts at `now`.

        Returns:
            An event when it takes the place of another node's, or another boot's, Pid; else nothing.
        """
        identity = pid.identity
        keys = self._kinds.get(identity.kind)
        entry = None if keys is None else keys.get(identity.key)
        if entry is not None:
            before = entry.pid
            entry.pid = pid
            entry.authority = pid.authority
            entry.expires_at = now + self._ttl_s
            if before.node_id == pid.node_id and before.authority == pid.authority:
                return _NONE
            self.invalidations += 1
            return (_event(identity.kind, identity.key, before.authority, "replaced", 1),)
        index = self._place(now)
        entry = _Entry(pid, pid.authority, now + self._ttl_s, index)
        self._ring[index] = entry
        self._kinds.setdefault(identity.kind, {})[identity.key] = entry
        return _NONE

    def invalidate(self, kind: str, key: str, reason: str) -> tuple[PidInvalidated, ...]:
        """Drops one identity, for example after a call that its Pid did not answer (SPEC VA-3.2).

        Returns:
            The event to publish, or nothing when the identity was not cached.
        """
        keys = self._kinds.get(kind)
        entry = None if keys is None else keys.get(key)
        if entry is None:
            return _NONE
        self._remove(entry)
        self.invalidations += 1
        return (_event(kind, key, entry.pid.authority, reason, 1),)

    def invalidate_at(self, kind: str, key: str, node_id: str, reason: str) -> tuple[PidInvalidated, ...]:
        """As `invalidate`, if the identity was last reached on that very node: its activation there has ended."""
        keys = self._kinds.get(kind)
        entry = None if keys is None else keys.get(key)
        return self.invalidate(kind, key, reason) if entry is not None and entry.pid.node_id == node_id else _NONE

    def invalidate_authority(self, authority: str, reason: str) -> tuple[PidInvalidated, ...]:
        """As `invalidate_authorities`, for one."""
        return self.invalidate_authorities((authority,), reason)

    def invalidate_authorities(self, authorities: Iterable[str], reason: str) -> tuple[PidInvalidated, ...]:
        """Drops everything on some nodes: they departed, were blocked or quarantined (SPEC VA-3.5, VA-1.4).

        One pass over the ring, without slices, because nothing may be sent there any more: with 100,000 entries 3 ms,
        and 0.3 us more for each dropped entry.

        Returns:
            One event per authority with the count, its key empty; nothing for one of which nothing was cached.
        """
        counts = dict.fromkeys(authorities, 0)
        if not counts:
            return _NONE
        for entry in [entry for entry in self._ring if entry is not None and entry.authority in counts]:
            self._remove(entry)
            counts[entry.authority] += 1
        self.invalidations += sum(counts.values())
        return tuple([_event("", "", authority, reason, count) for authority, count in counts.items() if count])

    def retain(
        self, keep: Callable[[Pid], bool], reason: str, start: int = 0, count: int | None = None
    ) -> tuple[PidInvalidated, ...]:
        """Drops the entries that `keep` refuses, as after a change of ownership.

        It may run in slices, `for start in range(0, cache.places, step)`, so that calls are served between them.
        Until its slice is done, a stale entry costs its caller one refusal (`OwnershipChanged`) and a retry.

        Args:
            keep: whether a Pid is still good; must not touch this cache.
            reason: for the events.
            start: first place of the ring to look at.
            count: places to look at; None: all from `start`.

        Returns:
            An event per kind and authority with the count; its key is named when only one entry went.
        """
        dropped: dict[tuple[str, str], list[str]] = {}
        for entry in self._ring[start : None if count is None else start + count]:
            if entry is not None and not keep(entry.pid):
                self._remove(entry)
                identity = entry.pid.identity
                dropped.setdefault((identity.kind, entry.pid.authority), []).append(identity.key)
        events: list[PidInvalidated] = []
        for (kind, authority), keys in dropped.items():
            self.invalidations += len(keys)
            events.append(_event(kind, keys[0] if len(keys) == 1 else "", authority, reason, len(keys)))
        return tuple(events)

    def clear(self, reason: str) -> tuple[PidInvalidated, ...]:
        """Drops everything.

        Returns:
            One event with the count, its kind, key and authority empty; nothing when the cache was empty.
        """
        count = len(self)
        self._kinds.clear()
        self._ring.clear()
        self._free.clear()
        self._hand = 0
        self.invalidations += count
        return (_event("", "", "", reason, count),) if count else _NONE

    def check(self) -> None:
        """Asserts that the two indexes agree, that the bound holds and that no place is lost."""
        assert len(self._ring) <= self._size, f"{len(self._ring)} places, bound {self._size}"
        assert len(self) == sum(len(keys) for keys in self._kinds.values()), "indexes differ in size"
        assert all(self._kinds.values()), "an empty kind was kept"
        for index, entry in enumerate(self._ring):
            if entry is not None:
                identity = entry.pid.identity
                assert entry.authority == entry.pid.authority
                assert entry.index == index, f"place {index} holds the entry of {entry.index}"
                assert self._kinds[identity.kind][identity.key] is entry, f"{identity} is not indexed"
        assert sorted(self._free) == [index for index, entry in enumerate(self._ring) if entry is None], "free places"

    def _place(self, now: float) -> int:
        """An empty place in the ring, made by an eviction if there is none."""
        if self._free:
            return self._free.pop()
        ring = self._ring
        if len(ring) < self._size:
            ring.append(None)
            return len(ring) - 1
        index = self._hand
        for _ in range(_HAND_STEPS_MAX):
            entry = ring[index]
            if entry is None or not entry.used or now >= entry.expires_at:
                break
            entry.used = False
            index = index + 1 if index + 1 < len(ring) else 0
        victim = ring[index]
        self._hand = index + 1 if index + 1 < len(ring) else 0
        if victim is not None:
            self._remove(victim)
            self._free.pop()
            self.evictions += 1
        return index

    def _remove(self, entry: _Entry) -> None:
        identity = entry.pid.identity
        keys = self._kinds[identity.kind]
        del keys[identity.key]
        if not keys:
            del self._kinds[identity.kind]
        self._ring[entry.index] = None
        self._free.append(entry.index)


def _event(kind: str, key: str, authority: str, reason: str, count: int) -> PidInvalidated:
    return PidInvalidated(kind=kind, key=key, authority=authority, reason=reason, count=count)
