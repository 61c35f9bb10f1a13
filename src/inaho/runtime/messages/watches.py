"""Watches actors of one other process.

A watch is a request that the peer keeps for one connection. So all watches are sent again on the next connection, and a
watch that ends before it was sent costs no message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from inaho.actor.ref import StopReason
from inaho.errors import Overloaded
from inaho.wire.frames import HEADER, HEADER_REST, UNWATCH, WATCH

if TYPE_CHECKING:
    from inaho.runtime.connections.outgoing import Outgoing

__all__ = ["RemoteWatches", "WatchedActor"]

_U32: Final = 0xFFFFFFFF


class WatchedActor(Protocol):
    """A watched actor of another node."""

    @property
    def path(self) -> str:
        """Within its system, `user/parent/child`."""
        ...

    def terminated(self, reason: StopReason, *, exists: bool) -> None:
        """The actor has ended; `exists` is false if there never was one."""
        ...


class RemoteWatches:
    """Keeps the watches of one process, and knows which of them the peer has received.

    Args:
        authority: of the process, for errors.
        watches_max: `delivery.watches_max`.
    """

    def __init__(self, authority: str, watches_max: int) -> None:
        self._authority = authority
        self._watches_max = watches_max
        self._watched: dict[int, WatchedActor] = {}
        self._sent: dict[int, None] = {}
        self._number = 0

    def __len__(self) -> int:
        return len(self._watched)

    def add(self, actor: WatchedActor, line: Outgoing | None) -> int:
        """Begins to watch an actor.

        Args:
            actor: notified when it ends.
            line: the connection for the request; with None, `send` sends the request later.

        Returns:
            The number of the watch in its frames.

        Raises:
            Overloaded: too many actors of that process are watched.
        """
        if len(self._watched) >= self._watches_max:
            raise Overloaded(
                f"{len(self._watched)} actors of this node are watched (delivery.watches_max)",
                authority=self._authority,
            )
        number = self._next_number()
        self._watched[number] = actor
        if line is not None:
            self._send(line, number, actor)
        return number

    def remove(self, number: int, line: Outgoing | None) -> None:
        """Ends a watch, also at the peer if the request was sent."""
        del self._watched[number]
        if number in self._sent:
            del self._sent[number]
            if line is not None:
                line.send(HEADER.pack(HEADER_REST, UNWATCH, 0, 0, number), b"")

    def send(self, line: Outgoing) -> None:
        """Sends the requests that were not sent on this connection."""
        for number, actor in self._watched.items():
            if number not in self._sent:
                self._send(line, number, actor)

    def connection_lost(self) -> None:
        """The connection has ended, so the peer has no requests any more."""
        self._sent.clear()

    def ended(self, number: int, reason: StopReason, *, exists: bool) -> None:
        """The peer reports that a watched actor has ended or does not exist."""
        self._sent.pop(number, None)
        actor = self._watched.pop(number, None)
        if actor is not None:
            actor.terminated(reason, exists=exists)

    def all_ended(self, reason: StopReason) -> None:
        """The process has ended, and all its actors with it."""
        watched, self._watched = self._watched, {}
        self._sent.clear()
        for actor in watched.values():
            actor.terminated(reason, exists=True)

    def _send(self, line: Outgoing, number: int, actor: WatchedActor) -> None:
        self._sent[number] = None
        body = actor.path.encode()
        line.send(HEADER.pack(HEADER_REST + len(body), WATCH, 0, 0, number), body)

    def _next_number(self) -> int:
        number = self._number = (self._number + 1) & _U32
        while number in self._watched:
            number = self._number = (self._number + 1) & _U32
        return number

    def check(self) -> None:
        """Asserts the invariants."""
        assert len(self._watched) <= self._watches_max
        assert self._sent.keys() <= self._watched.keys()
