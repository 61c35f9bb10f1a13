"""Whoever does not belong to the cluster is refused, told why where it can understand, and harms nobody."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from pathlib import Path

import pytest

import inaho
from inaho.errors import (
    AuthenticationFailed,
    AuthorityInUse,
    InahoError,
    InvalidConfig,
    TopologyUnavailable,
    WrongCluster,
)
from inaho.wire.handshake_messages import (
    KIND_HELLO,
    KIND_PROOF,
    PREFACE,
    encode_frame,
    error_of_refusal,
)
from support.attacker import Attacker
from support.certificates import CertificateAuthority
from support.member_processes import SECRET, MemberProcess, Processes, client, free_port, settings, unharmed
from support.programs.network_node import Probe, Tally

STRANGERS: dict[str, tuple[dict[str, str], type[InahoError]]] = {
    "wrong secret": ({"secret": "another secret"}, AuthenticationFailed),
    "no secret": ({"secret": ""}, AuthenticationFailed),
    "wrong cluster": ({"name": "another"}, WrongCluster),
    "wrong cluster and secret": ({"name": "another", "secret": "another secret"}, WrongCluster),
}


@pytest.mark.parametrize("name", STRANGERS)
async def test_a_client_that_does_not_belong_is_told_why(victim: MemberProcess, name: str) -> None:
    changes, expected = STRANGERS[name]
    before = len(victim.lines)
    async with unharmed(victim):
        with pytest.raises(expected) as raised:
            await client(victim, **changes)
        assert raised.value.authority == victim.authority
        assert raised.value.maybe_executed is False
        await victim.says("ConnectionRefused", before, code=expected.code)


@pytest.mark.parametrize("name", STRANGERS)
async def test_a_member_that_does_not_belong_does_not_join(
    victim: MemberProcess, processes: Processes, name: str
) -> None:
    changes, expected = STRANGERS[name]
    before = len(victim.lines)
    async with unharmed(victim):
        stranger = processes.spawn(seeds=(victim.authority,), **changes)
        failed = await stranger.says("failed")
        assert (failed["code"], await stranger.ended()) == (expected.code, 3)
        await victim.says("ConnectionRefused", before, code=expected.code)
        assert not victim.said("MemberJoining", before)


async def test_a_secret_where_the_cluster_has_none(processes: Processes) -> None:
    open_member = await processes.start(secret="")
    async with unharmed(open_member):
        with pytest.raises(AuthenticationFailed, match="only one side has a secret"):
            await client(open_member, secret=SECRET)
        await open_member.says("ConnectionRefused", code="authentication_failed")


BEFORE_THE_HANDSHAKE: dict[str, tuple[bytes, str]] = {
    "garbage": (b"\x00\xff\x7f" * 20, "not an inaho node"),
    "http": (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "an HTTP request"),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(50), "TLS: it is configured with tls"),
    "another layout": (b"INAHO\xff", "layout 255"),
    "a proof first": (PREFACE + encode_frame(KIND_PROOF, bytes(32)), "a frame of kind 2"),
    "an unknown kind": (PREFACE + encode_frame(77, b""), "a frame of kind 77"),
    "an empty hello": (PREFACE + encode_frame(KIND_HELLO, b""), "the hello of the handshake is malformed"),
    "a hello of garbage": (PREFACE + encode_frame(KIND_HELLO, b"\xc1" * 100), "malformed"),
    "a deep hello": (PREFACE + encode_frame(KIND_HELLO, b"\x91" * 15_000), "malformed"),
    "a hello beyond the bound": (PREFACE + bytes((KIND_HELLO,)) + b"\xff\xff", "exceeds 16384 bytes"),
}


@pytest.mark.parametrize("name", BEFORE_THE_HANDSHAKE)
async def test_bytes_that_are_no_handshake(victim: MemberProcess, name: str) -> None:
    data, reason = BEFORE_THE_HANDSHAKE[name]
    before = len(victim.lines)
    async with unharmed(victim):
        attacker = await Attacker.plain(victim.authority)
        attacker.send(data)
        answer = await attacker.closed()
        await victim.says("ConnectionRefused", before, reason=lambda told: reason in told)
    assert len(answer) < 600
    assert answer.startswith(PREFACE)
    told = error_of_refusal(answer[len(PREFACE) + 3 :])
    assert reason.split(":")[0] in told.reason


async def test_a_wrong_proof_gets_no_proof_back(victim: MemberProcess) -> None:
    """Nothing is proven to a stranger from which a weak secret could be guessed."""
    before = len(victim.lines)
    with pytest.raises(AuthenticationFailed, match="the dialer's proof does not match"):
        await Attacker.authenticated(victim.authority, secret="a guess")
    await victim.says("ConnectionRefused", before, code="authentication_failed")


@pytest.mark.parametrize("said", [b"", PREFACE, PREFACE + b"\x01\x00\x10half"], ids=["nothing", "preface", "half"])
async def test_silence_in_the_handshake_ends_in_time(processes: Processes, said: bytes) -> None:
    victim = await processes.start(transport=settings().transport.replace(handshake_timeout_s=1.0))
    before = len(victim.lines)
    async with unharmed(victim):
        attackers = [await Attacker.plain(victim.authority) for _ in range(20)]
        addresses = [attacker.address for attacker in attackers]
        for attacker in attackers:
            attacker.send(said)
        for attacker in attackers:
            await attacker.closed()
        for address in addresses:
            await victim.says("ConnectionRefused", before, code="timeout", authority=address)
        assert len(victim.said("ConnectionRefused", before, authority=lambda told: told in addresses)) == 20


async def test_a_reset_in_the_handshake(victim: MemberProcess) -> None:
    before = len(victim.lines)
    async with unharmed(victim):
        attacker = await Attacker.plain(victim.authority)
        attacker.send(PREFACE)
        await attacker.sent()
        attacker.reset()
        await victim.says("ConnectionRefused", before, code="unreachable")


async def test_more_handshakes_than_may_pend(processes: Processes) -> None:
    """Silent strangers fill the waiting room; its bound holds, and it is free again when their time is up."""
    transport = settings().transport.replace(handshakes_pending_max=8, handshake_timeout_s=3.0)
    member = await processes.start(transport=transport)
    async with unharmed(member):
        attackers = [await Attacker.plain(member.authority) for _ in range(20)]
        await member.says("ConnectionRefused", code="overloaded")
        for attacker in attackers:
            await attacker.closed()
        async with client(member) as cluster:
            assert await cluster.grain(Probe, "p").echo(1) == 1


async def test_more_connections_than_allowed(processes: Processes) -> None:
    member = await processes.start(transport=settings().transport.replace(connections_max=2))
    async with unharmed(member):
        second = await Attacker.authenticated(member.authority)
        with pytest.raises(InahoError, match=r"transport\.connections_max") as raised:
            await Attacker.authenticated(member.authority)
        assert raised.value.code == "overloaded"
        second.close()


# TLS.


@pytest.fixture
def authority(tmp_path: Path) -> CertificateAuthority:
    return CertificateAuthority(tmp_path, "authority")


async def test_a_cluster_over_mutual_tls(processes: Processes, authority: CertificateAuthority) -> None:
    """Members and clients of one authority; certificates alone authenticate."""
    first, second = await processes.cluster(2, tls=authority.issue("node"), secret="")
    async with client(first, second, tls=authority.issue("client"), secret="") as cluster:
        tallies = [cluster.grain(Tally, f"t{n}") for n in range(32)]
        assert [await tally.add(3) for tally in tallies] == [3] * 32
        assert {await tally.where() for tally in tallies} == {first.authority, second.authority}
        assert await cluster.grain(Probe, "p").blob(900_000) == bytes(900_000)
    first.check_unharmed()
    second.check_unharmed()


async def test_strangers_at_a_tls_port(processes: Processes, authority: CertificateAuthority, tmp_path: Path) -> None:
    tls = authority.issue("node")
    member = await processes.start(tls=tls, transport=settings().transport.replace(handshake_timeout_s=2.0))
    async with unharmed(member, tls=authority.issue("client")):
        with pytest.raises(AuthenticationFailed, match="TLS"):
            await client(member, tls=None)
        await member.says("ConnectionRefused", reason=lambda told: "without TLS" in told)

        other = CertificateAuthority(tmp_path, "another").issue("stranger")
        with pytest.raises(AuthenticationFailed, match="certificate"):
            await client(member, tls=other)

        mixed = authority.issue("mixed").replace(certificate=other.certificate, private_key=other.private_key)
        before = len(member.lines)
        with pytest.raises(AuthenticationFailed, match="certificate"):
            await client(member, tls=mixed)  # it trusts the member, and the member does not trust it
        await member.says("ConnectionRefused", before, code="authentication_failed")

        with pytest.raises(AuthenticationFailed, match="proof does not match"):
            await client(member, tls=authority.issue("insider"), secret="a guess")

        attacker = await Attacker.plain(member.authority)
        attacker.send(b"GET / HTTP/1.1\r\n\r\n")
        await attacker.closed()
        await member.says("ConnectionRefused", reason=lambda told: "an HTTP request" in told)

        attacker = await Attacker.plain(member.authority)
        attacker.send(b"\x16\x03\x01" + os.urandom(100))
        await attacker.closed()


async def test_no_certificate_at_a_tls_port(processes: Processes, authority: CertificateAuthority) -> None:
    member = await processes.start(tls=authority.issue("node"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    host, port = member.authority.rsplit(":", 1)
    async with unharmed(member, tls=authority.issue("client")):
        reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
        writer.write(PREFACE)
        with contextlib.suppress(ssl.SSLError, ConnectionError):  # the alert, as this end's version of TLS reads it
            assert await reader.read() == b""
        writer.transport.abort()
        await member.says("ConnectionRefused", code="authentication_failed")


async def test_tls_to_a_plaintext_port(victim: MemberProcess, authority: CertificateAuthority) -> None:
    before = len(victim.lines)
    async with unharmed(victim):
        with pytest.raises(AuthenticationFailed, match="does not speak TLS"):
            await client(victim, tls=authority.issue("client"))
        await victim.says("ConnectionRefused", before, reason=lambda told: "look like TLS" in told)


# Addresses and seeds.


async def test_a_port_in_use(victim: MemberProcess, processes: Processes) -> None:
    stranger = processes.spawn(authority=victim.authority)
    failed = await stranger.says("failed")
    assert failed["code"] == AuthorityInUse.code
    assert failed["authority"] == victim.authority
    assert await stranger.ended() == 3
    victim.check_unharmed()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.7"])
def test_an_address_that_is_none_of_ours(host: str) -> None:
    async def joins() -> None:
        await inaho.join(f"{host}:0", secret="x", storage="memory")

    with pytest.raises(InvalidConfig):
        asyncio.run(joins())


def own_address() -> str:
    """An address of this machine that is not loopback; the test is skipped where there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has only loopback")
        host = str(sock.getsockname()[0])
    if host.startswith("127."):
        pytest.skip("this machine has only loopback")
    return host


async def test_a_bind_beyond_loopback_needs_authentication() -> None:
    host = own_address()
    with pytest.raises(InvalidConfig, match="insecure=True"):
        await inaho.join(f"{host}:0", storage="memory")
    async with inaho.join(f"{host}:0", storage="memory", secret="x") as cluster:
        assert cluster.authority.startswith(host)
    async with inaho.join(f"{host}:0", storage="memory", insecure=True) as cluster:
        assert cluster.authority.startswith(host)


HASTE = settings().membership.replace(join_timeout_s=1.0)


def silent_port() -> tuple[socket.socket, str]:
    """A port that accepts and says nothing: the kernel does that by itself."""
    sock = socket.create_server(("127.0.0.1", 0))
    return sock, f"127.0.0.1:{sock.getsockname()[1]}"


async def test_dead_seeds_are_named_in_time() -> None:
    """Refused and silent ones alike, by members and by clients."""
    server, silent = silent_port()
    dead = [f"127.0.0.1:{free_port()}", silent, f"127.0.0.1:{free_port()}"]
    loop = asyncio.get_running_loop()
    try:
        for enter in (
            lambda: inaho.connect(dead, config=settings(authority="", membership=HASTE)),
            lambda: inaho.join("127.0.0.1:0", seeds=dead, config=settings(membership=HASTE), storage="memory"),
        ):
            started = loop.time()
            with pytest.raises(TopologyUnavailable) as raised:
                await enter()
            assert 0.9 <= loop.time() - started < 10
            for seed in dead:
                assert seed in raised.value.reason
    finally:
        server.close()


async def test_a_seed_that_is_something_else_is_named() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    seed = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        for enter in (
            lambda: inaho.connect([seed], config=settings(authority="", membership=HASTE)),
            lambda: inaho.join("127.0.0.1:0", seeds=[seed], config=settings(membership=HASTE), storage="memory"),
        ):
            with pytest.raises(TopologyUnavailable, match="an HTTP response") as raised:
                await enter()
            assert seed in raised.value.reason
    finally:
        server.close()


async def test_one_live_seed_among_dead_ones_is_enough(victim: MemberProcess) -> None:
    server, silent = silent_port()
    seeds = [f"127.0.0.1:{free_port()}", silent, victim.authority]
    try:
        haste = HASTE.replace(join_timeout_s=4.0)  # less than it waits for the one that is silent
        async with inaho.connect(seeds, config=settings(authority="", membership=haste)) as cluster:
            assert await cluster.grain(Probe, "p").echo(1) == 1
        async with inaho.join("127.0.0.1:0", seeds=seeds, config=settings(), storage="memory") as cluster:
            assert victim.authority in {member.authority for member in cluster.members()}
    finally:
        server.close()
