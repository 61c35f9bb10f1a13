"""Holds the load of each member as this node knows it, for placement on the least loaded host.

A load is a hint, so it costs no message of its own and nothing waits for it. Every mark has the load of its sender, so
in a small cluster probes alone keep loads up to date. In a large one two members seldom exchange messages. So a load
that has changed by more than a tenth is also sent along with other messages, a few at a time, and is passed on as often
as other rumours. A load from the member itself wins over one that is passed on; otherwise the higher version wins. A
load that was not confirmed for several rounds of probes is unknown again, and the load of a member that is gone is
dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from inaho.core.messages import LOADS_MAX, LoadNotice

__all__ = ["Loads"]

CHANGE_SHARE: Final = 0.1
"""A load is sent again when it differs from the last one that was sent by more than this share of it."""

KEEP_ROUNDS: Final = 4
"""Rounds of probes without a report of a load after which it is unknown."""

KEEP_LEAST_S: Final = 30.0


class Known(msgspec.Struct):
    """The load of one member: its newest version, when it arrived, seconds, and how often it was passed on."""

    version: int
    load: int
    heard_at: float


class Loads:
    """Loads of the members, by node id.

    Args:
        node_id: this node.
        interval_s: see `DetectionConfig.probe_interval_s`; the own load is sent again at most once in it.
        size_max: bound of the members that are known.
    """

    def __init__(self, node_id: str, interval_s: float, size_max: int) -> None:
        self._node_id = node_id
        self._interval_s = interval_s
        self._size_max = size_max
        # The own load: as it is, and as it was last sent, with its version and time.
        self._load = -1
        self._told = -1
        self._version = 0
        self._told_at = 0.0
        self._known: dict[str, Known] = {}
        # Loads that are still passed on, and how often each was.
        self._rumours: dict[str, int] = {}

    def set_own(self, now: float, load: int) -> None:
        """Sets the load of this node."""
        self._load = load
        self._tell_own(now)

    def own(self, now: float) -> tuple[int, int]:
        """Version and load for the marks of this node; the load is -1 while it is unknown."""
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
        """A member reports its own load."""
        if load < 0:
            return
        known = self._known.get(node_id)
        if known is not None and known.version == version:
            known.heard_at, known.load = now, load
        else:
            self._take(now, node_id, version, load)

    def merge(self, now: float, notices: Iterable[LoadNotice], is_member: Callable[[str], bool]) -> None:
        """Takes over loads that another member passes on."""
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
        """Loads to send with a message to `copies` peers, the least sent first; each goes at most `limit` times."""
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
        """Loads of those of `node_ids` whose load is known, sorted; `members` gives the length of a round of probes."""
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
