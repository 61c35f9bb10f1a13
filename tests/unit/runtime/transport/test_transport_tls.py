"""TLS on loopback, on both event loops: certificates and peers that do not fit are told, and handshakes are bounded."""

from __future__ import annotations

import asyncio
import errno
import gc
import socket
import struct
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from inaho.config import TlsConfig
from inaho.errors import AuthenticationFailed, InahoError, InvalidConfig, Overloaded, ProtocolViolation, Unreachable
from support.certificates import CertificateAuthority
from support.loops import both_loops, run
from support.tcp_nodes import Node, Talk, dial, dial_fails, raw_exchange, tcp
from support.waiting import until


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> TlsConfig:
    return CertificateAuthority(tmp_path_factory.mktemp("ours"), "ours").issue("node")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> TlsConfig:
    return CertificateAuthority(tmp_path_factory.mktemp("theirs"), "theirs").issue("node")


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
