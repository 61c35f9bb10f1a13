"""A proxy that stops passing bytes without a word, as a firewall does that forgets a connection: no FIN, no RST."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class CuttingProxy:
    """Passes bytes to one port of the loopback interface.

    Attributes:
        port: where it listens.
    """

    def __init__(self, target: int) -> None:
        self.port = 0
        self._target = target
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """Connections stay open, and nothing passes, in either direction; new ones are accepted and as silent."""
        self._open.clear()

    def heal(self) -> None:
        """New connections pass; those that were cut stay silent, and are never ended."""
        self._open = asyncio.Event()
        self._open.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        opened = self._open
        out_reader, out_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers |= {writer, out_writer}
        for source, sink in ((reader, out_writer), (out_reader, writer)):
            task = asyncio.create_task(self._pass(opened, source, sink))
            self._tasks.add(task)

    async def _pass(self, opened: asyncio.Event, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while chunk := await source.read(65536):
                await opened.wait()
                sink.write(chunk)
        except OSError:
            pass  # an end of a connection is passed on below
        await opened.wait()
        sink.close()

    async def end(self) -> None:
        """Ends all connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0)  # the transports close their sockets in the next turn


@asynccontextmanager
async def cutting_proxy(target: int) -> AsyncIterator[CuttingProxy]:
    """A proxy to that port."""
    proxy = CuttingProxy(target)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.end()
