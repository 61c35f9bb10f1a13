"""Decides which unauthenticated connection is closed when a new one needs a place.

Any process that can reach the port can open connections and send nothing. If places were kept until a time-out, some
tens of connections per second would take all of them, and no other peer would get in. So a new connection always gets a
place, and another one is closed for it: one of the address with the most places, first one that has been silent for a
while, else the oldest. A correct peer is done in two round trips and then needs its place no longer. To close it within
that time takes a whole pool of newer connections from its own address.

Why not a share per address: a cluster behind one gateway is one address. Why not a random early drop: it closes correct
peers in proportion, and here their behaviour distinguishes them.
"""

from __future__ import annotations

import ipaddress
from typing import Final, Generic, TypeVar

__all__ = ["PendingPool", "source_of"]

ItemT = TypeVar("ItemT")

SILENT_S: Final = 0.5
"""Who has said nothing for so long goes first. Longer than a round trip takes."""

_NETWORK_BITS: Final = 64
"""An IPv6 host can have any address of its network, so the network counts."""


def source_of(address: str) -> str:
    """What an IP address counts as: itself, or the /64 network of IPv6."""
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
        """All, oldest first."""
        return list(self._inside)

    def enter(self, item: ItemT, source: str, now: float) -> ItemT | None:
        """Takes a place. Returns the item that has lost its own for it, if any."""
        victim = self._victim(now) if len(self._inside) >= self._places else None
        if victim is not None:
            self.leave(victim)
        place = self._inside[item] = _Place(source, now)
        self._sources.setdefault(source, {})[item] = place
        return victim

    def spoke(self, item: ItemT) -> None:
        """The item has said what a rightful one says."""
        self._inside[item].spoken = True

    def leave(self, item: ItemT) -> None:
        """Gives a place back; nothing happens when it had none."""
        place = self._inside.pop(item, None)
        if place is not None:
            crowd = self._sources[place.source]
            del crowd[item]
            if not crowd:
                del self._sources[place.source]

    def _victim(self, now: float) -> ItemT:
        most = max(map(len, self._sources.values()))
        crowds = [crowd for crowd in self._sources.values() if len(crowd) == most]
        places = [pair for crowd in crowds for pair in crowd.items()]
        silent = [pair for pair in places if not pair[1].spoken and now - pair[1].at >= SILENT_S]
        return min(silent or places, key=lambda pair: pair[1].at)[0]

    def check(self) -> None:
        """Asserts the invariants."""
        assert len(self._inside) <= self._places
        assert sum(map(len, self._sources.values())) == len(self._inside)
        assert all(self._sources.values())
