"""A peer that shakes hands like a node and then does what no node does."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from typing import Any, Literal

import msgspec

from inaho.wire.frames import CALL, DEFINE, GOODBYE, HEADER, HEADER_REST, Definition, Goodbye, frame
from inaho.wire.handshake import Handshake, HandshakeConfig
from support.member_processes import NAME, SECRET

encode = msgspec.msgpack.encode
LIMIT_S = 30.0


class Attacker:
    """One raw connection.

    Args:
        reader, writer: of the connection.
        leftover: what came behind the handshake.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, leftover: bytes = b"") -> None:
        self._reader = reader
        self._writer = writer
        self._data = leftover

    @classmethod
    async def plain(cls, authority: str) -> Attacker:
        """Connected, and nothing said."""
        host, port = authority.rsplit(":", 1)
        return cls(*await asyncio.open_connection(host, int(port)))

    @classmethod
    async def authenticated(
        cls, authority: str, *, role: Literal["client", "member"] = "client", own: str = "", **local: Any
    ) -> Attacker:
        """Through the real handshake. Raises what that raises."""
        attacker = await cls.plain(authority)
        config = {"cluster": NAME, "secret": SECRET, "node_id": os.urandom(8).hex(), **local}
        handshake = Handshake("dialer", HandshakeConfig(role=role, authority=own, **config), os.urandom(32))
        attacker.send(handshake.start())
        peer = None
        try:
            while peer is None:
                data = await attacker._reader.read(4096)
                assert data, "closed in the handshake"
                answer, peer, attacker._data = handshake.receive(data)
                attacker.send(answer)
        except BaseException:
            attacker.close()
            raise
        return attacker

    @property
    def address(self) -> str:
        """What the member knows it by."""
        return ":".join(map(str, self._writer.get_extra_info("sockname")))

    def send(self, *parts: bytes) -> None:
        self._writer.write(b"".join(parts))

    async def sent(self) -> None:
        """Returns when the kernel has taken all of it."""
        await self._writer.drain()

    async def frames(self, *wanted: int) -> tuple[int, int, int, bytes]:
        """The next frame of one of these types: type, method, correlation, body. EOF raises `EOFError`."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                kind, method, correlation, body = await self._next()
                if kind in wanted:
                    return kind, method, correlation, body

    async def _next(self) -> tuple[int, int, int, bytes]:
        while True:
            if len(self._data) >= HEADER.size:
                length, kind, _, method, correlation = HEADER.unpack_from(self._data)
                end = 4 + length
                if len(self._data) >= end:
                    body, self._data = self._data[HEADER.size : end], self._data[end:]
                    return kind, method, correlation, body
            data = await self._reader.read(1 << 16)
            if not data:
                raise EOFError
            self._data += data

    async def goodbye(self) -> Goodbye:
        """Why the member closes, followed by the end of the connection."""
        _, _, _, body = await self.frames(GOODBYE)
        await self.closed()
        return msgspec.msgpack.decode(body, type=Goodbye)

    async def closed(self) -> bytes:
        """Waits for the end; returns what came before it."""
        async with asyncio.timeout(LIMIT_S):
            try:
                rest = self._data + await self._reader.read()
            except ConnectionResetError:
                rest = self._data
        self._writer.close()
        return rest

    def read_nothing(self) -> None:
        """From now on the kernel's buffers fill up."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]

    def reset(self) -> None:
        """Ends the connection by RST."""
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    def close(self) -> None:
        self._writer.close()


def define(
    number: int, method: str, arity: int = 1, *, kind: str = "Probe", streams: bool = False, timeout_ms: int = 10_000
) -> bytes:
    """A definition as a node sends it."""
    return frame(DEFINE, encode(Definition(kind, method, "", arity, timeout_ms, streams)), method=number)


def call(number: int, correlation: int, key: str, *arguments: Any, flags: int = 0, fields: bytes = b"") -> bytes:
    """A call as a node sends it."""
    return frame(CALL, fields + encode((key, *arguments)), flags=flags, method=number, correlation=correlation)


def header(length: int, kind: int, method: int = 0, correlation: int = 0, flags: int = 0) -> bytes:
    """A header that promises what it likes."""
    return HEADER.pack(length, kind, flags, method, correlation)


SHORTEST = HEADER_REST
