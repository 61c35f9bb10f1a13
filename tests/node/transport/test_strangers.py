"""Strangers that hold connections, and a machine without descriptors: neither keeps clients and members out."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import resource
import socket
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import inaho
from inaho import ClusterConfig, Grain, TransportConfig
from inaho.runtime.connections import acceptor
from inaho.runtime.transport import accept_loop
from inaho.runtime.transport.accept_loop import AcceptLoop, TcpServer
from inaho.runtime.transport.transport import DialFailed, TcpTransport
from inaho.wire.handshake import Handshake, HandshakeConfig

PLACES = 16
CONFIG = ClusterConfig(transport=TransportConfig(handshakes_pending_max=PLACES))
GIVEN: dict[str, Any] = {"secret": "s3cret", "storage": "memory", "config": CONFIG}


class Echo(Grain, name="strangers.echo"):
    """Says what it is told."""

    async def say(self, text: str) -> str:
        return text


def hello() -> bytes:
    """What a stranger without the secret can say."""
    config = HandshakeConfig(cluster="inaho", node_id="0" * 16, authority="10.0.0.9:1", secret="guess")
    return Handshake("dialer", config, bytes(range(32))).start()


@asynccontextmanager
async def flood(authority: str, said: bytes) -> AsyncIterator[list[int]]:
    """Opens connections all the time and keeps them, until they are closed on the other side."""
    host, _, port = authority.rpartition(":")
    opened = [0]

    async def one() -> None:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection(host, int(port))
            opened[0] += 1
            try:
                writer.write(said)
                while await reader.read(4096):
                    pass
            finally:
                writer.close()

    async def many() -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(one())
                await asyncio.sleep(0.005)

    task = asyncio.create_task(many())
    try:
        yield opened
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("said", [b"", b"INAHO", hello()], ids=["silent", "begins", "says hello"])
async def test_strangers_keep_neither_clients_nor_members_out(said: bytes) -> None:
    async with inaho.join("127.0.0.1:0", grains=[Echo], **GIVEN) as member:
        gate = member._node.acceptor._gate
        async with flood(member.authority, said) as opened:
            async with asyncio.timeout(20.0):
                while opened[0] < 2 * PLACES:
                    await asyncio.sleep(0.01)
            for _ in range(5):
                async with (
                    asyncio.timeout(10.0),
                    inaho.connect([member.authority], secret="s3cret") as client,
                    inaho.join("127.0.0.1:0", seeds=[member.authority], grains=[Echo], **GIVEN) as joined,
                ):
                    assert await client.grain(Echo, "a").say("hello") == "hello"
                    assert joined.self.status == inaho.MemberStatus.UP
                assert gate.pending <= PLACES
                gate.check()
            assert gate.turned_away > 0


@contextlib.contextmanager
def descriptors_left(count: int) -> Generator[None]:
    """So many can still be opened in this process."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as opened:
        # The limit bounds the numbers. A new descriptor has the lowest free one, and these may not be in a row.
        last = [opened.enter_context(socket.socket()).fileno() for _ in range(count)][-1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (last + 1, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_without_descriptors_it_waits_says_so_once_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    made: list[asyncio.Transport] = []
    rejected: list[str] = []

    class Held(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            made.append(transport)

    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    server = TcpServer(sock, 64, Held, lambda _, error: rejected.append(error.reason))
    clients = [socket.create_connection(sock.getsockname()) for _ in range(12)]
    loop = asyncio.get_running_loop()
    turns = 0

    with caplog.at_level(logging.WARNING, "inaho.transport"):
        with descriptors_left(4):
            began = loop.time()
            while (passed_s := loop.time() - began) < 0.6 or turns <= 10:  # what is connected is served meanwhile
                turns += 1
                await asyncio.sleep(0.01)
            assert len(made) == 4
            assert len(caplog.messages) == 1
            assert "cannot accept connections (1 attempts): Too many open files; close other open" in caplog.messages[0]
            assert rejected == ["cannot accept connections (1 attempts): Too many open files"]
            assert server._accepting._failures <= 5 + passed_s  # it pauses: 0.05, 0.1, 0.2, 0.4, 0.8 s, then 1 s
        async with asyncio.timeout(10.0):
            while len(made) < 12:
                await asyncio.sleep(0.01)
    server.close()
    await server.wait_closed()
    for transport in made:
        transport.close()
    for client in clients:
        client.close()
    await asyncio.sleep(0)


class Scarce(socket.socket):
    """A listening socket of a machine that gets its descriptors back one by one: each accept fails once."""

    failed = False

    def accept(self) -> tuple[socket.socket, Any]:
        self.failed = not self.failed
        if self.failed:
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


@pytest.mark.parametrize("lacking", ["accepting", "handing over"])
async def test_descriptors_that_come_back_one_by_one_are_one_line(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    monkeypatch.setattr(accept_loop, "PAUSE_MIN_S", 0.001)
    monkeypatch.setattr(accept_loop, "REPORT_S", 60.0)
    made: list[socket.socket] = []
    rejected: list[str] = []
    failures = 0

    def accepted(connection: socket.socket, _: Any) -> None:
        nonlocal failures
        if lacking == "handing over" and failures <= len(made):
            failures += 1
            raise OSError(errno.EMFILE, "Too many open files")
        made.append(connection)

    sock = (Scarce if lacking == "accepting" else socket.socket)()
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    accepting = AcceptLoop(sock, 64, accepted, lambda _, error: rejected.append(error.reason), "accept")
    clients: list[socket.socket] = []

    async def serve(count: int) -> None:
        """Comes until so many are served. Who is closed meanwhile comes again."""
        async with asyncio.timeout(20.0):
            while len(made) < count:
                clients.append(socket.create_connection(sock.getsockname()))
                await asyncio.sleep(0.002)

    with caplog.at_level(logging.WARNING, "inaho.transport"):
        await serve(20)
        assert len(caplog.messages) == len(rejected) == 1
        assert accepting._failures >= 20
        monkeypatch.setattr(accept_loop, "REPORT_S", 0.05)
        await serve(len(made) + 2)  # one may have failed before and succeed now; the next one fails first
        async with asyncio.timeout(20.0):
            while len(caplog.messages) < 2:
                await asyncio.sleep(0.01)
    assert "connections are accepted again" in caplog.messages[1]
    assert len(rejected) == 1
    accepting.close()
    await accepting.wait_closed()
    for each in made + clients:
        each.close()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS])
async def test_a_dial_without_descriptors_says_nothing_about_the_peer(
    fleet: Any, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    async def no_socket(*_: Any, **__: Any) -> Any:
        raise OSError(number, "none left")

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", no_socket)
    with pytest.raises(DialFailed) as raised:
        await TcpTransport(TransportConfig(), authenticated=True).dial("127.0.0.1:7", asyncio.Protocol)
    assert raised.value.cause_kind == "local"
    one, other = await fleet.members(2)
    associations = one._node.associations
    associations.lost(other.authority, "for the test")
    for error, held in ((raised.value, False), (DialFailed("silent", cause_kind="timeout"), True)):
        for _ in range(one.config.delivery.failures_max):
            associations.failed(other.authority, error)
        assert (associations.machine.refusal(other.authority) is not None) == held


async def test_refused_connections_are_logged_within_a_limit(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceptor, "REFUSALS_PERIOD_S", 60.0)
    async with inaho.join("127.0.0.1:0", **GIVEN) as member:
        host, _, port = member.authority.rpartition(":")
        for _ in range(8):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(hello().replace(b"inaho", b"other"))
            await reader.read()
            writer.close()
        assert not any("further connections" in line for line in caplog.messages)
        member._node.acceptor.expire(asyncio.get_running_loop().time() + 61.0)
    told = [line for line in caplog.messages if line.startswith("a connection from 127.0.0.1:")]
    assert len(told) == 5
    assert "wrong_cluster" in told[0]
    assert "3 further connections that were refused (wrong_cluster) within 60 s were not logged" in caplog.messages
