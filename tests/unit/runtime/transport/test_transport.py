"""TCP and TLS on loopback, on both event loops, with the handshake on top."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import errno
import gc
import itertools
import secrets
import socket
import struct
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from inaho.config import TlsConfig, TransportConfig
from inaho.errors import (
    AuthenticationFailed,
    AuthorityInUse,
    InahoError,
    InvalidConfig,
    Overloaded,
    ProtocolViolation,
    ShuttingDown,
    Timeout,
    Unreachable,
    VersionMismatch,
    WrongCluster,
    WrongIncarnation,
)
from inaho.runtime.connections.handshake import HandshakeGate, accept_factory, dial_authenticated
from inaho.runtime.transport.transport import DialFailed, Listener, TcpTransport
from inaho.wire.features import FEATURES, RELEASE
from inaho.wire.handshake import Handshake, HandshakeConfig, PeerInfo
from support.waiting import until

ResultT = TypeVar("ResultT")
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
both_loops = pytest.mark.parametrize("loop_name", LOOPS)


def run(scenario: Coroutine[Any, Any, ResultT], loop_name: str = "asyncio") -> ResultT:
    async def limited() -> ResultT:
        async with asyncio.timeout(40):
            return await scenario

    with asyncio.Runner(loop_factory=LOOPS[loop_name]) as runner:
        return runner.run(limited())


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


# Certificates.


def authority_of_certificates(folder: Path, name: str) -> TlsConfig:
    """A certificate authority and one node's certificate under it."""
    now = datetime.datetime.now(datetime.UTC)
    root_key, node_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

    def certificate(subject: str, key: ec.EllipticCurvePrivateKey, *, root: bool) -> x509.Certificate:
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=root, path_length=None), critical=True)
            .sign(root_key, hashes.SHA256())
        )

    pem = serialization.Encoding.PEM
    paths = [folder / f"{name}-{part}.pem" for part in ("root", "node", "key")]
    paths[0].write_bytes(certificate(name, root_key, root=True).public_bytes(pem))
    paths[1].write_bytes(certificate(f"{name} node", node_key, root=False).public_bytes(pem))
    plain = serialization.NoEncryption()
    paths[2].write_bytes(node_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return TlsConfig(certificate=str(paths[1]), private_key=str(paths[2]), authority_certificates=str(paths[0]))


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> TlsConfig:
    return authority_of_certificates(tmp_path_factory.mktemp("ours"), "ours")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> TlsConfig:
    return authority_of_certificates(tmp_path_factory.mktemp("theirs"), "theirs")


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


@both_loops
def test_authenticated_over_tls(loop_name: str, ours: TlsConfig) -> None:
    async def scenario() -> None:
        async with Node(tcp(ours), secret="") as node:
            talk = await dial(tcp(ours), node.authority, secret="")
            assert talk.transport.get_extra_info("ssl_object").version() in ("TLSv1.2", "TLSv1.3")
            talk.transport.write(b"x" * 300_000)
            await until(lambda: len(talk.received) == 300_000)
            talk.transport.close()
            await until(lambda: node.talks[0].lost != "connected")

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


# Dialling and binding.


@both_loops
def test_nobody_listens(loop_name: str, kept_port: int) -> None:
    async def scenario() -> None:
        transport = tcp()
        listener = await transport.listen(f"127.0.0.1:{kept_port}", Talk)
        listener.close()
        await listener.wait_closed()
        await asyncio.sleep(0)
        with pytest.raises(DialFailed) as caught:
            await tcp().dial(listener.authority, Talk)
        assert caught.value.cause_kind == "refused"
        assert caught.value.code == "unreachable"
        assert isinstance(caught.value, Unreachable)

    run(scenario(), loop_name)


def without_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """No name has an address for the running loop; a real name server may take its time to say so."""
    loop = asyncio.get_running_loop()
    addresses = loop.getaddrinfo

    async def of_addresses(host: Any, port: Any, **hints: Any) -> Any:
        if host == "no-such-host.invalid":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return await addresses(host, port, **hints)

    monkeypatch.setattr(loop, "getaddrinfo", of_addresses)


def test_a_name_without_address(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        without_names(monkeypatch)
        with pytest.raises(DialFailed) as caught:
            await tcp().dial("no-such-host.invalid:7700", Talk)
        assert caught.value.cause_kind == "other"

    run(scenario())


@both_loops
def test_a_full_backlog_is_a_timeout(loop_name: str) -> None:
    async def scenario() -> None:
        with socket.socket() as deaf:
            deaf.bind(("127.0.0.1", 0))
            deaf.listen(0)
            authority = f"127.0.0.1:{deaf.getsockname()[1]}"
            opened: list[asyncio.BaseTransport] = []

            async def fill() -> None:
                for _ in range(8):
                    opened.append(await tcp(dial_timeout_s=0.1).dial(authority, Talk))

            with pytest.raises(DialFailed) as caught:
                await fill()
            assert caught.value.cause_kind == "timeout"
            for transport in opened:
                transport.close()
            await asyncio.sleep(0)

    run(scenario(), loop_name)


@both_loops
def test_a_taken_port(loop_name: str, kept_port: int) -> None:
    async def scenario() -> None:
        transport = tcp()
        assert not (await transport.listen("127.0.0.1:0", Talk)).authority.endswith(":0")
        listener = await transport.listen(f"127.0.0.1:{kept_port}", Talk)
        with pytest.raises(AuthorityInUse) as caught:
            await tcp().listen(listener.authority, Talk)
        assert caught.value.authority == listener.authority
        listener.close()
        listener.close()
        await listener.wait_closed()
        await asyncio.sleep(0)
        again = await transport.listen(listener.authority, Talk)
        assert again.authority == listener.authority
        transport.close()

    run(scenario(), loop_name)


@pytest.mark.parametrize("authority", ["localhost:0", "[::1]:0"])
def test_names_and_ipv6(authority: str) -> None:
    async def scenario() -> None:
        transport = tcp()
        listener = await transport.listen(authority, Talk)
        assert listener.authority.rpartition(":")[0] == authority.rpartition(":")[0]
        end = await tcp().dial(listener.authority, Talk)
        end.close()
        transport.close()
        await asyncio.sleep(0)

    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            if authority.startswith("["):
                pytest.skip("this machine has no IPv6 loopback")
    run(scenario())


@pytest.mark.parametrize("authority", ["0.0.0.0:0", "[::]:0"])
def test_a_public_bind_needs_authentication(authority: str) -> None:
    async def scenario() -> None:
        with pytest.raises(InvalidConfig) as caught:
            await TcpTransport(TransportConfig(), authenticated=False).listen(authority, Talk)
        for setting in ("secret", "tls", "insecure=True"):
            assert setting in str(caught.value)
        for allowed in ({"authenticated": True}, {"authenticated": False, "insecure": True}):
            transport = TcpTransport(TransportConfig(), **allowed)
            try:
                await transport.listen(authority, Talk)
            except InvalidConfig as error:
                assert authority.startswith("["), error
            transport.close()
        loopback = TcpTransport(TransportConfig(), authenticated=False)
        await loopback.listen("127.0.0.1:0", Talk)
        loopback.close()

    run(scenario())


@pytest.mark.parametrize("authority", ["203.0.113.7:0", "no-such-host.invalid:0", "host", "127.0.0.1:99999"])
def test_what_cannot_be_bound(authority: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        without_names(monkeypatch)
        with pytest.raises(InvalidConfig):
            await tcp().listen(authority, Talk)

    run(scenario())


def test_a_closed_transport_opens_nothing() -> None:
    async def scenario() -> None:
        transport = tcp()
        transport.close()
        with pytest.raises(ShuttingDown):
            await transport.listen("127.0.0.1:0", Talk)
        with pytest.raises(ShuttingDown):
            await transport.dial("127.0.0.1:1", Talk)

    run(scenario())


# TLS that does not fit.


@both_loops
def test_wrong_certificate_authority(loop_name: str, ours: TlsConfig, theirs: TlsConfig) -> None:
    async def scenario() -> None:
        rejected: list[InahoError] = []
        async with Node(tcp(ours, rejected=rejected)) as node:
            error = await dial_fails(node.authority, theirs)
            assert type(error) is AuthenticationFailed
            assert "certificate is not acceptable" in str(error)
            await until(lambda: rejected)
            assert type(rejected[0]) is AuthenticationFailed
            assert node.talks == []

    run(scenario(), loop_name)


@both_loops
def test_a_refused_dialer_learns_that_it_is_its_certificate(loop_name: str, ours: TlsConfig, theirs: TlsConfig) -> None:
    async def scenario() -> None:
        rejected: list[InahoError] = []
        async with Node(tcp(ours, rejected=rejected)) as node:
            trusting = theirs.replace(authority_certificates=ours.authority_certificates)
            error = await dial_fails(node.authority, trusting)
            assert type(error) is AuthenticationFailed
            assert "refused our certificate" in str(error)
            assert type(rejected[0]) is AuthenticationFailed
            assert "certificate is not acceptable" in str(rejected[0])

    run(scenario(), loop_name)


@both_loops
def test_plain_dialer_and_tls_acceptor(loop_name: str, ours: TlsConfig) -> None:
    async def scenario() -> None:
        rejected: list[InahoError] = []
        async with Node(tcp(ours, rejected=rejected)) as node:
            error = await dial_fails(node.authority)
            assert type(error) is AuthenticationFailed
            assert "requires TLS" in str(error)
            assert type(rejected[0]) is AuthenticationFailed
            assert "without TLS" in str(rejected[0])
            await raw_exchange(node.authority, b"GET / HTTP/1.1\r\n\r\n")
            assert type(rejected[1]) is ProtocolViolation
            assert "HTTP" in str(rejected[1])

    run(scenario(), loop_name)


@both_loops
def test_tls_dialer_and_plain_acceptor(loop_name: str, ours: TlsConfig) -> None:
    async def scenario() -> None:
        async with Node(tcp()) as node:
            error = await dial_fails(node.authority, ours)
            assert type(error) is AuthenticationFailed
            assert "does not speak TLS" in str(error)
            await until(lambda: node.errors)
            assert type(node.errors[0]) is ProtocolViolation
            assert "TLS" in str(node.errors[0])

    run(scenario(), loop_name)


@both_loops
def test_tls_handshakes_are_bounded_in_number_and_time(loop_name: str, ours: TlsConfig) -> None:
    async def scenario() -> None:
        rejected: list[InahoError] = []
        transport = tcp(ours, rejected=rejected, handshakes_pending_max=4, handshake_timeout_s=3.0)
        async with Node(transport) as node:
            host, port = node.authority.split(":")
            loop = asyncio.get_running_loop()
            ends = [Talk() for _ in range(12)]
            for index, talk in enumerate(ends):
                await loop.create_connection(lambda talk=talk: talk, host, int(port))
                talk.transport.write(b"\x16\x03\x01" if index % 2 else b"")
            await until(lambda: len(rejected) == 8)
            assert all(type(error) is Overloaded for error in rejected)
            await until(lambda: all(talk.lost != "connected" for talk in ends))
            assert [type(error) for error in rejected[8:]] == [Unreachable] * 4
            talk = await dial(tcp(ours), node.authority)
            talk.transport.close()

    run(scenario(), loop_name)


@both_loops
def test_closing_breaks_off_tls_handshakes(loop_name: str, ours: TlsConfig) -> None:
    async def scenario() -> None:
        transport = tcp(ours)
        listener = await transport.listen("127.0.0.1:0", Talk)
        host, port = listener.authority.split(":")
        waiting = Talk()
        await asyncio.get_running_loop().create_connection(lambda: waiting, host, int(port))
        await until(lambda: listener._server.pending == 1)  # type: ignore[attr-defined]
        transport.close()
        await listener.wait_closed()
        await until(lambda: waiting.lost != "connected")
        waiting.transport.abort()

    run(scenario(), loop_name)


@both_loops
def test_tls_without_descriptors_says_so_once_and_goes_on(
    loop_name: str, ours: TlsConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_duplicate(_: socket.socket) -> socket.socket:
        raise OSError(errno.EMFILE, "Too many open files")

    async def scenario() -> None:
        rejected: list[InahoError] = []
        async with Node(tcp(ours, rejected=rejected)) as node:
            host, port = node.authority.split(":")
            ends = [Talk() for _ in range(6)]
            with monkeypatch.context() as scarce:
                scarce.setattr(socket.socket, "dup", no_duplicate)
                for talk in ends:
                    await asyncio.get_running_loop().create_connection(lambda talk=talk: talk, host, int(port))
                await until(lambda: all(talk.lost != "connected" for talk in ends))
                gc.collect()
            assert [type(error) for error in rejected] == [Overloaded]
            assert "cannot accept connections (1 attempts): Too many open files" in str(rejected[0])
            talk = await dial(tcp(ours), node.authority)
            talk.transport.close()

    with caplog.at_level("WARNING"):
        run(scenario(), loop_name)
    assert [record.name for record in caplog.records] == ["inaho.transport"]


def test_a_reset_in_the_tls_handshake_is_told(ours: TlsConfig) -> None:
    async def scenario() -> None:
        rejected: list[InahoError] = []
        async with Node(tcp(ours, rejected=rejected)) as node:
            host, port = node.authority.split(":")
            with socket.create_connection((host, int(port))) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.sendall(b"\x16\x03\x01\x02\x00")
                await until(lambda: node.listener._server.pending == 1)  # type: ignore[attr-defined]
            await until(lambda: rejected)
            assert isinstance(rejected[0], AuthenticationFailed | Unreachable)

    run(scenario())


@pytest.mark.parametrize("missing", ["certificate", "private_key", "authority_certificates"])
def test_missing_files_are_named(ours: TlsConfig, missing: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        tcp(ours.replace(**{missing: "absent.pem"}))
    assert missing in str(caught.value)
    assert "absent.pem" in str(caught.value)


def test_a_key_with_a_password_does_not_ask_on_the_terminal(ours: TlsConfig, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    path = tmp_path / "locked.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"password"),
        )
    )
    with pytest.raises(InvalidConfig, match="password"):
        tcp(ours.replace(private_key=str(path)))


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
