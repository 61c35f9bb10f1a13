"""Decides which unauthenticated connection is closed when a new one needs a place.

Any process that can reach the port can open connections and send nothing. If each connection kept its place until a
time-out, some tens of connections per second would take all places, and no other peer could connect. So a new
connection always gets a place, and another connection is closed for it: one of the address with the most places, if
possible one that has been silent for a while, otherwise the oldest. A correct peer needs its place for two round trips
only. To close it within that time, its own address must open as many newer connections as there are places.

Why not a share per address: a cluster behind one gateway has one address. Why not a random early drop: it closes
correct peers too, although their behaviour distinguishes them.
"""

from __future__ import annotations

import ipaddress
from typing import Final, Generic, TypeVar

__all__ = ["PendingPool", "source_of"]

ItemT = TypeVar("ItemT")

SILENT_S: Final = 0.5
"""A connection that has been silent for this time is closed first. Longer than a round trip."""

_NETWORK_BITS: Final = 64
"""An IPv6 host can use any address of its network, so the network is the source."""


def source_of(address: str) -> str:
    """The source of an IP address: the address itself, or its /64 network for IPv6."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, _NETWORK_BITS), strict=False))


class _Place:
    __slots__ = ("at", "source", "spoken")

    def __init__(self, source: str, at: float) -> None:
        self.source = source
        self.at = at
        self.spoken = False


class PendingPool(Generic[ItemT]):
    """A bounded set of items, each from a source.

    Args:
        places: how many there may be.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._sources: dict[str, dict[ItemT, _Place]] = {}
        self._inside: dict[ItemT, _Place] = {}

    def __len__(self) -> int:
        return len(self._inside)

    def items(self) -> list[ItemT]:
        """All items, the oldest first."""
        return list(self._inside)

    def enter(self, item: ItemT, source: str, now: float) -> ItemT | None:
        """Gives `item` a place. Returns the item that lost its place for it, if any."""
        victim = self._victim(now) if len(self._inside) >= self._places else None
        if victim is not None:
            self.leave(victim)
        place = self._inside[item] = _Place(source, now)
        self._sources.setdefault(source, {})[item] = place
        return victim

    def spoke(self, item: ItemT) -> None:
        """The item has sent the first message of a correct peer."""
        self._inside[item].spoken = True

    def leave(self, item: ItemT) -> None:
        """Frees the place of `item`, if it has one."""
        place = self._inside.pop(item, None)
        if place is not None:
            items = self._sources[place.source]
            del items[item]
            if not items:
                del self._sources[place.source]

    def _victim(self, now: float) -> ItemT:
        most = max(map(len, self._sources.values()))
        places = [pair for items in self._sources.values() if len(items) == most for pair in items.items()]
        silent = [pair for pair in places if not pair[1].spoken and now - pair[1].at >= SILENT_S]
        return min(silent or places, key=lambda pair: pair[1].at)[0]

    def check(self) -> None:
        """Asserts the invariants."""
        assert len(self._inside) <= self._places
        assert sum(map(len, self._sources.values())) == len(self._inside)
        assert all(self._sources.values())
