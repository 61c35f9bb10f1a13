"""The actors of one other process that are watched from this node.

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
    """An actor of another node that is watched from here."""

    @property
    def path(self) -> str:
        """Within its system, `user/parent/child`."""
        ...

    def terminated(self, reason: StopReason, *, exists: bool) -> None:
        """It has ended, or, without `exists`, there never was one."""
        ...


class RemoteWatches:
    """Keeps the watches of one process, and which of them the peer has got.

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
        """Waits for the end of an actor.

        Args:
            actor: informed of it.
            line: on which the request is sent now; without one, `send` sends it.

        Returns:
            The number by which the peer names the watch.

        Raises:
            Overloaded: too many actors of that process are watched.
        """
        if len(self._watched) >= self._watches_max:
            raise Overloaded(
                f"{len(self._watched)} actors there are watched (delivery.watches_max)", authority=self._authority
            )
        number = self._next_number()
        self._watched[number] = actor
        if line is not None:
            self._send(line, number, actor)
        return number

    def remove(self, number: int, line: Outgoing | None) -> None:
        """Ends a watch, also at the peer if it has the request."""
        del self._watched[number]
        if number in self._sent:
            del self._sent[number]
            if line is not None:
                line.send(HEADER.pack(HEADER_REST, UNWATCH, 0, 0, number), b"")

    def send(self, line: Outgoing) -> None:
        """Sends what the peer has not got on this connection."""
        for number, actor in self._watched.items():
            if number not in self._sent:
                self._send(line, number, actor)

    def connection_lost(self) -> None:
        """The peer has forgotten all requests."""
        self._sent.clear()

    def ended(self, number: int, reason: StopReason, *, exists: bool) -> None:
        """The peer says that the actor has ended, or never was."""
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
