"""Holds the load of each member as this node knows it, for placement on the least loaded host.

A load is a hint, so it costs no message of its own and nothing waits for it. Every mark carries the sender's, which
keeps a small cluster up to date by its probes alone. In a large one two members seldom meet; so a load that has changed
by more than a tenth also rides, a few at a time, on what is sent anyway, and is passed on as often as other rumours.
What is heard from its own mouth holds over what is passed on; otherwise the higher version does. A load that nobody has
confirmed for several rounds of probes is unknown again, and one of a member that is gone is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from inaho.core.messages import LOADS_MAX, LoadNotice

__all__ = ["Loads"]

CHANGE_SHARE: Final = 0.1
"""A load is told anew when it differs from the one that was told by more than this share of it."""

KEEP_ROUNDS: Final = 4
"""Rounds of probes without a word of it after which a load is unknown."""

KEEP_LEAST_S: Final = 30.0


class Known(msgspec.Struct):
    """The load of one member: the newest version heard of, and when, seconds; how often it was passed on."""

    version: int
    load: int
    heard_at: float


class Loads:
    """Loads of the members, by node id.

    Args:
        node_id: this node.
        interval_s: see `DetectionConfig.probe_interval_s`; our own load is told anew at most once in it.
        size_max: bound of the members that are known.
    """

    def __init__(self, node_id: str, interval_s: float, size_max: int) -> None:
        self._node_id = node_id
        self._interval_s = interval_s
        self._size_max = size_max
        # Ours: as it is, as it was last told, with its version, and when.
        self._load = -1
        self._told = -1
        self._version = 0
        self._told_at = 0.0
        self._known: dict[str, Known] = {}
        # Loads that are being passed on, with how often they have been.
        self._rumours: dict[str, int] = {}

    def set_own(self, now: float, load: int) -> None:
        """Our load is this now."""
        self._load = load
        self._tell_own(now)

    def own(self, now: float) -> tuple[int, int]:
        """Version and load that our marks carry; the load is -1 while nobody has told us."""
        self._tell_own(now)
        return self._version, self._told

    def _tell_own(self, now: float) -> None:
        if self._load < 0 or (self._version and abs(self._load - self._told) <= CHANGE_SHARE * self._told):
            return
        if self._version and now < self._told_at + self._interval_s:
            return
        self._told, self._told_at = self._load, now
        self._version += 1
        self._rumours[self._node_id] = 0

    def heard(self, now: float, node_id: str, version: int, load: int) -> None:
        """A member tells its own load."""
        if load < 0:
            return
        known = self._known.get(node_id)
        if known is not None and known.version == version:
            known.heard_at, known.load = now, load
        else:
            self._take(now, node_id, version, load)

    def merge(self, now: float, notices: Iterable[LoadNotice], is_member: Callable[[str], bool]) -> None:
        """Takes over loads that somebody passes on."""
        for notice in notices:
            known = self._known.get(notice.node_id)
            newer = known is None or known.version < notice.version
            if newer and notice.node_id != self._node_id and is_member(notice.node_id):
                self._take(now, notice.node_id, notice.version, notice.load)

    def _take(self, now: float, node_id: str, version: int, load: int) -> None:
        if node_id not in self._known and len(self._known) >= self._size_max:
            return
        self._known[node_id] = Known(version, load, now)
        self._rumours[node_id] = 0

    def collect(self, limit: int, copies: int) -> tuple[LoadNotice, ...]:
        """Loads to ride on a message for `copies` peers, the least sent first; each goes at most `limit` times."""
        if not self._rumours:
            return ()
        notices: list[LoadNotice] = []
        for node_id, sent in sorted(self._rumours.items(), key=_sent_of)[:LOADS_MAX]:
            known = self._known.get(node_id)
            version, load = (self._version, self._told) if known is None else (known.version, known.load)
            notices.append(LoadNotice(node_id, version, load))
            if sent + copies >= limit:
                del self._rumours[node_id]
            else:
                self._rumours[node_id] = sent + copies
        return tuple(notices)

    def forget(self, node_id: str) -> None:
        """That member is gone."""
        self._known.pop(node_id, None)
        if node_id != self._node_id:
            self._rumours.pop(node_id, None)

    def clear(self) -> None:
        """Forgets the others."""
        self._known.clear()
        self._rumours.clear()

    def known(self, now: float, node_ids: Iterable[str], members: int) -> tuple[tuple[str, int], ...]:
        """Loads of those of `node_ids` where one is known, sorted; `members` says how long a round of probes is."""
        keep_s = max(KEEP_LEAST_S, KEEP_ROUNDS * members * self._interval_s)
        loads: list[tuple[str, int]] = []
        for node_id in node_ids:
            known = self._known.get(node_id)
            if node_id == self._node_id:
                if self._load >= 0:
                    loads.append((node_id, self._load))
            elif known is not None and now <= known.heard_at + keep_s:
                loads.append((node_id, known.load))
        return tuple(sorted(loads))

    def check(self) -> None:
        """Asserts the invariants."""
        assert len(self._known) <= self._size_max
        assert self._node_id not in self._known
        for node_id in self._rumours:
            assert node_id in self._known or node_id == self._node_id


def _sent_of(item: tuple[str, int]) -> int:
    return item[1]
