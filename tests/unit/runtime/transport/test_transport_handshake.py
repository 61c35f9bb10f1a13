"""The handshake over TCP, on both event loops: both sides are told who the peer is or why not, in time and bounds."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import time
from typing import Any

import pytest

from inaho.config import TransportConfig
from inaho.errors import (
    AuthenticationFailed,
    InahoError,
    Overloaded,
    ProtocolViolation,
    ShuttingDown,
    Timeout,
    VersionMismatch,
    WrongCluster,
    WrongIncarnation,
)
from inaho.runtime.connections.handshake import HandshakeGate, accept_factory
from inaho.runtime.transport.transport import DialFailed, TcpTransport
from inaho.wire.features import FEATURES, RELEASE
from inaho.wire.handshake import Handshake, HandshakeConfig, PeerInfo
from support.loops import both_loops, run
from support.tcp_nodes import Node, Talk, dial, dial_fails, raw_exchange, tcp
from support.waiting import until

# The way that goes well.


@both_loops
def test_authenticated_over_tcp(loop_name: str) -> None:
    async def scenario() -> None:
        async with Node(tcp()) as node:
            talk = await dial(tcp(), node.authority)
            assert talk.peer == PeerInfo("10.0.0.2:1", "a1", 0, "member", 2, 1, RELEASE, dict(FEATURES))
            await until(lambda: node.talks)
            assert node.talks[0].peer == PeerInfo("", "d1", 0, "client", 2, 1, RELEASE, dict(FEATURES))
            talk.transport.write(b"x" * 300_000)
            await until(lambda: len(talk.received) == 300_000)
            assert node.gate.pending == 0
            for end in (talk, node.talks[0]):
                sock = end.transport.get_extra_info("socket")
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
            talk.transport.close()
            await until(lambda: node.talks[0].lost is None)
            assert node.errors == []

    run(scenario(), loop_name)


def test_first_bytes_of_the_acceptor_may_come_with_its_proof() -> None:
    async def scenario() -> None:
        async with Node(tcp(), greeting=b"at once") as node:
            talk = await dial(tcp(), node.authority)
            await until(lambda: talk.received == b"at once")
            talk.transport.close()

    run(scenario())


# Refusals, told on both sides.


@both_loops
@pytest.mark.parametrize(
    ("says", "kind"),
    [
        ({"secret": "guess"}, AuthenticationFailed),
        ({"secret": ""}, AuthenticationFailed),
        ({"cluster": "staging"}, WrongCluster),
        ({"protocols": (9,)}, VersionMismatch),
        ({"schemas": (9,)}, VersionMismatch),
        ({"expected_node_id": "a0"}, WrongIncarnation),
    ],
)
def test_refused_on_both_sides(loop_name: str, says: dict[str, Any], kind: type[InahoError]) -> None:
    async def scenario() -> None:
        async with Node(tcp()) as node:
            error = await dial_fails(node.authority, **says)
            assert type(error) is kind
            await until(lambda: node.errors)
            assert type(node.errors[0]) is kind
            assert node.talks == []
            assert node.gate.pending == 0
            if isinstance(error, WrongIncarnation):
                assert error.node_id == "a1"

    run(scenario(), loop_name)


def test_an_acceptor_without_a_secret_does_not_take_one() -> None:
    async def scenario() -> None:
        async with Node(tcp(), secret="") as node:
            error = await dial_fails(node.authority)
            assert type(error) is AuthenticationFailed
            assert "the acceptor was given none" in str(error)

    run(scenario())


def test_whoever_makes_the_next_protocol_may_refuse() -> None:
    async def scenario() -> None:
        async with Node(tcp()) as node:
            node.refuse_with = ShuttingDown("draining")
            error = await dial_fails(node.authority)
            assert type(error) is ShuttingDown
            assert "draining" in error.reason
            assert node.gate.pending == 0
            assert [type(error) for error in node.errors] == [ShuttingDown]

    run(scenario())


@both_loops
@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (b"GET / HTTP/1.1\r\nHost: inaho\r\n\r\n", "HTTP"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "TLS"),
        (b"\x00" * 50_000, "not an inaho node"),
        (b"INAHO\x01\x01\xff\xff" + b"x" * 70_000, "exceeds"),
    ],
)
def test_garbage_is_answered_and_closed(loop_name: str, data: bytes, hint: str) -> None:
    async def scenario() -> None:
        async with Node(tcp()) as node:
            try:
                answer = await raw_exchange(node.authority, data)
                assert answer == b"" or answer.startswith(b"INAHO\x01\x03")
            except ConnectionError:
                # The kernel resets a connection that is closed with bytes unread.
                assert len(data) > 10_000
            await until(lambda: node.errors)
            assert type(node.errors[0]) is ProtocolViolation
            assert hint in str(node.errors[0])
            assert node.gate.pending == 0

    run(scenario(), loop_name)


# Time and bounds.


@both_loops
@pytest.mark.parametrize("said", [b"", b"INAH", b"INAHO\x01\x01\x00\x80half"])
def test_silence_is_ended_in_time(loop_name: str, said: bytes) -> None:
    async def scenario() -> None:
        async with Node(tcp(), timeout_s=0.1) as node:
            started = time.monotonic()
            with contextlib.suppress(ConnectionResetError):
                # An abort is seen as a reset or as an end.
                assert await raw_exchange(node.authority, said) == b""
            assert time.monotonic() - started > 0.05
            assert type(node.errors[0]) is Timeout
            assert not node.errors[0].maybe_executed
            assert node.gate.pending == 0

    run(scenario(), loop_name)


def test_a_silent_acceptor_is_a_failed_dial() -> None:
    async def scenario() -> None:
        transport = tcp()
        listener = await transport.listen("127.0.0.1:0", Talk)
        with pytest.raises(DialFailed) as caught:
            await dial(tcp(), listener.authority, timeout_s=0.05)
        assert caught.value.cause_kind == "timeout"
        assert caught.value.authority == listener.authority
        transport.close()

    run(scenario())


def test_an_acceptor_that_hangs_up_is_a_failed_dial() -> None:
    class HangUp(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            transport.close()

    async def scenario() -> None:
        transport = tcp()
        listener = await transport.listen("127.0.0.1:0", HangUp)
        error = await dial_fails(listener.authority)
        assert type(error) is DialFailed
        assert error.cause_kind == "other"
        transport.close()

    run(scenario())


@both_loops
def test_half_open_connections_are_bounded(loop_name: str) -> None:
    async def scenario() -> None:
        async with Node(tcp(), timeout_s=60.0, pending_max=16) as node:
            host, port = node.authority.split(":")
            ends = [Talk() for _ in range(200)]
            loop = asyncio.get_running_loop()
            most = 0
            for talk in ends:
                await loop.create_connection(lambda talk=talk: talk, host, int(port))
                most = max(most, node.gate.pending)
            await until(lambda: node.gate.turned_away == 184)
            assert most <= 16
            assert node.gate.pending == 16
            await until(lambda: sum(talk.lost != "connected" for talk in ends) == 184)
            assert all(type(error) is Overloaded for error in node.errors)
            # One place freed is one place to have.
            next(talk for talk in ends if talk.lost == "connected").transport.close()
            await until(lambda: node.gate.pending == 15)
            talk = await dial(tcp(), node.authority)
            talk.transport.close()
            for talk in ends:
                talk.transport.abort()
            await until(lambda: node.gate.pending == 0)

    run(scenario(), loop_name)


def test_a_cancelled_dial_leaves_no_connection() -> None:
    async def scenario() -> None:
        accepted: list[Talk] = []
        transport = tcp()
        listener = await transport.listen("127.0.0.1:0", lambda: (accepted.append(Talk()), accepted[-1])[1])
        task = asyncio.get_running_loop().create_task(dial(tcp(), listener.authority))
        await until(lambda: accepted and accepted[0].received)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: accepted[0].lost != "connected")
        transport.close()

    run(scenario())


def test_many_dials_at_once() -> None:
    async def scenario() -> None:
        async with Node(tcp()) as node:
            talks = await asyncio.gather(*(dial(tcp(), node.authority) for _ in range(50)))
            assert len({talk.peer for talk in talks}) == 1
            await until(lambda: len(node.talks) == 50)
            for talk, number in zip(talks, itertools.count(), strict=False):
                talk.transport.write(str(number).encode())
            await until(lambda: all(talk.received == str(n).encode() for n, talk in enumerate(talks)))
            for talk in talks:
                talk.transport.close()

    run(scenario())


async def test_who_fails_the_handshake_is_named_by_address() -> None:
    told: list[tuple[str, str]] = []
    transport = TcpTransport(TransportConfig(), authenticated=True)
    factory = accept_factory(
        lambda: Handshake("acceptor", HandshakeConfig(cluster="c", node_id="0" * 16, authority="a:1"), bytes(32)),
        timeout_s=5.0,
        gate=HandshakeGate(4),
        established=lambda *_: Talk(None),  # type: ignore[arg-type]
        failed=lambda error, address: told.append((error.code, address)),
    )
    listener = await transport.listen("127.0.0.1:0", factory)
    reader, writer = await asyncio.open_connection("127.0.0.1", int(listener.authority.rpartition(":")[2]))
    host, port = writer.get_extra_info("sockname")
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    await reader.read()
    await until(lambda: told)
    assert told == [("protocol_violation", f"{host}:{port}")]
    writer.close()
    transport.close()
    await listener.wait_closed()
