"""The frames of an authenticated connection: their types, fields and bytes.

A frame is a fixed header of 12 bytes and a body. The header is the same for every type, so the receiver reads a whole
batch in one loop and reads bodies only after it has checked their length. Optional fields are between header and body,
announced by flags, and cost nothing when absent. Methods are small integers that the dialling side defines once per
connection, because names in every call would cost more than the call.

    length u32 | type u8 | flags u8 | method u16 | correlation u32 | optional fields | body

`length` counts what follows it. All integers are little-endian.
"""

from __future__ import annotations

import struct
from typing import Annotated, Final

import msgspec

from inaho.errors import FrameTooLarge, ProtocolViolation
from inaho.types import TopologySnapshot

__all__ = [
    "ACKNOWLEDGE",
    "ANSWER",
    "ASK",
    "BEGINS",
    "CALL",
    "CANCEL",
    "CONFIRM",
    "CONTROL",
    "CREDIT",
    "DEFINE",
    "END",
    "ENDED",
    "ENDS_MAX",
    "ERROR",
    "FAILED",
    "GOODBYE",
    "HEADER",
    "HEADER_BYTES",
    "HEADER_REST",
    "ITEMS",
    "KEEPS",
    "LAST",
    "PUBLISH",
    "PUBLISHED",
    "REPLY",
    "STOP",
    "TELL",
    "TERMINATED",
    "TOPOLOGY",
    "UNWATCH",
    "WATCH",
    "WITHDRAW",
    "WITH_CHAIN",
    "WITH_DEADLINE",
    "WITH_TRACE",
    "CallFields",
    "ChainLink",
    "Definition",
    "Goodbye",
    "Identities",
    "TopologyPush",
    "frame",
    "pack_fields",
    "unpack_fields",
]

HEADER: Final = struct.Struct("<IBBHI")
HEADER_BYTES: Final = HEADER.size
HEADER_REST: Final = HEADER_BYTES - 4
"""The value of `length` for an empty body."""

CALL: Final = 1
"""Caller to callee: run a method. Body: array of key and arguments."""
REPLY: Final = 2
"""Callee to caller: the result; `method` is repeated, so that the caller finds the decoder without a lookup."""
ERROR: Final = 3
"""Callee to caller: the call failed. Body: `Failure`."""
CANCEL: Final = 4
"""Caller to callee: the caller does not wait for this call any more."""
ITEMS: Final = 5
"""Callee to caller: items of a stream, in one array."""
END: Final = 6
"""Callee to caller: the stream is complete."""
CREDIT: Final = 7
"""Caller to callee: `method` more items may be sent."""
DEFINE: Final = 8
"""Caller to callee: the meaning of `method` from now on. Body: `Definition`."""
CONTROL: Final = 9
"""Control plane: one `ControlMessage`."""
TOPOLOGY: Final = 10
"""Member to client: the newest topology. Body: `TopologyPush`."""
GOODBYE: Final = 11
"""Either direction, last frame: why the connection is closed. Body: `Goodbye`."""

# Messages between actors. From here on: what `runtime.remoting` handles; the order of numbers is relied upon.
# `TELL`, `ASK` and `STOP` are acknowledged: each is counted by both sides of the connection.
TELL: Final = 12
"""Sender to receiver: a message. Body: `[recipient, sender, type, value]`, see `wire.letters`."""
ASK: Final = 13
"""Sender to receiver: a message that wants an answer under its correlation id. Body as of `TELL`."""
STOP: Final = 14
"""Sender to receiver: end an actor. Body: its path."""
ACKNOWLEDGE: Final = 15
"""Receiver to sender: so many messages of this connection, modulo 2**32, have been handled: the correlation id."""
ANSWER: Final = 16
"""Receiver to sender: the result of an ask. Body: `[type, value]`, or with `FAILED` in the flags a `Failure`."""
WITHDRAW: Final = 17
"""Sender to receiver: the asker does not wait for the answer any more."""
WATCH: Final = 18
"""Sender to receiver: notify once, under this correlation id, when an actor ends. Body: its path."""
UNWATCH: Final = 19
"""Sender to receiver: the inverse of `WATCH`."""
TERMINATED: Final = 20
"""Receiver to sender: a watched actor has ended or never was. Body: `[reason, exists]`."""

# Where activations of placed kinds are; only with peers that speak `wire.features.ENDS`.
KEEPS: Final = 21
"""Caller to callee: the caller keeps in its PidCache that an activation is there. Body: `[kind, key]`."""
ENDED: Final = 22
"""Callee to caller: activations that it keeps have ended. Body: array of `[kind, key]`."""

# Messages of topics at most once; only with peers that speak `wire.features.TOPICS`.
PUBLISH: Final = 23
"""Publisher to subscribed node: a batch of one channel, or only its next number. Body: see `wire.publications`.

`method` is the generation of the publisher's count; with `BEGINS`, `correlation` is the number of messages that are
lost before.
"""
PUBLISHED: Final = 24
"""Subscribed node to publisher: the oldest `PUBLISH` with `CONFIRM` that was not confirmed has been handled."""

FAILED: Final = 1
"""Flag of `ANSWER`."""

BEGINS: Final = 1
"""Flag of `PUBLISH`: the first of the channel to this node, or the first after a pause."""
CONFIRM: Final = 2
"""Flag of `PUBLISH`: the receiver answers with `PUBLISHED`."""
LAST: Final = 4
"""Flag of `PUBLISH`: the publisher ends, and nothing follows."""

WITH_DEADLINE: Final = 1
WITH_CHAIN: Final = 2
WITH_TRACE: Final = 4
_KNOWN_FLAGS: Final = WITH_DEADLINE | WITH_CHAIN | WITH_TRACE

_U16: Final = struct.Struct("<H")
_U32: Final = struct.Struct("<I")


SIGNATURE_CHARS_MAX: Final = 2_000
Name = Annotated[str, msgspec.Meta(max_length=256)]
Signature = Annotated[str, msgspec.Meta(max_length=SIGNATURE_CHARS_MAX)]


ENDS_MAX: Final = 256
"""Identities of one `ENDED`, at most; fewer where `transport.frame_bytes_max` is small."""
Identities = Annotated[list[tuple[str, str]], msgspec.Meta(max_length=ENDS_MAX)]
"""Kinds and keys: the body of `ENDED`."""


class Definition(msgspec.Struct, frozen=True, array_like=True):
    """Meaning of a method number on one connection.

    Attributes:
        kind: name of the grain kind.
        method: name of the method.
        signature: the caller's, for the diagnosis of a mismatch.
        arity: number of parameters that the caller sends after the key.
        timeout_ms: deadline of a call that carries none.
        streams: whether the caller expects a stream.
    """

    kind: Name
    method: Name
    signature: Signature
    arity: int
    timeout_ms: int
    streams: bool


class ChainLink(msgspec.Struct, frozen=True, array_like=True):
    """One grain that waits for the call: its turn and its node, to name and detect cycles."""

    kind: str
    key: str
    node_id: str
    turn: int


class CallFields(msgspec.Struct, frozen=True):
    """Optional fields of a call, decoded.

    Attributes:
        deadline_ms: time left when the call was sent; None: the method's default.
        chain: grains that wait for this call, outermost first.
        trace: W3C `traceparent`; empty when not traced.
    """

    deadline_ms: int | None = None
    chain: tuple[ChainLink, ...] = ()
    trace: str = ""


class TopologyPush(msgspec.Struct, frozen=True, array_like=True):
    """The newest topology, for clients."""

    snapshot: TopologySnapshot


class Goodbye(msgspec.Struct, frozen=True, array_like=True):
    """Why the sender closes: an error code and a reason."""

    code: str
    reason: str


_encode_chain = msgspec.msgpack.Encoder().encode
_decode_chain = msgspec.msgpack.Decoder(tuple[ChainLink, ...]).decode


def frame(kind: int, body: bytes = b"", *, flags: int = 0, method: int = 0, correlation: int = 0) -> bytes:
    """A whole frame in one piece. The call path packs header and body itself."""
    return HEADER.pack(HEADER_REST + len(body), kind, flags, method, correlation) + body


def pack_fields(deadline_ms: int | None, chain: tuple[ChainLink, ...], trace: str) -> tuple[int, bytes]:
    """Optional fields as (flags, bytes), in the order deadline, chain, trace.

    Args:
        deadline_ms: time left; at most 32 bits, which is 49 days.
        chain: grains that wait for the call, outermost first.
        trace: W3C `traceparent`; the receiver passes it on unchanged.

    Raises:
        FrameTooLarge: chain or trace takes more than 65,535 bytes.
    """
    flags = 0
    parts: list[bytes] = []
    if deadline_ms is not None:
        flags |= WITH_DEADLINE
        parts.append(_U32.pack(min(max(deadline_ms, 0), 0xFFFFFFFF)))
    for present, flag, data in (
        (bool(chain), WITH_CHAIN, _encode_chain(chain) if chain else b""),
        (bool(trace), WITH_TRACE, trace.encode(errors="replace")),
    ):
        if present:
            if len(data) > 0xFFFF:
                raise FrameTooLarge(f"an optional field of a call has {len(data)} bytes, the most is 65535")
            flags |= flag
            parts += (_U16.pack(len(data)), data)
    return flags, b"".join(parts)


def unpack_fields(flags: int, view: memoryview) -> tuple[CallFields, memoryview]:
    """The inverse of `pack_fields`: the fields, and the body behind them.

    Raises:
        ProtocolViolation: unknown flags, or fields that do not fit in the frame.
    """
    if flags & ~_KNOWN_FLAGS:
        raise ProtocolViolation(f"unknown call flags {flags:#04x}")
    deadline_ms: int | None = None
    chain: tuple[ChainLink, ...] = ()
    trace = ""
    try:
        if flags & WITH_DEADLINE:
            (deadline_ms,) = _U32.unpack_from(view)
            view = view[4:]
        if flags & WITH_CHAIN:
            data, view = _take(view)
            chain = _decode_chain(data)
        if flags & WITH_TRACE:
            data, view = _take(view)
            trace = str(data, "utf-8")
    except (struct.error, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolViolation(f"optional fields of a call do not decode: {error}") from error
    return CallFields(deadline_ms, chain, trace), view


def _take(view: memoryview) -> tuple[memoryview, memoryview]:
    (size,) = _U16.unpack_from(view)
    if len(view) < 2 + size:
        raise ProtocolViolation("an optional field of a call reaches beyond its frame")
    return view[2 : 2 + size], view[2 + size :]
