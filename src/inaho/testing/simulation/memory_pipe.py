"""One end of a connection in memory: an `asyncio.Transport` that behaves as TCP does.

What one end writes waits in the inbox of the other until its time has come, the link is open and the reader wants it.
The inbox is the wire, the receive buffer and the measure of flow control at once: beyond the network's window, bytes in
it count as unsent bytes of the writer, so a reader that pauses makes its writer pause. The end of the stream and a
reset use the same inbox, behind the bytes that were written before them.

Callbacks come from the loop and never from inside the peer's call, one per loop iteration, as with sockets.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Any, Final, Protocol, Self, cast

from inaho.authority import parse_authority

__all__ = ["MemoryPipe", "PipeNetwork"]

_READ_BYTES_MAX: Final = 256 << 10
_HIGH_BYTES: Final = 64 << 10

_END: Final = b""
_RESET: Final = None


class PipeNetwork(Protocol):
    """What a pipe needs from its network."""

    window_bytes: int

    def is_cut(self, source: str, target: str) -> bool:
        """Whether bytes from `source` to `target` are held back."""
        ...

    def latency(self, source: str, target: str) -> float:
        """Seconds that the next chunk takes."""
        ...

    def loop_for(self, authority: str) -> asyncio.AbstractEventLoop:
        """The loop on which the end at `authority` calls back."""
        ...

    def forget(self, pipe: MemoryPipe) -> None:
        """The pipe is closed."""
        ...


class MemoryPipe(asyncio.Transport):
    """One end. Made in pairs by `pair`; silent until `open` gives it a protocol.

    Attributes:
        local: authority of this end.
        remote: authority of the other end.
    """

    def __init__(self, network: PipeNetwork, local: str, remote: str) -> None:
        super().__init__({"sockname": tuple(parse_authority(local)), "peername": tuple(parse_authority(remote))})
        self.local = local
        self.remote = remote
        self._network = network
        self._loop = network.loop_for(local)
        self._peer = self
        self._protocol: asyncio.Protocol | None = None
        self._open = False
        self._inbox: deque[tuple[float, bytes | None]] = deque()
        self._inbox_bytes = 0
        self._last_due = 0.0
        self._handle: asyncio.Handle | None = None
        self._handle_due = 0.0
        self._reading = True
        self._end_sent = False
        self._closing = False
        self._ending = False
        self._lost = False
        self._silent = False
        self._writer_paused = False
        self._high, self._low = _HIGH_BYTES, _HIGH_BYTES // 4

    @classmethod
    def pair(cls, network: PipeNetwork, dialer: str, acceptor: str) -> tuple[Self, Self]:
        """Both ends of a new connection: the dialer's and the acceptor's."""
        near, far = cls(network, dialer, acceptor), cls(network, acceptor, dialer)
        near._peer, far._peer = far, near
        return near, far

    def open(self, protocol: asyncio.BaseProtocol, opened: asyncio.Future[None] | None = None) -> None:
        """Connects `protocol` in the next turn of the loop; `opened` is set when that is done."""
        self.set_protocol(protocol)
        self._loop.call_soon(self._made, opened)

    def break_off(self, error: Exception) -> None:
        """Ends this end alone with `error`: for faults."""
        self._closing = True
        self._clear_inbox()
        self._end_soon(error)

    def vanish(self, *, tell_peer: bool) -> None:
        """Ends this end as a crash does: no callback. The peer gets a reset, or nothing at all."""
        self._closing = self._lost = True
        self._silent = not tell_peer
        self._clear_inbox()
        self._network.forget(self)
        if tell_peer:
            self._peer._arrive(_RESET)

    @property
    def unacknowledged_bytes(self) -> int:
        """Bytes of this end that the other has not read."""
        return self._peer._inbox_bytes

    def link_changed(self) -> None:
        """The network was cut or healed."""
        self._schedule()

    # asyncio.BaseTransport.

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        if isinstance(protocol, asyncio.BufferedProtocol):
            raise TypeError("a BufferedProtocol does not run over memory; use asyncio.Protocol")
        self._protocol = cast(asyncio.Protocol, protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._connected()

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        if not self._end_sent:
            self._end_sent = True
            self._peer._arrive(_END)
        if self.get_write_buffer_size() == 0:
            self._end_soon(None)

    # asyncio.ReadTransport.

    def is_reading(self) -> bool:
        return self._reading and not self._closing

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        if self._handle is not None:
            # It may be armed for a reset that comes after what can be read now.
            self._handle.cancel()
            self._handle = None
        self._schedule()

    # asyncio.WriteTransport.

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if self._closing:
            return
        if self._end_sent:
            raise RuntimeError("Cannot call write() after write_eof()")
        if data:
            self._peer._arrive(bytes(data))
            self._maybe_pause_writer()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview[Any]]) -> None:
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        if not self._closing and not self._end_sent:
            self._end_sent = True
            self._peer._arrive(_END)

    def abort(self) -> None:
        if self._ending or self._lost:
            return
        self._closing = True
        self._peer._clear_inbox()
        self._peer._arrive(_RESET)
        self._end_soon(None)

    def get_write_buffer_size(self) -> int:
        return max(0, self._peer._inbox_bytes - self._network.window_bytes)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if high is None:
            high = _HIGH_BYTES if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self._high, self._low = high, low
        self._maybe_pause_writer()

    # Arrival.

    def _arrive(self, item: bytes | None) -> None:
        """Queues what the peer sent, with its delay: bytes, the end of the stream, or a reset."""
        if self._lost:
            if self._silent:
                self._inbox_bytes += len(item or b"")
            elif item:
                # No process reads this any more: the host answers with a reset.
                self._peer._arrive(_RESET)
            return
        due = self._loop.time() + self._network.latency(self.remote, self.local)
        self._last_due = max(self._last_due, due)
        self._inbox.append((self._last_due, item))
        self._inbox_bytes += len(item or b"")
        self._schedule()

    def _schedule(self) -> None:
        """Schedules the next delivery, if there is one."""
        if self._handle is not None or not self._open or not self._inbox or self._lost:
            return
        if self._network.is_cut(self.remote, self.local):
            return
        # A paused reader still learns of a reset, which is always the last in the inbox.
        due, item = self._inbox[0] if self.is_reading() else self._inbox[-1]
        if not self.is_reading() and item is not _RESET:
            return
        self._handle_due = due
        if due <= self._loop.time():
            self._handle = self._loop.call_soon(self._pump)
        else:
            self._handle = self._loop.call_at(due, self._pump)

    def _pump(self) -> None:
        """Delivers what is due in one callback, then schedules the next delivery."""
        self._handle = None
        if self._lost or not self._inbox or self._network.is_cut(self.remote, self.local):
            return
        # A timer may fire within the resolution of the clock before its time.
        now = max(self._loop.time(), self._handle_due)
        last_due, last = self._inbox[-1]
        due, item = self._inbox[0]
        if item is _RESET or (last is _RESET and last_due <= now and not self.is_reading()):
            self.break_off(ConnectionResetError("reset by the peer"))
        elif self.is_reading() and due <= now:
            if item == _END:
                self._inbox.popleft()
                self._receive_end()
            else:
                self._receive(self._take(now))
        self._schedule()

    def _take(self, now: float) -> bytes:
        chunks: list[bytes] = []
        size = 0
        while self._inbox and self._inbox[0][0] <= now and self._inbox[0][1]:
            chunk = self._inbox[0][1]
            if chunks and size + len(chunk) > _READ_BYTES_MAX:
                break
            self._inbox.popleft()
            chunks.append(chunk)
            size += len(chunk)
        self._inbox_bytes -= size
        self._peer._drained()
        return b"".join(chunks)

    def _receive(self, data: bytes) -> None:
        try:
            self._connected().data_received(data)
        except Exception as error:  # noqa: BLE001, RUF100  the protocol's own fault; handled as asyncio does
            self._fatal(error, "Fatal error: protocol.data_received() call failed.")

    def _receive_end(self) -> None:
        try:
            stay_open = self._connected().eof_received()
        except Exception as error:  # noqa: BLE001, RUF100  the protocol's own fault; handled as asyncio does
            self._fatal(error, "Fatal error: protocol.eof_received() call failed.")
            return
        if not stay_open:
            self.close()

    # Life and flow.

    def _connected(self) -> asyncio.Protocol:
        assert self._protocol is not None, "the pipe has not been opened"
        return self._protocol

    def _made(self, opened: asyncio.Future[None] | None) -> None:
        try:
            if not self._lost:
                self._connected().connection_made(self)
        finally:
            self._open = True
            if opened is not None and not opened.done():
                opened.set_result(None)
            self._schedule()

    def _end_soon(self, error: Exception | None) -> None:
        if not self._ending:
            self._ending = True
            self._loop.call_soon(self._finish, error)

    def _finish(self, error: Exception | None) -> None:
        if self._lost:
            return
        self._lost = True
        unread = self._inbox_bytes > 0
        self._clear_inbox()
        if unread:
            self._peer._arrive(_RESET)
        self._network.forget(self)
        if self._protocol is not None:
            self._protocol.connection_lost(error)

    def _clear_inbox(self) -> None:
        self._inbox.clear()
        self._inbox_bytes = 0
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._peer._drained()

    def _drained(self) -> None:
        """The other end has taken bytes: the writer may continue, or has flushed and may end."""
        if self._lost:
            return
        size = self.get_write_buffer_size()
        if self._closing:
            if size == 0:
                self._end_soon(None)
        elif self._writer_paused and size <= self._low:
            self._writer_paused = False
            self._connected().resume_writing()

    def _maybe_pause_writer(self) -> None:
        if not self._writer_paused and self.get_write_buffer_size() > self._high:
            self._writer_paused = True
            self._connected().pause_writing()

    def _fatal(self, error: Exception, message: str) -> None:
        self._loop.call_exception_handler(
            {"message": message, "exception": error, "transport": self, "protocol": self._protocol}
        )
        self._peer._clear_inbox()
        self._peer._arrive(_RESET)
        self.break_off(error)
