"""Decides which statements are still sent to others, and how often each has been sent.

A rumour is not a statement but the name of an origin that has new statements: at the time of sending, the statements of
that origin that still hold are sent. So a replaced statement costs nothing, and ranges seldom have gaps. Each rumour is
sent `retransmit_factor * ceil(log2(n + 1))` times and then left to anti-entropy. The rumour that was sent least goes
first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from inaho.core.bounded_map import BoundedMap
from inaho.core.messages import Accusation, BlockNotice, Entry, MembershipDelta, News

__all__ = ["RumourQueue", "retransmit_limit"]

_encode = msgspec.msgpack.Encoder().encode
WHOLE_ORIGIN_MAX: Final = 8
"""The statements of an origin with at most so many are sent from the first one, so that there is no gap."""


def retransmit_limit(factor: int, members: int) -> int:
    """How often one rumour is sent in a cluster of that size: `factor * ceil(log2(members + 1))`."""
    return factor * max(1, members.bit_length())


class OriginRumour(msgspec.Struct):
    """New statements of one origin after `from_version`, sent `sent` times so far, last as `told` of `size` bytes."""

    from_version: int
    sent: int = 0
    told: MembershipDelta | None = None
    size: int = 0


class RumourQueue:
    """Rumours of origins, accusations and block notices.

    Args:
        budget_bytes: of one `collect`, see `GossipConfig.push_bytes_max`.
        accusations_max: bound; beyond it the oldest accusation is dropped.

    Attributes:
        crowded: there were more rumours than the last `collect` could take.
    """

    def __init__(self, budget_bytes: int, accusations_max: int) -> None:
        self.crowded = False
        self._budget_bytes = budget_bytes
        self._origins: dict[str, OriginRumour] = {}
        self._accusations: BoundedMap[tuple[str, str], tuple[Accusation, int]] = BoundedMap(accusations_max)
        self._blocks: dict[str, tuple[BlockNotice, int]] = {}

    def __bool__(self) -> bool:
        return bool(self._origins or self._accusations or self._blocks)

    def origin(self, origin: str, from_version: int) -> None:
        """There are new statements of that origin after `from_version`."""
        known = self._origins.pop(origin, None)
        start = from_version if known is None else min(known.from_version, from_version)
        self._origins[origin] = OriginRumour(start)

    def accusation(self, accusation: Accusation) -> None:
        """A member is accused."""
        self._accusations[accusation.node_id, accusation.accuser] = (accusation, 0)

    def block(self, notice: BlockNotice) -> None:
        """The block list changed."""
        self._blocks[notice.authority] = (notice, 0)

    def forget_accused(self, node_id: str) -> None:
        """The accused member refuted, or is removed."""
        for key in [key for key in self._accusations if key[0] == node_id]:
            del self._accusations[key]

    def accusations_of(self, node_id: str) -> tuple[Accusation, ...]:
        """The accusations against that node, which should get them first."""
        if not self._accusations:
            return ()
        return tuple(accusation for accusation, _ in self._accusations.values() if accusation.node_id == node_id)

    def settle(self) -> None:
        """All peers have the table: no rumour needs to be sent again."""
        self._origins.clear()
        self._blocks.clear()

    def clear(self) -> None:
        """Forgets all."""
        self.settle()
        self._accusations.clear()

    def collect(self, limit: int, copies: int, delta: Callable[[str, int], MembershipDelta]) -> News:
        """Takes the rumours that fit the budget, least sent first.

        Args:
            limit: see `retransmit_limit`.
            copies: to how many peers it will be sent; each counts.
            delta: gives the statements of an origin after a version that still hold.
        """
        room = self._budget_bytes
        accusations: list[Accusation] = []
        for key, (accusation, sent) in sorted(self._accusations.items(), key=_sent_of_pair):
            room -= len(_encode(accusation))
            if room < 0:
                break
            accusations.append(accusation)
            if sent + copies >= limit:
                del self._accusations[key]
            else:
                self._accusations[key] = (accusation, sent + copies)
        blocks: list[BlockNotice] = []
        for authority, (notice, sent) in sorted(self._blocks.items(), key=_sent_of_pair):
            room -= len(_encode(notice))
            if room < 0:
                break
            blocks.append(notice)
            if sent + copies >= limit:
                del self._blocks[authority]
            else:
                self._blocks[authority] = (notice, sent + copies)
        return News(self._collect_deltas(room, limit, copies, delta), tuple(accusations), tuple(blocks))

    def _collect_deltas(
        self, room: int, limit: int, copies: int, delta: Callable[[str, int], MembershipDelta]
    ) -> tuple[MembershipDelta, ...]:
        deltas: list[MembershipDelta] = []
        self.crowded = False
        for origin, rumour in sorted(self._origins.items(), key=_sent_of):
            if room <= 0:
                self.crowded = True
                break
            found = delta(origin, 0)
            if len(found.entries) > WHOLE_ORIGIN_MAX:
                found = delta(origin, rumour.from_version)
            if found is rumour.told and rumour.size <= room:
                size = rumour.size
            else:
                whole = found
                found, size = clip(whole, room)
                rumour.told, rumour.size = (whole, size) if found is whole else (None, 0)
            if found.to_version <= found.from_version:
                break
            room -= size
            deltas.append(found)
            rumour.sent += copies
            if rumour.sent >= limit:
                del self._origins[origin]
        return tuple(deltas)

    def check(self) -> None:
        """Asserts the invariants."""
        self._accusations.check()


def clip(delta: MembershipDelta, room: int) -> tuple[MembershipDelta, int]:
    """Shortens a delta to `room` bytes, at least one statement; returns it and its size in bytes."""
    size = len(_encode(delta))
    if size <= room or len(delta.entries) <= 1:
        return delta, size
    fitting: list[Entry] = []
    size = 32
    for entry in delta.entries:
        size += len(_encode(entry))
        if fitting and size > room:
            break
        fitting.append(entry)
    shortened = MembershipDelta(delta.origin, delta.from_version, fitting[-1].version, tuple(fitting))
    return shortened, len(_encode(shortened))


def _sent_of(item: tuple[str, OriginRumour]) -> int:
    return item[1].sent


def _sent_of_pair(item: tuple[object, tuple[object, int]]) -> int:
    return item[1][1]
