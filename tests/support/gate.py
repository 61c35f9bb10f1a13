"""A relay between a client and a server, which a test makes silent, rude or mad.

A packet filter would do the same for the whole path, and needs root.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

GARBAGE = bytes(range(256)) * 8


class Mode(enum.Enum):
    """What happens to connections."""

    PASS = "pass"
    """Bytes are relayed."""
    SILENT = "silent"
    """Connections stay open and are accepted, and no byte passes: as after a cut without RST."""
    HANGS_UP = "hangs up"
    """Connections are closed as soon as the client has sent something."""
    GARBAGE = "garbage"
    """The client's first bytes are answered with bytes of no protocol, then the connection is closed."""


class Gate:
    """See the module.

    Args:
        connect: opens a connection to the server.
    """

    def __init__(self, connect: Callable[[], Awaitable[Streams]]) -> None:
        self.port = 0
        self._connect = connect
        self._mode = Mode.PASS
        self._answers_left: int | None = None
        self._passing = asyncio.Event()
        self._passing.set()
        self._relays: set[asyncio.Task[None]] = set()
        self._ways: set[asyncio.Task[None]] = set()

    @classmethod
    @contextlib.asynccontextmanager
    async def to_port(cls, port: int) -> AsyncIterator[Gate]:
        """A gate on a TCP port of its own, in front of one of this host."""
        gate = cls(lambda: asyncio.open_connection("127.0.0.1", port))
        server = await asyncio.start_server(gate._accept, "127.0.0.1", 0)
        gate.port = server.sockets[0].getsockname()[1]
        async with gate._serving(server):
            yield gate

    @classmethod
    @contextlib.asynccontextmanager
    async def to_socket(cls, path: Path, own: Path) -> AsyncIterator[Gate]:
        """A gate on a socket in the file system, in front of another one."""
        gate = cls(lambda: asyncio.open_unix_connection(path))
        async with gate._serving(await asyncio.start_unix_server(gate._accept, own)):
            yield gate

    @property
    def tasks(self) -> set[asyncio.Task[None]]:
        """Of the gate itself."""
        return self._relays | self._ways

    def set(self, mode: Mode) -> None:
        """Also concerns connections that are open; what was held back is relayed at `PASS`."""
        self._mode = mode
        if mode is Mode.SILENT:
            self._passing.clear()
            return
        self._passing.set()
        if mode is not Mode.PASS:
            for relay in self._relays:
                relay.cancel()

    def lose_answer(self, number: int) -> None:
        """The answer of that number from now on, 1 for the next, is lost with its connection; 0 loses none."""
        self._answers_left = number or None

    @contextlib.asynccontextmanager
    async def _serving(self, server: asyncio.Server) -> AsyncIterator[None]:
        try:
            yield
        finally:
            server.close()
            relays = list(self._relays)
            for relay in relays:
                relay.cancel()
            await asyncio.gather(*relays, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        relay = asyncio.ensure_future(self._relay(reader, writer))
        self._relays.add(relay)
        relay.add_done_callback(self._relays.discard)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError), contextlib.closing(writer):
            if self._mode in (Mode.HANGS_UP, Mode.GARBAGE):
                await reader.read(65536)
                if self._mode is Mode.GARBAGE:
                    writer.write(GARBAGE)
                    await writer.drain()
                return
            await self._passing.wait()
            server_reader, server_writer = await self._connect()
            with contextlib.closing(server_writer):
                ways = [
                    asyncio.ensure_future(self._copy(reader, server_writer, answers=False)),
                    asyncio.ensure_future(self._copy(server_reader, writer, answers=True)),
                ]
                self._ways.update(ways)
                try:
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for way in ways:
                        way.cancel()
                    await asyncio.gather(*ways, return_exceptions=True)
                    self._ways.difference_update(ways)

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        while data := await reader.read(65536):
            await self._passing.wait()
            if answers and self._answers_left is not None:
                self._answers_left -= 1
                if not self._answers_left:
                    self._answers_left = None
                    return
            writer.write(data)
            await writer.drain()
