"""Where the items of a stream go whose consumer is on another node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inaho.wire.frames import END, HEADER, HEADER_REST, ITEMS

if TYPE_CHECKING:
    from inaho.runtime.connections.incoming import Incoming
    from inaho.runtime.grains.turn import Turn

__all__ = ["ConnectionSink"]


class ConnectionSink:
    """Batches as frames of a connection."""

    def __init__(self, connection: Incoming, turn: Turn) -> None:
        self.frame_body_max = connection._frame_max - HEADER_REST
        self._connection = connection
        self._turn = turn

    def send_items(self, body: bytes) -> None:
        self._connection.send(HEADER.pack(HEADER_REST + len(body), ITEMS, 0, 0, self._turn.correlation), body)

    def send_end(self) -> None:
        self._connection.send(HEADER.pack(HEADER_REST, END, 0, 0, self._turn.correlation), b"")

    def send_failure(self, error: BaseException) -> None:
        self._connection.reply_error(self._turn, error)
