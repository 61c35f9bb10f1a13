"""Servers of HTTP whose answers a test writes byte by byte, and clients for them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from inaho.core.provisioning.descriptor import parse_url
from inaho.providers.http import HttpClient
from inaho.providers.setup import ProviderSetup, Secrets

TIMEOUT_S = 5.0


def answer(body: bytes = b"{}", status: int = 200, *headers: str) -> bytes:
    """A whole response."""
    lines = [f"HTTP/1.1 {status} Reason", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


BEGINNING = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
"""Of a response that goes on."""


def chunk(data: bytes) -> bytes:
    """A part of such a response; empty ends it."""
    return f"{len(data):x}".encode() + b"\r\n" + data + b"\r\n"


@dataclass
class Asked:
    """One request: its number on the connection from 0, and what it says."""

    number: int
    line: str
    headers: dict[str, str]
    body: bytes
    writer: asyncio.StreamWriter


@dataclass
class HttpServer:
    """See the module.

    Attributes:
        reply: answers a request; None answers nothing.
        asked: all requests so far.
        connections: opened so far.
        hung_up: connections that the client has closed.
    """

    reply: Callable[[Asked], Awaitable[bytes | None]]
    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    hung_up: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers the requests of one connection."""
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        number = 0
        with contextlib.suppress(ConnectionError, asyncio.CancelledError), contextlib.closing(writer):
            while True:
                try:
                    head = (await reader.readuntil(b"\r\n\r\n")).decode()
                except asyncio.IncompleteReadError:
                    self.hung_up += 1
                    return
                line, *lines = head.strip().split("\r\n")
                headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in lines)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                self.asked.append(Asked(number, line, headers, body, writer))
                number += 1
                found = await self.reply(self.asked[-1])
                if found is not None:
                    writer.write(found)
                    await writer.drain()

    async def end(self) -> None:
        """Ends its connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def serving(reply: bytes | Callable[[Asked], Awaitable[bytes | None]] | None) -> AsyncIterator[HttpServer]:
    """A server on a free port of loopback.

    Args:
        reply: the answer to all requests (None: silence), or what finds it.
    """

    async def same(_: Asked) -> bytes | None:
        assert not callable(reply)
        return reply

    made = HttpServer(reply if callable(reply) else same)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        await made.end()


@contextlib.asynccontextmanager
async def client_of(
    *servers: HttpServer | int, timeout_s: float = TIMEOUT_S, proxy_from_environment: bool = False
) -> AsyncIterator[HttpClient]:
    """A client of these servers, or of what listens at these ports."""
    ports = [each if isinstance(each, int) else each.port for each in servers]
    url = parse_url("etcd://" + ",".join(f"127.0.0.1:{port}" for port in ports) + "/shop")
    made = HttpClient(
        ProviderSetup("ours", url, "shop", Secrets({}), timeout_s),
        port=80,
        tls=None,
        proxy_from_environment=proxy_from_environment,
    )
    try:
        yield made
    finally:
        await made.close()
