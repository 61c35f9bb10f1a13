"""Peers that no node is: raw sockets that read slowly, fall silent in the handshake, or do not know the secret."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from typing import Literal

import msgspec

from inaho.errors import InahoError
from inaho.wire.frames import CALL, DEFINE, Definition, frame
from inaho.wire.handshake import Handshake, HandshakeConfig

encode = msgspec.msgpack.encode
NAME = "inaho"
RECEIVE_BUFFER_BYTES = 4096
CONNECT_AT_ONCE = 64
BATCH = 4096


def handshake_of(secret: str, role: Literal["client", "member"] = "client", own: str = "") -> Handshake:
    """A dialer's handshake, as any node begins it."""
    config = HandshakeConfig(cluster=NAME, secret=secret, node_id=os.urandom(8).hex(), role=role, authority=own)
    return Handshake("dialer", config, os.urandom(32))


def raw_socket(receive_buffer: int | None = None) -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    if receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    return sock


def address(authority: str) -> tuple[str, int]:
    host, port = authority.rsplit(":", 1)
    return host, int(port)


class SlowReader:
    """Authenticated like a client; asks for a lot and reads next to nothing.

    Args:
        authority: of the member.
        secret: of the cluster.
        answer_bytes: size of each answer that it asks for.
    """

    def __init__(self, authority: str, secret: str, answer_bytes: int) -> None:
        self.received = 0
        self.sent = 0
        self._authority = authority
        self._secret = secret
        self._answer_bytes = answer_bytes
        self._sock = raw_socket(RECEIVE_BUFFER_BYTES)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, bytes_per_s: int) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_connect(self._sock, address(self._authority))
        handshake = handshake_of(self._secret)
        await loop.sock_sendall(self._sock, handshake.start())
        peer = None
        while peer is None:
            data = await loop.sock_recv(self._sock, 4096)
            if not data:
                raise RuntimeError("closed in the handshake")
            answer, peer, _ = handshake.receive(data)
            await loop.sock_sendall(self._sock, answer)
        definition = Definition("Bulk", "blob", "", 1, 600_000, False)
        await loop.sock_sendall(self._sock, frame(DEFINE, encode(definition), method=1))
        self._tasks = [loop.create_task(self._ask()), loop.create_task(self._read(bytes_per_s))]

    async def _ask(self) -> None:
        """Calls, until the member reads no more of them."""
        loop = asyncio.get_running_loop()
        number = 0
        while True:
            calls = [  # as many as the member may read at once
                frame(CALL, encode((f"bulk-{number + i & 7}", self._answer_bytes)), method=1, correlation=number + i)
                for i in range(BATCH)
            ]
            number += BATCH
            await loop.sock_sendall(self._sock, b"".join(calls))
            self.sent = number

    async def _read(self, bytes_per_s: int) -> None:
        loop = asyncio.get_running_loop()
        while True:
            data = await loop.sock_recv(self._sock, max(1, bytes_per_s // 4))
            if not data:
                raise RuntimeError("the member closed the slow reader")
            self.received += len(data)
            await asyncio.sleep(len(data) / bytes_per_s)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._sock.close()


async def half_open(authority: str, count: int, limit_s: float) -> list[float]:
    """Opens connections of which each says half a hello, or nothing; seconds until the member has closed each.

    A connection that the member has not closed within `limit_s` counts as `limit_s`.
    """
    loop = asyncio.get_running_loop()
    places = asyncio.Semaphore(CONNECT_AT_ONCE)
    hello = handshake_of("").start()

    async def one(number: int) -> float:
        sock = raw_socket()
        try:
            async with places:
                await loop.sock_connect(sock, address(authority))
                start = time.perf_counter()
            try:
                async with asyncio.timeout(limit_s):
                    if number % 2:
                        await loop.sock_sendall(sock, hello[: len(hello) // 2])
                    while await loop.sock_recv(sock, 4096):
                        continue
            except (TimeoutError, ConnectionError):
                pass  # not closed in time, which the seconds say; or closed by a reset, which is as good
            return time.perf_counter() - start
        finally:
            sock.close()

    return list(await asyncio.gather(*(one(number) for number in range(count))))


async def wrong_secrets(authority: str, count: int, claimed: str) -> tuple[int, int]:
    """Dials as if it were the member `claimed`, with a wrong secret; how many were refused, and how many let in."""
    loop = asyncio.get_running_loop()
    places = asyncio.Semaphore(CONNECT_AT_ONCE)

    async def one() -> bool:
        async with places:
            sock = raw_socket()
            try:
                await loop.sock_connect(sock, address(authority))
                handshake = handshake_of("not the secret", "member", claimed)
                await loop.sock_sendall(sock, handshake.start())
                while data := await loop.sock_recv(sock, 4096):
                    answer, peer, _ = handshake.receive(data)
                    if peer is not None:
                        return True
                    await loop.sock_sendall(sock, answer)
            except (InahoError, ConnectionError):
                return False
            finally:
                sock.close()
            return False

    admitted = sum(await asyncio.gather(*(one() for _ in range(count))))
    return count - admitted, admitted
