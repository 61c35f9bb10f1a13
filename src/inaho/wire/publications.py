"""The body of a `PUBLISH` frame: a batch of messages of one channel.

    [channel, first sequence number, published_at, keys or nil, values]

It is one msgpack array, made by joining pieces that are encoded already: a value is encoded once, when it is published,
whatever the number of nodes that get it. The numbers have a fixed width, so the pieces before the values are packed by
one `struct`. The receiver finds the channel by the bytes of its name, and so the decoder for the type of its messages,
which then decodes the whole body in one call.

Why not a frame per message: header, name, number and time would cost more than a small message.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from inaho.errors import ProtocolViolation
from inaho.wire.codec import decoder, encode
from inaho.wire.limits import bounded, repeats

__all__ = ["Batch", "batch_decoder", "decode_apart", "encode_batch", "prefix_of", "read_prefix"]

Batch = tuple[str, int, float, list[str] | None, list[Any]]
"""Channel, sequence number of the first message, Unix seconds at the publisher, keys, values."""

_ARRAY_OF_5: Final = 0x95
_NIL: Final = b"\xc0"
_NUMBERS: Final = struct.Struct(">BQBd")
_COUNT: Final = struct.Struct(">BI")
_UINT64, _FLOAT64, _ARRAY32 = 0xCF, 0xCB, 0xDD

_decode_apart = decoder(tuple[str, int, float, list[str] | None, list[msgspec.Raw]])
_decode_name = decoder(str)


def prefix_of(channel: str) -> bytes:
    """The bytes with which all batches of a channel begin."""
    return bytes((_ARRAY_OF_5,)) + encode(channel)


def read_prefix(body: memoryview) -> bytes:
    """The bytes of a batch that say its channel. Raises `ProtocolViolation`."""
    try:
        if body[0] == _ARRAY_OF_5:
            head = body[1]
            if 0xA0 <= head <= 0xBF:
                return bytes(body[: 2 + (head & 0x1F)])
            if head == 0xD9:
                return bytes(body[: 3 + body[2]])
            if head == 0xDA:
                return bytes(body[: 4 + (body[2] << 8 | body[3])])
    except IndexError:
        pass
    raise ProtocolViolation("a batch of messages that names no channel")


def encode_batch(
    prefix: bytes, first: int, published_at: float, keys: list[str] | None, values: Sequence[bytes]
) -> bytes:
    """The body of a batch.

    Args:
        prefix: of the channel, see `prefix_of`.
        first: sequence number of the first message; without values, of the next one.
        published_at: Unix seconds.
        keys: one per value; None: all are empty.
        values: encoded.
    """
    return b"".join(
        (
            prefix,
            _NUMBERS.pack(_UINT64, first, _FLOAT64, published_at),
            _NIL if keys is None else encode(keys),
            _COUNT.pack(_ARRAY32, len(values)),
            *values,
        )
    )


def batch_decoder(kind: Any, containers_max: int) -> Callable[[bytes | memoryview], Batch]:
    """Decodes a batch whose values are of type `kind`, with at most `containers_max` lists, maps and Structs in them.

    The decoder raises one of `DECODE_ERRORS`. If one value does not decode, none does: see `decode_apart`.
    """
    decode = decoder(tuple[str, int, float, list[str] | None, list[kind]])
    return bounded(decode, containers_max) if repeats(list[kind]) else decode


def decode_apart(body: bytes | memoryview) -> tuple[str, int, float, list[str] | None, list[bytes]]:
    """A batch with values that are still encoded.

    Raises:
        ProtocolViolation: the batch itself does not decode.
    """
    try:
        channel, first, published_at, keys, values = _decode_apart(body)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise ProtocolViolation(f"a batch of messages that does not decode: {error}") from error
    if first < 1 or (keys is not None and len(keys) != len(values)):
        raise ProtocolViolation(f"a batch of {len(values)} messages with other keys, or without a number")
    return channel, first, published_at, keys, [bytes(value) for value in values]
