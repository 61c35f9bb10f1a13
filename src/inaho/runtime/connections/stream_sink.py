"""Sends the items of a stream to a consumer on another node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inaho.wire.frames import END, HEADER, HEADER_REST, ITEMS

if TYPE_CHECKING:
    from inaho.runtime.connections.connection import Connection
    from inaho.runtime.grains.activation import Caller, Turn

__all__ = ["ConnectionSink"]


class ConnectionSink:
    """Sends batches of items as frames of a connection.

    Args:
        connection: of the call.
        caller: the same connection, for failures.
        turn: of the streaming method.
        frame_body_max: the bytes of a batch, at most.
    """

    def __init__(self, connection: Connection, caller: Caller, turn: Turn, frame_body_max: int) -> None:
        self.frame_body_max = frame_body_max
        self._connection = connection
        self._caller = caller
        self._turn = turn

    def send_items(self, body: bytes) -> None:
        self._connection.send(HEADER.pack(HEADER_REST + len(body), ITEMS, 0, 0, self._turn.correlation), body)

    def send_end(self) -> None:
        self._connection.send(HEADER.pack(HEADER_REST, END, 0, 0, self._turn.correlation), b"")

    def send_failure(self, error: BaseException) -> None:
        self._caller.reply_error(self._turn, error)
