"""A node over TCP or TLS that accepts handshakes, and who dials it; both say what they were told."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import pytest

from inaho.config import TlsConfig, TransportConfig
from inaho.errors import InahoError
from inaho.runtime.connections.handshake import HandshakeGate, accept_factory, dial_authenticated
from inaho.runtime.transport.transport import Listener, TcpTransport
from inaho.wire.handshake import Handshake, HandshakeConfig, PeerInfo
from support.waiting import until


class Talk(asyncio.Protocol):
    """What follows the handshake: collects bytes; an acceptor's says them back."""

    def __init__(self, peer: PeerInfo | None = None, *, echo: bool = False, greeting: bytes = b"") -> None:
        self.peer = peer
        self.received = b""
        self.lost: Exception | str | None = "connected"
        self.transport: Any = None
        self._echo = echo
        self._greeting = greeting

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        if self._greeting:
            self.transport.write(self._greeting)

    def data_received(self, data: bytes) -> None:
        self.received += data
        if self._echo:
            self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = exc


class Node:
    """An acceptor with all of its outcomes on record."""

    def __init__(
        self,
        transport: TcpTransport,
        *,
        timeout_s: float = 5.0,
        pending_max: int = 128,
        greeting: bytes = b"",
        **says: Any,
    ) -> None:
        self.transport = transport
        self.talks: list[Talk] = []
        self.errors: list[InahoError] = []
        self.gate = HandshakeGate(pending_max)
        self.refuse_with: InahoError | None = None
        self._timeout_s = timeout_s
        self._greeting = greeting
        self._says: dict[str, Any] = {"cluster": "shop", "node_id": "a1", "authority": "10.0.0.2:1", "secret": "s3"}
        self._says.update(says)

    async def __aenter__(self) -> Node:
        factory = accept_factory(
            lambda: Handshake("acceptor", HandshakeConfig(**self._says), secrets.token_bytes(32)),
            timeout_s=self._timeout_s,
            gate=self.gate,
            established=self._established,
            failed=lambda error, _address: self.errors.append(error),
        )
        self.listener: Listener = await self.transport.listen("127.0.0.1:0", factory)
        self.authority = self.listener.authority
        return self

    async def __aexit__(self, *_: object) -> None:
        self.transport.close()
        await self.listener.wait_closed()
        for talk in self.talks:
            talk.transport.abort()
        await until(lambda: all(talk.lost != "connected" for talk in self.talks))

    def _established(self, _transport: asyncio.Transport, peer: PeerInfo) -> Talk:
        if self.refuse_with is not None:
            raise self.refuse_with
        self.talks.append(Talk(peer, echo=True, greeting=self._greeting))
        return self.talks[-1]


async def dial(transport: TcpTransport, authority: str, *, timeout_s: float = 5.0, **says: Any) -> Talk:
    known: dict[str, Any] = {"cluster": "shop", "node_id": "d1", "role": "client", "secret": "s3"}
    handshake = Handshake("dialer", HandshakeConfig(**{**known, **says}), secrets.token_bytes(32))
    return await dial_authenticated(transport, authority, handshake, timeout_s, lambda _, peer: Talk(peer))


def tcp(tls: TlsConfig | None = None, *, rejected: list[InahoError] | None = None, **changes: Any) -> TcpTransport:
    told = None if rejected is None else lambda _, error: rejected.append(error)
    return TcpTransport(TransportConfig(**changes), tls, authenticated=True, rejected=told)


async def dial_fails(authority: str, tls: TlsConfig | None = None, **says: Any) -> InahoError:
    with pytest.raises(InahoError) as caught:
        await dial(tcp(tls), authority, **says)
    assert caught.value.authority
    return caught.value


async def raw_exchange(authority: str, *pieces: bytes) -> bytes:
    """Says `pieces` and reads until the other side closes."""
    host, port = authority.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer
