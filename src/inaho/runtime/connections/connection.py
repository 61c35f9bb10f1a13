"""One authenticated connection: splits bytes into frames, and decides when frames are written.

All frames of one read are handled in one loop over one buffer; all frames that are sent within one loop iteration leave
in one write. Most of the speed comes from this: a write per frame costs five times the CPU (DESIGN section 8). A long
read is handled in slices, between which other connections are served. A length is checked before the frame has arrived,
so a peer cannot make this node buffer more than the bound.

`Outgoing` is the side that dialled and calls, `Incoming` the side that accepted and answers: one connection per
direction and peer.
"""

from __future__ import annotations

import abc
import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from inaho.actor.raise_soon import raise_soon
from inaho.errors import InahoError, ProtocolViolation, Unreachable, error_from_code
from inaho.runtime.turns.steps import SIGNALS
from inaho.wire.codec import DECODE_ERRORS, decoder, encode
from inaho.wire.frames import GOODBYE, HEADER, HEADER_BYTES, HEADER_REST, Goodbye, frame

if TYPE_CHECKING:
    from inaho.config import TransportConfig
    from inaho.wire.handshake import PeerInfo

__all__ = ["Connection", "all_lost"]

_decode_goodbye = decoder(Goodbye)
REASON_CHARS_MAX: Final = 500

FLUSH_PARTS: Final = 32
"""Data is written when so many parts (headers and bodies) have been collected, or at the end of the loop iteration.

If data were written only at the end of the iteration, a caller with 64 calls in flight and its callee would wait for
each other's whole batches and never work at the same time. With 16 frames per write both work at the same time, with
nearly twice the calls per second (docs/decisions/0003-writes-in-slices.md).
"""

SLICE_BYTES: Final = 4 << 10
"""Bytes of one peer that are handled in one loop iteration; the rest is handled after those of other peers.

A read may contain a quarter of a megabyte: ten thousand small calls, which take a hundred milliseconds. The limit is in
bytes, because their number is known before the loop over the frames begins. So a read that fits in one slice costs
nothing more (docs/decisions/0009-reads-in-slices.md).
"""


class Connection(asyncio.Protocol, abc.ABC):
    """Framing, coalesced writes and flow control; subclasses handle the frames.

    Args:
        peer: the node at the other end, as authenticated by the handshake.
        config: limits.
        loop: the node's loop.

    Attributes:
        lost: resolved when the connection has ended. A connection that is being closed may still send.
    """

    def __init__(self, peer: PeerInfo, config: TransportConfig, loop: asyncio.AbstractEventLoop) -> None:
        self.peer = peer
        self.closed = ""
        self.lost: asyncio.Future[None] = loop.create_future()
        self.paused = False
        self.bytes_received: int = 0
        self.bytes_sent = 0
        self._config = config
        self._loop = loop
        self._frame_max = config.frame_bytes_max
        self._transport: Any = None
        self._rest: list[bytes | memoryview] = []
        self._missing = 0
        self._behind = False
        """Whether whole frames are left for later. Reading is paused until they are handled."""
        self._going_on = False
        self._out: list[bytes] = []
        self._corked = False
        """Whether a batch is being handled, so that frames are written at its end."""
        self._room: asyncio.Future[None] | None = None
        self._goodbye: InahoError | None = None
        self._cut_off: asyncio.TimerHandle | None = None
        self.violation = ""
        """The protocol violation of the peer."""

    # For subclasses.

    @abc.abstractmethod
    def on_frame(self, kind: int, flags: int, method: int, correlation: int, body: memoryview) -> None:
        """Handles one frame. Raises `ProtocolViolation` for one that no correct peer sends."""

    def on_batch(self) -> None:
        """All frames of one read have been handled."""

    def on_closed(self, error: InahoError) -> None:
        """The connection has ended; called once."""

    # asyncio.Protocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._transport.set_write_buffer_limits(high=self._config.write_high_bytes, low=self._config.write_low_bytes)

    def data_received(self, data: bytes | memoryview) -> None:
        """Handles the complete frames of one slice. `Outgoing` has a copy of this loop that also handles replies."""
        self.bytes_received += len(data)
        if self._rest and not (data := self._gathered(data)):
            return
        view, position, size = memoryview(data), 0, len(data)
        end = 0
        stop = size if size < SLICE_BYTES else SLICE_BYTES  # a frame that begins before it is handled whole
        unpack, on_frame, length_max = HEADER.unpack_from, self.on_frame, self._frame_max
        try:
            while stop - position >= HEADER_BYTES and not self.paused:
                length, kind, flags, method, correlation = unpack(data, position)
                if not HEADER_REST <= length <= length_max:
                    raise self._bad_length(length)
                end = position + 4 + length
                if end > size:
                    break
                on_frame(kind, flags, method, correlation, view[position + HEADER_BYTES : end])
                position = end
        except ProtocolViolation as error:
            self._violated(error)
            return
        except SIGNALS as error:  # raised by a user's constructor or value check: consume the frame, end the program
            raise_soon(error)
            position = max(position, end)
        if position < size:
            self._keep(view, position)
        self.on_batch()
        if self._behind or self._rest:
            self._pace()

    def _gathered(self, data: bytes | memoryview) -> bytes | memoryview:
        """The rest of earlier reads followed by `data`, once the parts may make a whole frame; empty before.

        The parts are joined once per frame, so a frame that arrives byte by byte is copied only once.
        """
        if data:
            self._rest.append(data)
            self._missing -= len(data)
        if self._missing > 0:
            return b""
        data = self._rest[0] if len(self._rest) == 1 else b"".join(self._rest)
        self._rest.clear()
        return data

    def _keep(self, view: memoryview, position: int) -> None:
        """Keeps the unhandled rest: part of a frame, frames beyond the slice, or of a peer that does not read."""
        left = view[position:]
        needed = HEADER_BYTES
        if len(left) >= HEADER_BYTES:
            (length, *_) = HEADER.unpack_from(left)
            needed = 4 + length if length <= self._frame_max else 0  # a frame too long is refused at once
        self._missing = needed - len(left)
        # The part may stay for long. A copy of the part lets the memory of the whole read be freed.
        self._rest = [bytes(left) if self._missing > 0 else left]

    def _pace(self) -> None:
        """Schedules the whole frames that are left for the next loop iteration, and pauses reading until then."""
        if self.closed:
            return
        if self._rest and self._missing <= 0:
            if not self._behind:
                self._behind = True
                self._transport.pause_reading()
            if not self.paused:  # if paused, `resume_writing` continues
                self._go_on_soon()
        elif self._behind:
            self._behind = False
            if not self.paused:
                self._transport.resume_reading()

    def _go_on_soon(self) -> None:
        if not self._going_on:
            self._going_on = True
            self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._going_on = False
        if self._rest and not self.closed and not self.paused:
            self.data_received(b"")

    def _bad_length(self, length: int) -> ProtocolViolation:
        return ProtocolViolation(
            f"a frame of {length} bytes; at least {HEADER_REST} and at most {self._frame_max} are allowed "
            "(transport.frame_bytes_max)"
        )

    def _violated(self, error: ProtocolViolation) -> None:
        """The peer violated the protocol: sends it the reason, and handles no more of its frames."""
        self._rest.clear()
        self._corked = False
        self.violation = f"{error.code}: {error.reason}"
        error.authority = error.authority or self.peer.authority
        self.close(error)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        self._room = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._cut_off is not None:
            self._cut_off.cancel()
            self._cut_off = None
        if self.closed:
            reason = self.closed
        elif self._goodbye is not None:
            reason = f"closed by the peer: {self._goodbye.code}: {self._goodbye.reason}"
        elif isinstance(exc, ConnectionResetError | BrokenPipeError | TimeoutError):
            reason = "reset"
        else:
            reason = "closed" if exc is None else f"failed: {exc}"
        self.closed = self.closed or reason
        self.resume_writing()
        self._out.clear()
        self._rest.clear()
        self.lost.set_result(None)
        self.on_closed(self._goodbye or Unreachable(f"the connection ended: {reason}", authority=self.peer.authority))

    # Sending.

    def send(self, header: bytes, body: bytes) -> None:
        """Adds a frame to those that are written at the end of this loop iteration."""
        out = self._out
        if not out and not self._corked:
            self._loop.call_soon(self.flush)
        out.append(header)
        out.append(body)

    def add(self, header: bytes, body: bytes) -> None:
        """Adds a frame without scheduling a write: the caller calls `flush` before it returns to the loop."""
        self._out.append(header)
        self._out.append(body)

    def flush(self) -> None:
        """Writes all collected frames at once."""
        if self._out and not self.closed:
            data = b"".join(self._out)
            self._out.clear()
            self.bytes_sent += len(data)
            self._transport.write(data)

    async def room(self) -> None:
        """Waits until the peer has read so much that more may be sent (`transport.write_low_bytes`)."""
        while self.paused and not self.closed:
            if self._room is None:
                self._room = self._loop.create_future()
            await asyncio.shield(self._room)

    @property
    def unsent_bytes(self) -> int:
        """The number of bytes that wait to be sent to the peer."""
        waiting = 0 if self._transport is None else self._transport.get_write_buffer_size()
        return int(waiting) + sum(map(len, self._out))

    def close(self, error: InahoError | None = None) -> None:
        """Sends a goodbye and closes. Earlier frames are still sent, if the peer reads them in time.

        Args:
            error: the reason; sent to the peer, and raised to callers that wait for answers on this connection.
        """
        if self.closed:
            return
        self._goodbye = error
        self.announce(error)
        self.flush()
        self.closed = "closed" if error is None else f"{error.code}: {error.reason}"
        if self._transport is not None:
            self._transport.close()
            self._cut_off = self._loop.call_later(self._config.goodbye_timeout_s, self._transport.abort)

    def announce(self, error: InahoError | None) -> None:
        """Sends a goodbye without closing: the peer makes no new calls, and closes when it has its answers."""
        if not self.closed:
            reason = "closed" if error is None else f"{error.code}: {error.reason}"
            body = encode(Goodbye("" if error is None else error.code, reason[:REASON_CHARS_MAX]))
            self.send(frame(GOODBYE, body), b"")

    def abort(self, reason: str) -> None:
        """Closes at once; unsent frames are lost."""
        if not self.closed:
            self.closed = reason
        if self._transport is not None:
            self._transport.abort()

    def on_goodbye(self, body: memoryview) -> None:
        """The peer closes, and states the reason in `body`."""
        try:
            goodbye = _decode_goodbye(body)
        except DECODE_ERRORS as error:
            raise ProtocolViolation(f"a goodbye that does not decode: {error}") from error
        if goodbye.code:
            self._goodbye = error_from_code(goodbye.code, goodbye.reason, authority=self.peer.authority)


async def all_lost(connections: Iterable[Connection], within_s: float) -> None:
    """Waits until connections that are being closed have ended, so that a node that has closed has no open socket.

    TLS ends with an answer of the peer, and a peer may read its last bytes slowly.

    Args:
        connections: closed by this side.
        within_s: those that have not ended after so many seconds are aborted.
    """
    waiting = {connection.lost: connection for connection in connections}
    if not waiting:
        return
    _, late = await asyncio.wait(waiting, timeout=within_s)
    for future in late:
        waiting[future].abort("the peer did not let it end")
    if late:
        await asyncio.wait(late)
