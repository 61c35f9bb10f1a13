"""The handshake as a machine: who gets in, who does not, and what each side is told."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inaho.errors import (
    AuthenticationFailed,
    IllegalTransition,
    InahoError,
    InvalidConfig,
    Overloaded,
    ProtocolViolation,
    Quarantined,
    SettingsMismatch,
    VersionMismatch,
    WrongCluster,
    WrongIncarnation,
)
from inaho.wire.features import FEATURES, RELEASE
from inaho.wire.handshake import Handshake, HandshakeConfig, HandshakeState, PeerInfo
from inaho.wire.handshake_messages import (
    HEADER,
    KIND_PROOF,
    KIND_REFUSAL,
    PREFACE,
    Refusal,
    encode_frame,
    encode_refusal,
)

SECRET = "correct horse battery staple"
DIALER_NONCE, ACCEPTOR_NONCE = b"d" * 32, b"a" * 32


def dialer(nonce: bytes = DIALER_NONCE, **changes: Any) -> Handshake:
    says: dict[str, Any] = {"cluster": "shop", "authority": "10.0.0.1:7700", "node_id": "d1", "incarnation": 3}
    return Handshake("dialer", HandshakeConfig(**{**says, "secret": SECRET, **changes}), nonce)


def acceptor(nonce: bytes = ACCEPTOR_NONCE, **changes: Any) -> Handshake:
    says: dict[str, Any] = {"cluster": "shop", "authority": "10.0.0.2:7700", "node_id": "a1", "incarnation": 5}
    return Handshake("acceptor", HandshakeConfig(**{**says, "secret": SECRET, **changes}), nonce)


class Side:
    """Feeds one handshake and remembers how it ended."""

    def __init__(self, handshake: Handshake, step: int = 1 << 20) -> None:
        self.handshake = handshake
        self.peer: PeerInfo | None = None
        self.error: InahoError | None = None
        self.leftover = b""
        self._step = step

    def feed(self, data: bytes) -> bytes:
        out = b""
        for start in range(0, len(data), self._step):
            if self.error is not None:
                break
            piece = data[start : start + self._step]
            if self.peer is not None:
                self.leftover += piece
                continue
            try:
                answer, self.peer, leftover = self.handshake.receive(piece)
            except InahoError as error:
                self.error = error
                answer, leftover = self.handshake.farewell, b""
            self.handshake.check()
            out += answer
            self.leftover += leftover
        return out


def converse(near: Handshake, far: Handshake, step: int = 1 << 20) -> tuple[Side, Side, list[tuple[str, bytes]]]:
    """Runs both to their ends; also returns what went over the wire."""
    sides = Side(near, step), Side(far, step)
    wire: list[tuple[str, bytes]] = []
    data = near.start()
    far.start()
    turn = 0
    while data:
        wire.append((("dialer", "acceptor")[turn], data))
        turn = 1 - turn
        data = sides[turn].feed(data)
    return sides[0], sides[1], wire


def peer_info(authority: str, node_id: str, incarnation: int, role: str) -> PeerInfo:
    """A peer of this very release."""
    return PeerInfo(authority, node_id, incarnation, role, 2, 1, RELEASE, dict(FEATURES))


def refused(near: Side, far: Side, kind: type[InahoError], *words: str) -> None:
    for side in (near, far):
        assert side.peer is None
        assert type(side.error) is kind
        assert side.handshake.state is HandshakeState.FAILED
        for word in words:
            assert word in str(side.error)


def test_both_prove_the_secret_and_know_each_other() -> None:
    near, far, wire = converse(dialer(), acceptor())
    assert near.peer == peer_info("10.0.0.2:7700", "a1", 5, "member")
    assert far.peer == peer_info("10.0.0.1:7700", "d1", 3, "member")
    assert [who for who, _ in wire] == ["dialer", "acceptor", "dialer", "acceptor"]
    assert SECRET.encode() not in b"".join(data for _, data in wire)


@pytest.mark.parametrize("step", [1, 2, 3, 7, 50])
def test_bytes_may_be_cut_anywhere(step: int) -> None:
    near, far, _ = converse(dialer(), acceptor(), step)
    assert near.peer is not None
    assert far.peer is not None
    assert near.leftover == far.leftover == b""


def test_bytes_after_the_handshake_are_handed_on() -> None:
    near, far = dialer(), acceptor()
    far.start()
    hello, _, _ = far.receive(near.start())
    proof, _, _ = near.receive(hello)
    answer, peer, leftover = far.receive(proof + b"early frame")
    assert (peer and peer.node_id, leftover) == ("d1", b"early frame")
    large = b"x" * 100_000
    assert near.receive(answer + large)[1:] == (peer_info("10.0.0.2:7700", "a1", 5, "member"), large)


def test_no_secret_on_either_side_is_allowed_here() -> None:
    near, far, _ = converse(dialer(secret=""), acceptor(secret=""))
    assert near.peer is not None
    assert far.peer is not None


def test_a_client_has_no_authority() -> None:
    _, far, _ = converse(dialer(role="client", authority=""), acceptor())
    assert far.peer == peer_info("", "d1", 3, "client")


def test_highest_common_versions_are_picked() -> None:
    near, far, _ = converse(
        dialer(protocols=(1, 4, 3), schemas=(7, 2)), acceptor(protocols=(3, 2, 1, 5), schemas=(2, 1, 3))
    )
    assert near.peer is not None
    assert far.peer is not None
    assert (near.peer.protocol_version, near.peer.schema_version) == (3, 2)
    assert (far.peer.protocol_version, far.peer.schema_version) == (3, 2)


def test_additions_are_agreed_at_the_lower_version_and_unknown_ones_ignored() -> None:
    near, far, _ = converse(
        dialer(features={"gossip": 3, "state": 2, "old": 1}, release="0.9"),
        acceptor(features={"gossip": 1, "state": 4, "new": 7}, release="0.8"),
    )
    assert near.peer is not None
    assert far.peer is not None
    for peer, release in ((near.peer, "0.8"), (far.peer, "0.9")):
        assert peer.features == {"gossip": 1, "state": 2}
        assert peer.release == release
        assert peer.speaks("gossip")
        assert peer.speaks("state", 2)
        assert not peer.speaks("gossip", 2)
        assert not peer.speaks("new")


def test_members_with_other_settings_refuse_each_other_with_both_values() -> None:
    near, far, _ = converse(
        dialer(settings={"a.shards": 8, "a.alone": 1, "a.same": 5}), acceptor(settings={"a.shards": 64, "a.same": 5})
    )
    refused(near, far, SettingsMismatch, "a.shards is 8 at 10.0.0.1:7700 and 64 at 10.0.0.2:7700")
    for side in (near, far):
        assert "a.same" not in str(side.error)
        assert "a.alone" not in str(side.error)


def test_many_other_settings_fit_in_a_refusal() -> None:
    names = [f"group.{letter * 50}" for letter in "abcdefgh"]
    near, far, _ = converse(dialer(settings=dict.fromkeys(names, 1)), acceptor(settings=dict.fromkeys(names, 2)))
    refused(near, far, SettingsMismatch, "group.aaa", "is 1 at 10.0.0.1:7700 and 2 at 10.0.0.2:7700", "(and 5 more)")


def test_a_client_hears_the_settings_of_members_and_has_none() -> None:
    near, far, _ = converse(dialer(role="client", authority="", settings={"a": 1}), acceptor(settings={"a": 64}))
    assert near.peer is not None
    assert near.peer.settings == {"a": 64}
    assert far.peer is not None


@pytest.mark.parametrize(("near_secret", "far_secret"), [("guess", SECRET), (SECRET, "guess")])
def test_wrong_secret(near_secret: str, far_secret: str) -> None:
    near, far, wire = converse(dialer(secret=near_secret), acceptor(secret=far_secret))
    refused(near, far, AuthenticationFailed, "secrets differ")
    # The acceptor never proves anything to someone who has not.
    assert not any(data[:1] == bytes((KIND_PROOF,)) for who, data in wire if who == "acceptor")
    assert not any(secret.encode() in data for _, data in wire for secret in (SECRET, "guess"))


@pytest.mark.parametrize(
    ("near_secret", "far_secret", "without"), [("", SECRET, "the dialer was given none"), (SECRET, "", "the acceptor")]
)
def test_secret_on_one_side_only(near_secret: str, far_secret: str, without: str) -> None:
    near, far, _ = converse(dialer(secret=near_secret), acceptor(secret=far_secret))
    refused(near, far, AuthenticationFailed, "only one side has a secret", without)


def test_wrong_cluster_is_told_before_any_proof() -> None:
    near, far, wire = converse(dialer(cluster="staging", secret="other"), acceptor())
    refused(near, far, WrongCluster, "'staging'", "'shop'")
    assert len(wire) == 2


@pytest.mark.parametrize("which", ["protocols", "schemas"])
def test_no_common_version_names_both_lists(which: str) -> None:
    near, far, _ = converse(dialer(**{which: (1, 2)}), acceptor(**{which: (4, 3)}))
    refused(near, far, VersionMismatch, which.removesuffix("s"), "[1, 2]", "[3, 4]")


def test_another_node_at_the_authority_is_proven() -> None:
    near, far, _ = converse(dialer(expected_node_id="a0"), acceptor())
    refused(near, far, WrongIncarnation, "a0", "a1")
    assert isinstance(near.error, WrongIncarnation)
    assert near.error.node_id == "a1"
    assert near.error.authority == "10.0.0.2:7700"


def test_the_expected_node_is_accepted() -> None:
    near, _, _ = converse(dialer(expected_node_id="a1"), acceptor())
    assert near.peer is not None


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


def test_illegal_transitions_change_nothing() -> None:
    near = dialer()
    with pytest.raises(IllegalTransition):
        near.receive(b"INAHO")
    with pytest.raises(IllegalTransition):
        near.refuse(Overloaded("no room"))
    assert near.state is HandshakeState.NEW
    near.start()
    with pytest.raises(IllegalTransition):
        near.start()
    assert near.state is HandshakeState.AWAIT_HELLO
    done, _, _ = converse(dialer(), acceptor())
    with pytest.raises(IllegalTransition):
        done.handshake.receive(b"more")
    assert done.handshake.state is HandshakeState.DONE


@pytest.mark.parametrize(
    "changes",
    [
        {"cluster": ""},
        {"cluster": "\udc80"},
        {"node_id": "no spaces"},
        {"incarnation": -1},
        {"incarnation": 2**70},
        {"protocols": ()},
        {"protocols": (70_000,)},
        {"authority": ""},
        {"authority": "host"},
        {"authority": "host:0"},
        {"role": "client"},
        {"bytes_max": 10},
    ],
)
def test_what_no_peer_would_take_cannot_be_said(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfig):
        dialer(**changes)


def test_the_secret_is_not_in_the_repr() -> None:
    config = HandshakeConfig(cluster="shop", node_id="n", authority="h:1", secret=SECRET)
    assert SECRET not in repr(config)


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
