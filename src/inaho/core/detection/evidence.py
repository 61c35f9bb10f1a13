"""Derives from the state of the connection why a peer does not answer: dead, stopped, or busy.

A probe without an answer shows only that there was no answer. The connection shows more. It ended and the port refuses:
the process is dead. It is open and silent: the process stands still ("wedged"). Messages are late and the last one
reported a large lag: the process is busy. These words are in events, so that a person looks in the right place first.
"""

from __future__ import annotations

import msgspec

from inaho.config import DetectionConfig
from inaho.core.bounded_map import BoundedMap

__all__ = ["Evidence", "Link"]


class Link(msgspec.Struct):
    """What is known of the connection to one node.

    Attributes:
        node_id: the node last known to be there.
        connected: whether a connection is open.
        ended: whether one was open and ended since, however it ended.
        refused: whether a dial was refused after that.
        answered_by: node id that a dial reached, when it was another one.
        heard_at: when the last message arrived, seconds.
        lag_s: event-loop lag that it last reported.
    """

    node_id: str
    connected: bool = False
    ended: bool = False
    refused: bool = False
    answered_by: str = ""
    heard_at: float = 0.0
    lag_s: float = 0.0


class Evidence:
    """Knowledge about connections, by authority.

    Args:
        config: `lag_busy_s` and `lag_wedged_s`.
        size_max: bound; beyond it the oldest link is forgotten.
    """

    def __init__(self, config: DetectionConfig, size_max: int) -> None:
        self._config = config
        self._links: BoundedMap[str, Link] = BoundedMap(size_max)

    def connected(self, now: float, authority: str, node_id: str) -> None:
        """A connection to that node is open."""
        link = self._link(authority, node_id)
        link.connected, link.ended, link.refused, link.heard_at = True, False, False, now

    def heard(self, now: float, authority: str, node_id: str, lag_s: float | None) -> float:
        """A message from that node arrived; returns how long it had been silent, seconds."""
        link = self._link(authority, node_id)
        silent_s = now - link.heard_at if link.heard_at else 0.0
        link.heard_at, link.refused, link.ended = now, False, False
        if lag_s is not None:
            link.lag_s = lag_s
        return silent_s

    def heard_at(self, authority: str, node_id: str) -> float:
        """When the last message of that node arrived, seconds; 0 when none did."""
        link = self._links.get(authority)
        return 0.0 if link is None or link.node_id != node_id else link.heard_at

    def disconnected(self, authority: str, node_id: str, reason: str) -> None:
        """The connection to that node ended; a handshake that failed says nothing about its process."""
        link = self._links.get(authority)
        if link is None or link.node_id == node_id:
            link = self._link(authority, node_id)
            link.connected = False
            link.ended = reason in ("reset", "closed")

    def dial_failed(self, authority: str, reason: str) -> bool:
        """A dial failed; True when this completes the evidence that the process is dead."""
        link = self._links.get(authority)
        if link is None or reason != "refused" or link.connected:
            return False
        fresh = link.ended and not link.refused
        link.refused = True
        return fresh

    def answered(self, authority: str, node_id: str, expected: str) -> bool:
        """A dial reached `node_id`; True when the expected one is proved to be gone."""
        if node_id == expected:
            return False
        link = self._link(authority, expected)
        link.answered_by = node_id
        return True

    def proves_death(self, authority: str, node_id: str) -> bool:
        """Whether the process of that node has (almost) certainly ended: its port refuses or has a new owner."""
        link = self._links.get(authority)
        if link is None or link.node_id != node_id:
            return False
        return bool(link.answered_by) or (link.ended and link.refused)

    def reason(self, now: float, authority: str, node_id: str) -> str:
        """Why a node does not answer: `dead`, `wedged`, `busy` or `silent`."""
        link = self._links.get(authority)
        if link is None or link.node_id != node_id:
            return "silent"
        if self.proves_death(authority, node_id):
            return "dead"
        if link.lag_s >= self._config.lag_busy_s and now < link.heard_at + self._config.lag_wedged_s:
            return "busy"
        if link.connected:
            return "wedged"
        return "silent"

    def returned(self, authority: str, node_id: str) -> str:
        """Why a node that answers again was away: `paused` when it reports so long a lag itself, else empty."""
        link = self._links.get(authority)
        known = link is not None and link.node_id == node_id
        return "paused" if known and link is not None and link.lag_s >= self._config.lag_wedged_s else ""

    def forget(self, authority: str) -> None:
        """The member is gone."""
        self._links.pop(authority, None)

    def _link(self, authority: str, node_id: str) -> Link:
        link = self._links.get(authority)
        if link is None or link.node_id != node_id:
            link = self._links[authority] = Link(node_id)
        return link

    def check(self) -> None:
        """Asserts the invariants."""
        self._links.check()
        for link in self._links.values():
            assert not (link.connected and link.refused)
