"""The handshake as a machine: what is agreed, who gets in, who does not, and what each side is told."""

from __future__ import annotations

from typing import Any

import pytest

from inaho.errors import (
    AuthenticationFailed,
    IllegalTransition,
    InvalidConfig,
    Overloaded,
    SettingsMismatch,
    VersionMismatch,
    WrongCluster,
    WrongIncarnation,
)
from inaho.wire.handshake import HandshakeConfig, HandshakeState
from inaho.wire.handshake_messages import KIND_PROOF
from support.handshakes import SECRET, acceptor, converse, dialer, peer_info, refused


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
