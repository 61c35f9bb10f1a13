"""Peers of inaho 0.1 are refused by name: the bytes of their handshakes, and what each side is told."""

from __future__ import annotations

import msgspec
import pytest

from inaho.errors import InahoError, VersionMismatch
from inaho.wire.features import RELEASE
from inaho.wire.handshake import Handshake
from support.bytes_0_1 import SECRET, frozen, pair


def refusing(handshake: Handshake, data: bytes) -> VersionMismatch:
    with pytest.raises(VersionMismatch) as refused:
        handshake.receive(data)
    return refused.value


@pytest.mark.parametrize("secret", ["secret", "open"])
def test_a_member_of_0_1_that_dials_us_is_refused_by_name(secret: str) -> None:
    _, acceptor = pair(SECRET if secret == "secret" else "", "member")
    acceptor.start()
    error = refusing(acceptor, frozen("handshakes")[f"{secret}_member_1_dialer"])
    assert "the dialer, 10.0.0.2:7700 (inaho 0.1), speaks protocol [1]" in error.reason
    assert f"the acceptor, 10.0.0.1:7700 (inaho {RELEASE}), speaks protocol [2]" in error.reason
    assert "end all nodes before the first one of the new release starts" in str(error)
    # What it is told has both versions too, in the form of refusal that it reads.
    refusal = msgspec.msgpack.decode(acceptor.farewell[9:])
    assert refusal[0] == "version_mismatch"
    assert "(inaho 0.1), speaks protocol [1]" in refusal[1]
    assert f"(inaho {RELEASE}), speaks protocol [2]" in refusal[1]


def test_a_client_of_0_1_is_refused_by_name() -> None:
    _, acceptor = pair(SECRET, "client")
    acceptor.start()
    error = refusing(acceptor, frozen("handshakes")["secret_client_1_dialer"])
    assert "client fedcba9876543210 (inaho 0.1), speaks protocol [1]" in error.reason


def test_a_member_of_0_1_that_we_dial_refuses_and_is_named() -> None:
    dialer, _ = pair(SECRET, "member")
    dialer.start()
    error = refusing(dialer, frozen("handshakes")["refusal_version_mismatch"])
    assert "the peer, inaho 0.1, speaks protocol [1]" in error.reason
    assert f"this node, 10.0.0.2:7700 (inaho {RELEASE}), speaks protocol [2]" in error.reason


def test_a_hello_of_0_1_as_an_answer_is_refused_by_name() -> None:
    dialer, _ = pair(SECRET, "member")
    dialer.start()
    error = refusing(dialer, frozen("handshakes")["secret_member_2_acceptor"])
    assert "the acceptor, 10.0.0.1:7700 (inaho 0.1), speaks protocol [1]" in error.reason


@pytest.mark.parametrize("name", ["authentication_failed", "overloaded", "wrong_cluster"])
def test_a_refusal_of_0_1_is_read(name: str) -> None:
    dialer, _ = pair(SECRET, "member")
    dialer.start()
    with pytest.raises(InahoError, match="refused by the peer: why not") as raised_error:
        dialer.receive(frozen("handshakes")[f"refusal_{name}"])
    assert raised_error.value.code == name
