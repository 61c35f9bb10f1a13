"""The handshake against peers that replay, change or make up bytes: nobody gets in, and the errors are ours."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inaho.errors import AuthenticationFailed, Overloaded, ProtocolViolation, Quarantined, VersionMismatch
from inaho.wire.handshake import HandshakeState
from inaho.wire.handshake_messages import (
    HEADER,
    KIND_PROOF,
    KIND_REFUSAL,
    PREFACE,
    Refusal,
    encode_frame,
    encode_refusal,
)
from support.handshakes import Side, acceptor, converse, dialer


def test_who_lacks_the_secret_cannot_declare_a_node_gone() -> None:
    near, _, _ = converse(dialer(expected_node_id="a0"), acceptor(secret="guess"))
    assert type(near.error) is AuthenticationFailed
    # Nor by a refusal, which nothing vouches for.
    near = Side(dialer(expected_node_id="a0"))
    near.handshake.start()
    near.feed(PREFACE + encode_frame(KIND_REFUSAL, msgspec.msgpack.encode(Refusal("wrong_incarnation", "gone"))))
    assert type(near.error) is ProtocolViolation


def test_a_replayed_dialer_gets_nowhere() -> None:
    _, _, wire = converse(dialer(), acceptor())
    victim = Side(acceptor(nonce=b"n" * 32))
    victim.handshake.start()
    for who, data in wire:
        if who == "dialer":
            victim.feed(data)
    assert type(victim.error) is AuthenticationFailed


def test_a_replayed_acceptor_gets_nowhere() -> None:
    _, _, wire = converse(dialer(), acceptor())
    victim = Side(dialer(nonce=b"n" * 32))
    victim.handshake.start()
    for who, data in wire:
        if who == "acceptor":
            victim.feed(data)
    assert type(victim.error) is AuthenticationFailed


def test_a_reflected_hello_is_recognised() -> None:
    near = Side(dialer())
    near.feed(near.handshake.start())
    assert type(near.error) is ProtocolViolation
    assert "echoes" in str(near.error)


def test_a_reflected_proof_proves_nothing() -> None:
    near = Side(dialer())
    near.handshake.start()
    # An acceptor without the secret says a fine hello and sends the dialer's own proof back.
    impostor = acceptor(secret="unknown to it")
    impostor.start()
    hello, _, _ = impostor.receive(dialer().start())
    proof = near.feed(hello)
    near.feed(proof)
    assert type(near.error) is AuthenticationFailed


def test_a_downgrade_on_the_way_is_noticed() -> None:
    near, far = Side(dialer(protocols=(1, 2))), Side(acceptor(protocols=(1, 2)))
    far.handshake.start()
    forged = near.handshake.start().replace(b"\x92\x01\x02", b"\x92\x01\x01")
    near_proof = near.feed(far.feed(forged))
    far.feed(near_proof)
    assert type(far.error) is AuthenticationFailed


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/2"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "TLS"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "SSH"),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n", "PROXY"),
        (b"\x00\x01\x02\x03", "not an inaho node"),
        (b"INAHA", "not an inaho node"),
    ],
)
def test_garbage_is_diagnosed(data: bytes, hint: str) -> None:
    far = Side(acceptor())
    far.handshake.start()
    farewell = far.feed(data)
    assert type(far.error) is ProtocolViolation
    assert hint in str(far.error)
    # A refusal that a node can read goes back.
    near = Side(dialer())
    near.handshake.start()
    near.feed(farewell)
    assert type(near.error) is ProtocolViolation
    assert "refused by the peer" in str(near.error)


def test_another_layout_is_a_version_mismatch() -> None:
    far = Side(acceptor())
    far.handshake.start()
    far.feed(b"INAHO\x09")
    assert type(far.error) is VersionMismatch


def test_too_long_is_refused_by_its_header_alone() -> None:
    far = Side(acceptor(bytes_max=2048))
    far.handshake.start()
    far.feed(PREFACE + HEADER.pack(1, 2048))
    assert type(far.error) is ProtocolViolation
    assert "2048" in str(far.error)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc0",
        b"\x91" * 5000,
        b"\x9a" + b"\x91" * 5000,
        msgspec.msgpack.encode([[1], [1], "", "h:1", "d", 0, "member", "", True, b"n" * 32]),
        msgspec.msgpack.encode([[1], [1], "x" * 256, "h:1", "d", 0, "member", "", True, b"n" * 32]),
        msgspec.msgpack.encode([[1] * 33, [1], "shop", "h:1", "d", 0, "member", "", True, b"n" * 32]),
        msgspec.msgpack.encode([[], [1], "shop", "h:1", "d", 0, "member", "", True, b"n" * 32]),
        msgspec.msgpack.encode([[1], [1], "shop", "h:1", "d\n", 0, "member", "", True, b"n" * 32]),
        msgspec.msgpack.encode([[1], [1], "shop", "h:1", "d", -1, "member", "", True, b"n" * 32]),
        msgspec.msgpack.encode([[1], [1], "shop", "h:1", "d", 0, "king", "", True, b"n" * 32]),
        msgspec.msgpack.encode([[1], [1], "shop", "h:1", "d", 0, "member", "", True, b"n" * 31]),
        msgspec.msgpack.encode([[1], [1], "shop", "h:1", "d", 0, "client", "", True, b"n" * 32]),
        msgspec.msgpack.encode([[1], [1], "shop", "", "d", 0, "member", "", True, b"n" * 32]),
        msgspec.msgpack.encode([[1], [1], "shop", "h h:1", "d", 0, "member", "", True, b"n" * 32]),
    ],
)
def test_a_malformed_hello_is_a_violation(body: bytes) -> None:
    far = Side(acceptor())
    far.handshake.start()
    far.feed(PREFACE + encode_frame(1, body))
    assert type(far.error) is ProtocolViolation


def test_fields_of_later_releases_are_ignored_but_proven() -> None:
    fields = msgspec.msgpack.decode(dialer().start()[len(PREFACE) + HEADER.size :])
    far = Side(acceptor())
    far.handshake.start()
    answer = far.feed(PREFACE + encode_frame(1, msgspec.msgpack.encode([*fields, {"later": [1, 2]}])))
    assert far.error is None
    assert answer.startswith(PREFACE)


def test_frames_out_of_order_are_violations() -> None:
    far = Side(acceptor())
    far.handshake.start()
    far.feed(PREFACE + encode_frame(KIND_PROOF, b"p" * 32))
    assert type(far.error) is ProtocolViolation


def test_a_refusal_is_taken_at_its_code_and_a_bounded_printable_reason() -> None:
    near = Side(dialer())
    near.handshake.start()
    near.feed(PREFACE + encode_refusal(Quarantined("until\n10:30\x1b[31m" + "x" * 1000)))
    assert type(near.error) is Quarantined
    assert near.error.reason.startswith("refused by the peer: until?10:30?[31mxxx")
    assert len(near.error.reason) < 450
    assert near.handshake.farewell == b""


def test_a_refusal_with_an_unknown_code_is_a_violation() -> None:
    near = Side(dialer())
    near.handshake.start()
    near.feed(PREFACE + encode_frame(KIND_REFUSAL, msgspec.msgpack.encode(Refusal("state_conflict", "boo"))))
    assert type(near.error) is ProtocolViolation


def test_an_acceptor_may_refuse_after_it_knows_the_peer() -> None:
    near, far = Side(dialer()), Side(acceptor())
    far.handshake.start()
    far.feed(near.feed(far.feed(near.handshake.start())))
    assert far.peer is not None
    near.feed(far.handshake.refuse(Overloaded("no room")))
    assert type(near.error) is Overloaded
    assert far.handshake.state is HandshakeState.FAILED
    far.handshake.check()


@given(message=st.integers(0, 3), position=st.integers(0, 500), value=st.integers(1, 255), step=st.integers(1, 300))
@settings(max_examples=400, deadline=None)
def test_a_changed_byte_never_authenticates(message: int, position: int, value: int, step: int) -> None:
    near, far = Side(dialer(), step), Side(acceptor(), step)
    far.handshake.start()
    sides = (far, near)
    data = near.handshake.start()
    for index in range(4):
        if index == message:
            changed = bytearray(data)
            changed[position % len(data)] ^= value
            data = bytes(changed)
        data = sides[index % 2].feed(data)
        if not data:
            break
    # The side that got the change, or its peer, fails. Who proved itself before the last message went wrong is done.
    assert near.peer is None
    assert (far.peer is not None) == (message == 3)


@given(st.lists(st.binary(max_size=60), max_size=8), st.booleans(), st.booleans())
@settings(max_examples=300, deadline=None)
def test_arbitrary_bytes_raise_only_our_errors(pieces: list[bytes], dialing: bool, with_preface: bool) -> None:
    side = Side(dialer() if dialing else acceptor())
    side.handshake.start()
    side.feed((PREFACE if with_preface else b"") + b"".join(pieces[:1]))
    for piece in pieces[1:]:
        side.feed(piece)
    assert side.peer is None


@given(st.integers(1, 3), st.binary(max_size=400))
@settings(max_examples=300, deadline=None)
def test_arbitrary_bodies_raise_only_our_errors(kind: int, body: bytes) -> None:
    side = Side(acceptor())
    side.handshake.start()
    side.feed(PREFACE + encode_frame(kind, body))
    assert side.peer is None
