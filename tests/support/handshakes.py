"""Two handshakes that talk to each other in memory, and how each of them ended."""

from __future__ import annotations

from typing import Any

from inaho.errors import InahoError
from inaho.wire.features import FEATURES, RELEASE
from inaho.wire.handshake import Handshake, HandshakeConfig, HandshakeState, PeerInfo

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
