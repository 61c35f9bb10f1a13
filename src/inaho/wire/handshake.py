"""The handshake as a machine on bytes: authenticates two nodes, or says why not (SPEC CL-6.1, CL-4.1).

    dialer                                  acceptor
    hello(nonce)              ->
                              <-            hello(nonce)
    proof("dialer", both)     ->
                              <-            proof("acceptor", both)
    DONE                                    DONE

A proof is HMAC-SHA256, keyed with the cluster's secret, over a label and the hash of both hellos as they were sent. It
covers both nonces, so a recording proves nothing on another connection. The label names the direction, so a proof that
is sent back proves nothing either. It covers all offered versions, so nobody between the two nodes can make them use an
old one.

The dialer proves first: a process that only finds an open port gets nothing with which it could guess a weak secret
offline. This costs one round trip more than a proof in the acceptor's hello, once per connection. A secret should still
be long and random, because a process that pretends to be a node can collect proofs. The secret authenticates and does
not encrypt. Use TLS where the network itself is not trusted.

The hellos decide everything that needs no secret (cluster, versions, whether a secret is expected). That a node is
*gone* (another one answers at its authority) is concluded only after the proofs, because membership acts upon it.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
from typing import Final, Literal

from inaho.errors import (
    AuthenticationFailed,
    IllegalTransition,
    InahoError,
    InvalidConfig,
    ProtocolViolation,
    VersionMismatch,
    WrongIncarnation,
)
from inaho.wire.features import common_features
from inaho.wire.handshake_messages import (
    HEADER,
    KIND_HELLO,
    KIND_PROOF,
    KIND_REFUSAL,
    LAYOUT,
    MAGIC,
    PREFACE,
    PROOF_BYTES,
    clean_text,
    decode_hello,
    encode_frame,
    encode_refusal,
    error_of_refusal,
    foreign_hint,
)
from inaho.wire.handshake_terms import (
    HandshakeConfig,
    PeerInfo,
    agree,
    check_peer_hello,
    check_settings,
    describe,
    own_hello,
)

__all__ = ["NONCE_BYTES", "Handshake", "HandshakeConfig", "HandshakeState", "PeerInfo", "Role"]

NONCE_BYTES: Final = 32
"""Size of the nonce that the caller draws for every handshake."""

Role = Literal["dialer", "acceptor"]


class HandshakeState(enum.Enum):
    """The state of a handshake."""

    NEW = "new"
    AWAIT_HELLO = "await_hello"
    AWAIT_PROOF = "await_proof"
    DONE = "done"
    FAILED = "failed"


_EXPECTED_KIND: Final = {HandshakeState.AWAIT_HELLO: KIND_HELLO, HandshakeState.AWAIT_PROOF: KIND_PROOF}
_LABELS: Final[dict[Role, bytes]] = {
    "dialer": b"inaho handshake 1, proof of the dialer\0",
    "acceptor": b"inaho handshake 1, proof of the acceptor\0",
}


class Handshake:
    """One side of one handshake.

    Args:
        role: which side opened the connection.
        local: what this side states and requires.
        nonce: 32 random bytes, never used before.

    Attributes:
        farewell: bytes to write before closing, once `receive` has raised; may be empty.

    Raises:
        InvalidConfig: `local` does not fit into a hello, or the nonce has another size.
    """

    def __init__(self, role: Role, local: HandshakeConfig, nonce: bytes) -> None:
        if len(nonce) != NONCE_BYTES:
            raise InvalidConfig(f"the nonce of a handshake must be {NONCE_BYTES} bytes, not {len(nonce)}")
        if role == "acceptor" and (local.expected_node_id or local.role == "client"):
            raise InvalidConfig("an acceptor is a member and expects no particular node")
        self.role: Role = role
        self.farewell = b""
        self._local = local
        self._state = HandshakeState.NEW
        self._buffer = bytearray()
        self._consumed = 0
        self._preface_read = False
        self._preface_sent = False
        self._own, self._own_hello = own_hello(local, nonce)
        self._transcript = b""
        self._peer: PeerInfo | None = None
        self._elsewhere: WrongIncarnation | None = None
        # Answers that `receive` has not returned yet; a refusal in the same step comes after them.
        self._unsent = b""
        # What to send instead of a refusal when the handshake fails; None: a refusal.
        self._parting: bytes | None = None

    @property
    def state(self) -> HandshakeState:
        """The present state."""
        return self._state

    def start(self) -> bytes:
        """Begins; returns the bytes to send first (none for an acceptor).

        Raises:
            IllegalTransition: it has begun before.
        """
        if self._state is not HandshakeState.NEW:
            raise IllegalTransition(f"a handshake that is {self._state.value} cannot start")
        self._state = HandshakeState.AWAIT_HELLO
        return self._say_hello() if self.role == "dialer" else b""

    def receive(self, data: bytes) -> tuple[bytes, PeerInfo | None, bytes]:
        """Takes bytes of the peer, split anywhere.

        Returns:
            Bytes to send; the peer once it is authenticated, else None; bytes that came after the handshake and
            belong to the protocol that follows.

        Raises:
            InahoError: the handshake has failed: `ProtocolViolation`, `WrongCluster`, `VersionMismatch`,
                `AuthenticationFailed`, `WrongIncarnation` or the refusal of the peer. `farewell` has the bytes to
                send before closing.
            IllegalTransition: it has not started, or has ended. Nothing changed.
        """
        if self._state not in _EXPECTED_KIND:
            raise IllegalTransition(f"a handshake that is {self._state.value} takes no bytes")
        self._buffer += data
        try:
            return self._advance()
        except InahoError as error:
            self._fail(error)
            raise

    def refuse(self, error: InahoError) -> bytes:
        """Gives up for a reason outside the handshake (draining, quarantine, too many connections).

        An acceptor may do so even after `receive` has named the peer, as long as it has not sent the last bytes.

        Returns:
            The refusal to send before closing.

        Raises:
            IllegalTransition: it has not started, or has failed already.
        """
        if self._state in (HandshakeState.NEW, HandshakeState.FAILED):
            raise IllegalTransition(f"a handshake that is {self._state.value} cannot refuse")
        self._unsent = b""
        self._fail(error)
        return self.farewell

    def check(self) -> None:
        """Asserts the invariants."""
        state = self._state
        assert (self._peer is not None) == (state in (HandshakeState.AWAIT_PROOF, HandshakeState.DONE))
        assert self._consumed <= self._local.bytes_max
        assert state in _EXPECTED_KIND or not self._buffer
        assert not self.farewell or state is HandshakeState.FAILED

    def _advance(self) -> tuple[bytes, PeerInfo | None, bytes]:
        self._unsent = b""
        while self._state in _EXPECTED_KIND:
            raw = self._next_frame()
            if raw is None:
                return self._unsent, None, b""
            kind, body = raw[0], raw[HEADER.size :]
            if kind == KIND_REFUSAL:
                self._parting = b""
                raise error_of_refusal(
                    body, f"this node, {describe(self._own)}, speaks protocol {sorted(self._own.protocols)}"
                )
            self._unsent += self._on_hello(raw, body) if kind == KIND_HELLO else self._on_proof(body)
        leftover = bytes(self._buffer)
        self._buffer.clear()
        return self._unsent, self._peer, leftover

    def _next_frame(self) -> bytes | None:
        """The next whole frame; its header is checked before its body arrives. None when bytes are missing."""
        if not self._read_preface() or len(self._buffer) < HEADER.size:
            return None
        kind, length = HEADER.unpack_from(self._buffer)
        expected = _EXPECTED_KIND[self._state]
        if kind not in (expected, KIND_REFUSAL):
            raise ProtocolViolation(f"a frame of kind {kind} in the handshake where {expected} must come")
        if kind == KIND_PROOF and length != PROOF_BYTES:
            raise ProtocolViolation(f"a proof of {length} bytes, it must have {PROOF_BYTES}")
        size = HEADER.size + length
        if self._consumed + size > self._local.bytes_max:
            raise ProtocolViolation(f"the handshake exceeds {self._local.bytes_max} bytes")
        if len(self._buffer) < size:
            return None
        return self._take(size)

    def _read_preface(self) -> bool:
        if self._preface_read:
            return True
        head = bytes(self._buffer[: len(MAGIC)])
        if not MAGIC.startswith(head):
            raise ProtocolViolation(foreign_hint(bytes(self._buffer[:32])))
        if len(self._buffer) < len(PREFACE):
            return False
        if self._buffer[len(MAGIC)] != LAYOUT:
            layout = self._buffer[len(MAGIC)]
            raise VersionMismatch(f"one side speaks layout {layout} of the handshake, the other {LAYOUT}")
        self._take(len(PREFACE))
        self._preface_read = True
        return True

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._consumed += size
        return taken

    def _on_hello(self, raw: bytes, body: bytes) -> bytes:
        hello = decode_hello(body)
        check_peer_hello(hello, self._own, of_acceptor=self.role == "dialer")
        dialer, acceptor = (self._own, hello) if self.role == "dialer" else (hello, self._own)
        protocol_version, schema_version = agree(dialer, acceptor)
        check_settings(dialer, acceptor)
        self._peer = PeerInfo(
            authority=hello.authority,
            node_id=hello.node_id,
            incarnation=hello.incarnation,
            role=hello.role,
            protocol_version=protocol_version,
            schema_version=schema_version,
            release=clean_text(hello.release),
            features=common_features(self._own.features, hello.features),
            settings=hello.settings,
        )
        if acceptor.node_id != dialer.expected_node_id != "":
            self._elsewhere = WrongIncarnation(
                f"node {dialer.expected_node_id} is expected and node {acceptor.node_id} answers",
                authority=acceptor.authority,
                node_id=acceptor.node_id,
            )
        hellos = (self._own_hello, raw) if self.role == "dialer" else (raw, self._own_hello)
        self._transcript = hashlib.sha256(b"".join(hellos)).digest()
        self._state = HandshakeState.AWAIT_PROOF
        return self._proof_frame() if self.role == "dialer" else self._say_hello()

    def _on_proof(self, proof: bytes) -> bytes:
        other: Role = "acceptor" if self.role == "dialer" else "dialer"
        if not hmac.compare_digest(proof, self._proof_of(other)):
            raise AuthenticationFailed(f"the {other}'s proof does not match: the two secrets differ")
        answer = self._proof_frame() if self.role == "acceptor" else b""
        if self._elsewhere is not None:
            # The dialer needs this node's proof before it concludes that the expected node is gone; then both sides
            # close.
            self._parting = answer
            raise self._elsewhere
        self._state = HandshakeState.DONE
        return answer

    def _proof_frame(self) -> bytes:
        return encode_frame(KIND_PROOF, self._proof_of(self.role))

    def _proof_of(self, role: Role) -> bytes:
        return hmac.digest(self._local.secret.encode(), _LABELS[role] + self._transcript, "sha256")

    def _say_hello(self) -> bytes:
        self._preface_sent = True
        return PREFACE + self._own_hello

    def _fail(self, error: InahoError) -> None:
        self._state = HandshakeState.FAILED
        self._peer = None
        self._buffer.clear()
        if self._parting is not None:
            self.farewell = self._parting
        else:
            before = self._unsent if self._preface_sent else PREFACE
            self.farewell = before + encode_refusal(error)
