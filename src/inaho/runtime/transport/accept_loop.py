"""Accepts connections of a listening socket, and pauses when the process has no file descriptors left.

`loop.create_server` tries again at once, a hundred times per loop iteration, and logs each failure. Without free
descriptors it logged 100,000 lines in half a minute and left no processor time for open connections. This loop pauses
after a failed accept, each time twice as long. One log line reports all failures of ten seconds. Another line reports
the recovery when no accept has failed for ten seconds. One success proves no recovery: while descriptors are freed one
by one, the next accept fails again.
"""

from __future__ import annotations

import asyncio
import logging
import math
import socket
from collections.abc import Callable
from typing import Any, Final

from inaho.errors import InahoError, Overloaded

__all__ = ["AcceptLoop", "TcpServer"]

_logger: Final = logging.getLogger("inaho.transport")

PAUSE_MIN_S: Final = 0.05
PAUSE_MAX_S: Final = 1.0
"""The pause after a failed accept doubles until an accept succeeds."""

REPORT_S: Final = 10.0
"""The log gets one line per this time while accepts fail, and a line about the recovery after this time."""

BATCH: Final = 32
"""Connections accepted in one loop iteration; further ones wait for the next iteration."""

Rejected = Callable[[str, InahoError], None]


class AcceptLoop:
    """Accepts at one socket until it is closed.

    Args:
        sock: bound and non-blocking; closed by `close`.
        backlog: how many connections the kernel keeps until they are accepted.
        accepted: called with the non-blocking socket of each connection and the address of the peer. It owns the
            socket, unless it raises `OSError`, which counts as a failed accept.
        rejected: called when connections cannot be accepted, at most once per `REPORT_S`.
        name: of the Task.
    """

    def __init__(
        self,
        sock: socket.socket,
        backlog: int,
        accepted: Callable[[socket.socket, Any], None],
        rejected: Rejected,
        name: str,
    ) -> None:
        self._sock = sock
        self._accepted = accepted
        self._rejected = rejected
        self._failures = 0
        self._unreported = 0
        self._report_at = -math.inf
        self._quiet: asyncio.TimerHandle | None = None
        sock.listen(backlog)
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run(), name=name)
        # Not in the coroutine: a task that is cancelled before its first step never enters it.
        self._task.add_done_callback(self._ended)

    def close(self) -> None:
        """Accepts no more."""
        self._task.cancel()

    async def wait_closed(self) -> None:
        """Returns when the address is free again."""
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        pause_s, batch = PAUSE_MIN_S, 0
        while True:
            try:
                # Not `loop.sock_accept`: if its caller is cancelled, a socket that it has accepted stays open.
                sock, address = self._sock.accept()
            except (BlockingIOError, InterruptedError):
                await self._connection()
                continue
            except ConnectionAbortedError:  # the peer has gone already
                continue
            except OSError as error:
                failure: OSError | None = error
            else:
                failure = self._hand_over(sock, address)
            if failure is not None:
                self._failed(failure)
                failure = None  # its traceback has this frame
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, PAUSE_MAX_S)
                continue
            pause_s, batch = PAUSE_MIN_S, batch + 1
            if batch % BATCH == 0:  # an accept that does not wait gives other Tasks no time
                await asyncio.sleep(0)

    def _hand_over(self, sock: socket.socket, address: Any) -> OSError | None:
        """Passes a connection to `accepted`. If that lacks descriptors, closes the connection and returns the error."""
        sock.setblocking(False)
        try:
            self._accepted(sock, address)
        except OSError as error:
            sock.close()
            return error
        return None

    async def _connection(self) -> None:
        """Returns when a connection waits to be accepted."""
        waiting = self._loop.create_future()

        def ready() -> None:
            if not waiting.done():
                waiting.set_result(None)

        self._loop.add_reader(self._sock.fileno(), ready)
        try:
            await waiting
        finally:
            self._loop.remove_reader(self._sock.fileno())

    def _failed(self, error: OSError) -> None:
        self._failures += 1
        self._unreported += 1
        if self._quiet is not None:
            self._quiet.cancel()
        self._quiet = self._loop.call_later(REPORT_S, self._recovered)
        now = self._loop.time()
        if now < self._report_at:
            return
        reason = f"cannot accept connections ({self._unreported} attempts): {error.strerror or error}"
        _logger.warning("%s; close other open files, or raise the limit of open files (ulimit -n)", reason)
        self._rejected("", Overloaded(reason))
        self._unreported, self._report_at = 0, now + REPORT_S

    def _recovered(self) -> None:
        _logger.warning("connections are accepted again; %d attempts had failed", self._failures)
        self._failures = self._unreported = 0

    def _ended(self, _: asyncio.Task[None]) -> None:
        self._sock.close()
        if self._quiet is not None:
            self._quiet.cancel()


class TcpServer:
    """Accepts at one socket and gives each connection a protocol.

    Args:
        sock, backlog, rejected: see `AcceptLoop`.
        protocol_factory: called for every connection.
    """

    def __init__(
        self,
        sock: socket.socket,
        backlog: int,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        rejected: Rejected,
    ) -> None:
        self._protocol_factory = protocol_factory
        self._rejected = rejected
        self._attaching: dict[asyncio.Task[None], socket.socket] = {}
        self._accepting = AcceptLoop(sock, backlog, self._attach_soon, rejected, "tcp-accept")

    def close(self) -> None:
        """Accepts no more."""
        self._accepting.close()
        for task in self._attaching:
            task.cancel()

    async def wait_closed(self) -> None:
        """Returns when the address is free again."""
        await self._accepting.wait_closed()

    def _attach_soon(self, sock: socket.socket, address: Any) -> None:
        task = asyncio.get_running_loop().create_task(self._attach(sock, str(address)), name=f"tcp-attach {address}")
        self._attaching[task] = sock
        task.add_done_callback(self._attached)

    async def _attach(self, sock: socket.socket, address: str) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol_factory, sock)
        except OSError as error:
            sock.close()
            self._rejected(address, Overloaded(f"cannot serve a connection: {error.strerror or error}"))

    def _attached(self, task: asyncio.Task[None]) -> None:
        sock = self._attaching.pop(task)
        if task.cancelled():
            sock.close()
