"""Any bytes into both sides of a handshake. Nobody who does not know the secret becomes a peer."""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

with atheris.instrument_imports(include=["inaho.wire"]):
    from fuzz.atheris_support import run
    from inaho.errors import InahoError
    from inaho.wire.handshake import Handshake, HandshakeConfig, HandshakeState, Role

NODE = {"cluster": "shop", "secret": "s3cret"}


def handshake(role: Role, *, secret: str = "s3cret", nonce: int = 1) -> Handshake:
    number = 1 if role == "dialer" else 2
    config = HandshakeConfig(cluster="shop", secret=secret, node_id=f"{number:016x}", authority=f"10.0.0.{number}:7700")
    return Handshake(role, config, bytes([nonce]) * 32)


def feed(data: bytes) -> None:
    """The first byte says which side, and how the rest is cut."""
    if not data:
        return
    how, data = data[0], data[1:]
    side = handshake("dialer" if how & 1 else "acceptor")
    side.start()
    size = len(data) if how & 2 else max(1, how >> 2)
    said = 0
    for start in range(0, len(data), max(1, size)):
        try:
            answer, peer, _ = side.receive(data[start : start + size])
        except InahoError as error:
            assert error.reason and side.state is HandshakeState.FAILED
            said += len(side.farewell)
            break
        assert peer is None, "a peer without a proof"
        said += len(answer)
        side.check()
        if start > 64 * size:
            size = len(data)
    assert said < 4096
    side.check()


def seeds() -> list[bytes]:
    """Whole conversations, heard from both sides, with a right secret and with a wrong one: no recording is a proof."""
    found: list[bytes] = []
    for secret in ("s3cret", "wrong"):
        dialer, acceptor = handshake("dialer", secret=secret, nonce=7), handshake("acceptor", nonce=8)
        acceptor.start()
        to_acceptor, to_dialer, data = b"", b"", dialer.start()
        try:
            for _ in range(2):
                to_acceptor += data
                answer, _, _ = acceptor.receive(data)
                to_dialer += answer
                data, _, _ = dialer.receive(answer)
        except InahoError:
            to_dialer += acceptor.farewell
        found += [b"\x02" + to_acceptor, b"\x03" + to_dialer, b"\x10" + to_acceptor, b"\x11" + to_dialer]
    return found


if __name__ == "__main__":
    run("handshake", feed, seeds())
