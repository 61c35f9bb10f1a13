"""The three frames of the handshake, and the diagnosis of bytes that are none of them.

Each direction begins with a preface of six bytes (`INAHO` and the layout of these frames), then frames of one byte
kind, two bytes length (big endian) and a body. A proof is 32 raw bytes; hello and refusal are msgpack arrays decoded
into typed Structs whose strings and lists all have limits. These are the only bytes that a node decodes before it has
authenticated the peer, so they do not share the decoder, the limits or the extension points of the data frames.

Why arrays that ignore elements at their end and not maps: a later release may append a field without a new layout, and
the proof covers the bytes as they were sent, so that fields which the older side skips are authenticated as well.
"""

from __future__ import annotations

import struct
from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec import Meta

from inaho.authority import AUTHORITY_CHARACTERS_MAX
from inaho.errors import InahoError, ProtocolViolation, VersionMismatch, error_from_code
from inaho.wire.features import RELEASE, RELEASE_WITHOUT_NAME

__all__ = [
    "HEADER",
    "KIND_HELLO",
    "KIND_PROOF",
    "KIND_REFUSAL",
    "LAYOUT",
    "MAGIC",
    "PREFACE",
    "PROOF_BYTES",
    "Hello",
    "Refusal",
    "clean_text",
    "decode_hello",
    "encode_frame",
    "encode_refusal",
    "error_of_refusal",
    "foreign_hint",
]

MessageT = TypeVar("MessageT")

MAGIC: Final = b"INAHO"
LAYOUT: Final = 1
PREFACE: Final = MAGIC + bytes((LAYOUT,))
HEADER: Final = struct.Struct(">BH")
KIND_HELLO: Final = 1
KIND_PROOF: Final = 2
KIND_REFUSAL: Final = 3
PROOF_BYTES: Final = 32

_REASON_CHARACTERS_MAX: Final = 400
NAMES_MAX: Final = 64
"""Bound of the features, and of the settings, that one hello names."""

_REFUSAL_CODES: Final = (
    "authentication_failed",
    "blocked",
    "join_refused",
    "overloaded",
    "protocol_violation",
    "quarantined",
    "settings_mismatch",
    "shutting_down",
    "version_mismatch",
    "wrong_cluster",
)
# `wrong_incarnation` is missing on purpose. It means that a node is gone, and membership acts upon it, so it is never
# believed from a refusal: the dialer concludes it from the hello that the acceptor has proven.

VersionNumber = Annotated[int, Meta(ge=0, le=65535)]
Counted = Annotated[int, Meta(ge=0, le=2**63 - 1)]
FeatureName = Annotated[str, Meta(min_length=1, max_length=64)]
VersionNumbers = Annotated[tuple[VersionNumber, ...], Meta(min_length=1, max_length=32)]
Name = Annotated[str, Meta(min_length=1, max_length=255)]
NodeId = Annotated[str, Meta(pattern=r"\A[0-9A-Za-z_.-]{1,64}\Z")]
ExpectedNodeId = Annotated[str, Meta(pattern=r"\A[0-9A-Za-z_.-]{0,64}\Z")]


class Hello(msgspec.Struct, frozen=True, array_like=True):
    """The first frame of each side: its identity and the versions that it supports.

    Attributes:
        protocols: versions of the frames that follow the handshake, any order.
        schemas: versions of the messages in those frames, any order.
        cluster: name of the cluster.
        authority: under which peers reach it; empty for a client.
        node_id: of this process.
        incarnation: see `Member.incarnation`.
        role: a member hosts grains, a client only calls.
        expected_node_id: whom the dialer looks for; empty when unknown, and from an acceptor.
        has_secret: whether it will prove a secret. Covered by the proof, so it cannot be cleared on the way.
        nonce: fresh random bytes; makes every proof good for one connection only.
        release: of the library, for people; empty from 0.1, which did not send it.
        features: see `wire.features`; names that the other side does not know are ignored.
        settings: values that must be equal on both sides, by name; see `config_shared`.
    """

    protocols: VersionNumbers
    schemas: VersionNumbers
    cluster: Name
    authority: Annotated[str, Meta(max_length=AUTHORITY_CHARACTERS_MAX)]
    node_id: NodeId
    incarnation: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    role: Literal["member", "client"]
    expected_node_id: ExpectedNodeId
    has_secret: bool
    nonce: Annotated[bytes, Meta(min_length=32, max_length=32)]
    release: Annotated[str, Meta(max_length=64)] = ""
    features: Annotated[dict[FeatureName, VersionNumber], Meta(max_length=NAMES_MAX)] = {}
    settings: Annotated[dict[FeatureName, Counted], Meta(max_length=NAMES_MAX)] = {}


class Refusal(msgspec.Struct, frozen=True, array_like=True):
    """The last frame of a side that ends the handshake. It is not authenticated: a diagnosis, not evidence."""

    code: Annotated[str, Meta(max_length=64)]
    reason: Annotated[str, Meta(max_length=_REASON_CHARACTERS_MAX)]
    release: Annotated[str, Meta(max_length=64)] = ""


_hello_decoder: Final = msgspec.msgpack.Decoder(Hello)
_refusal_decoder: Final = msgspec.msgpack.Decoder(Refusal)


def encode_frame(kind: int, body: bytes) -> bytes:
    """One frame: kind, length, body."""
    return HEADER.pack(kind, len(body)) + body


def encode_refusal(error: InahoError) -> bytes:
    """The frame that tells a peer the reason; without preface. An unknown code is sent as a protocol violation."""
    code = error.code if error.code in _REFUSAL_CODES else ProtocolViolation.code
    return encode_frame(KIND_REFUSAL, msgspec.msgpack.encode(Refusal(code, clean_text(error.reason), RELEASE)))


def decode_hello(body: bytes) -> Hello:
    """Decodes a hello.

    Raises:
        ProtocolViolation: it is none, or a field is beyond its limit.
    """
    return _decode(_hello_decoder, body, "hello")


def error_of_refusal(body: bytes, own: str = "this node") -> InahoError:
    """The error for a peer's refusal.

    Args:
        body: of the frame.
        own: the description of this side, for the refusal of a 0.1, which does not describe itself.

    Only the code (out of those that a refusal may carry) and a bounded, printable reason are taken from it.

    Raises:
        ProtocolViolation: the bytes are no refusal.
    """
    refusal = _decode(_refusal_decoder, body, "refusal")
    reason = f"refused by the peer: {clean_text(refusal.reason)}"
    if refusal.code not in _REFUSAL_CODES:
        return ProtocolViolation(f"{reason} (with code {clean_text(refusal.code)!r}, which no refusal carries)")
    if refusal.code == VersionMismatch.code and not refusal.release:
        # It refused this node's hello before it sent its own. Only 0.1 names no release, and it has protocol 1.
        return VersionMismatch(
            f"no protocol version in common: the peer, inaho {RELEASE_WITHOUT_NAME}, speaks protocol [1], {own}"
        )
    return error_from_code(refusal.code, reason)


def clean_text(text: str) -> str:
    """Text from an unauthenticated peer made fit for a log: printable and bounded."""
    bounded = text[:_REASON_CHARACTERS_MAX]
    return "".join(character if character.isprintable() else "?" for character in bounded)


def foreign_hint(head: bytes) -> str:
    """What protocol `head`, the first bytes of a peer that does not speak inaho, looks like."""
    for prefix, hint in _FOREIGN:
        if head.startswith(prefix):
            return f"the peer's bytes look like {hint}"
    return f"the peer is not an inaho node (its first bytes are {bytes(head[:8]).hex(' ')})"


_FOREIGN: Final = (
    (b"\x16", "TLS: it is configured with tls, this side is not"),
    (b"\x15\x03", "a TLS alert: it is configured with tls, this side is not"),
    (b"HTTP/", "an HTTP response: this is the port of a web server"),
    (b"GET ", "an HTTP request"),
    (b"HEAD ", "an HTTP request"),
    (b"POST ", "an HTTP request"),
    (b"PUT ", "an HTTP request"),
    (b"OPTIONS ", "an HTTP request"),
    (b"CONNECT ", "an HTTP request"),
    (b"PRI * HTTP/2", "an HTTP/2 request"),
    (b"SSH-", "SSH"),
    (b"PROXY ", "a load balancer's PROXY header: turn it off for this port"),
    (b"\r\n\r\n\x00\r\nQUIT\n", "a load balancer's PROXY header: turn it off for this port"),
)


def _decode(decoder: msgspec.msgpack.Decoder[MessageT], body: bytes, what: str) -> MessageT:
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolViolation(f"the {what} of the handshake is malformed: {clean_text(str(error))}") from error
