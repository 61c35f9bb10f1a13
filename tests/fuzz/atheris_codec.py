"""Any bytes into every decoder that a peer can reach. They raise what they declare, and nothing is left half made."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

with atheris.instrument_imports(include=["inaho.wire", "inaho.core.messages", "inaho.types", "inaho.errors"]):
    import msgspec

    from fuzz.atheris_support import run
    from inaho.core.messages import ControlMessage, Digest, Gossip, Mark, OriginVersion, within_bounds
    from inaho.errors import InahoError, ProtocolViolation, SerializationFailed
    from inaho.wire.codec import decoder, encode
    from inaho.wire.exceptions import GrainError, decode_failure, encode_failure
    from inaho.wire.frames import ChainLink, Definition, Goodbye, TopologyPush, pack_fields, unpack_fields
    from inaho.wire.letters import decode_letter, decode_value, encode_letter
    from inaho.wire.limits import bounded, check_containers
    from support.fuzz_bench import Basket

CONTAINERS_MAX = 2048
DECODED = (msgspec.MsgspecError, ValueError, RecursionError)
"""What a decoder raises for bytes that are not of its type; `UnicodeDecodeError` is a `ValueError`."""

control = decoder(ControlMessage)
anything = bounded(decoder(Any), CONTAINERS_MAX)
baskets = bounded(decoder(list[Basket]), CONTAINERS_MAX)


def take_control(data: bytes) -> None:
    message = control(data)
    within_bounds(message, 4096)
    assert control(encode(message)) == message


def take_letter(data: bytes) -> None:
    _, _, name, value = decode_letter(data)
    try:
        decode_value(name, value, CONTAINERS_MAX)
    except SerializationFailed as error:
        assert error.reason


def take_failure(data: bytes) -> None:
    error = decode_failure(data)
    assert isinstance(error, Exception)
    if isinstance(error, InahoError):
        assert len(str(error)) < len(data) + 500
    assert isinstance(decode_failure(encode_failure(error, identity="i", authority="a", executed=True)), Exception)


def take_fields(data: bytes) -> None:
    if data:
        try:
            unpack_fields(data[0], memoryview(data)[1:])
        except ProtocolViolation as error:
            assert error.reason


def take_counted(data: bytes) -> None:
    """The quick count and the decoder agree: what passes has no more containers than are allowed."""
    try:
        check_containers(data, 8)
    except ValueError:
        return
    value = decoder(Any)(data)
    assert containers(value) <= 8, value


def containers(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + sum(containers(key) + containers(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return 1 + sum(map(containers, value))
    return 0


TAKERS: tuple[Callable[[bytes], Any], ...] = (
    take_control, take_letter, take_failure, take_fields, take_counted, anything, baskets,
    decoder(Definition), decoder(Goodbye), decoder(TopologyPush), decoder(tuple[str, Basket, list[Basket]]),
)  # fmt: skip


def feed(data: bytes) -> None:
    """The first byte chooses the decoder."""
    if data:
        try:
            TAKERS[data[0] % len(TAKERS)](data[1:])
        except DECODED:
            return


def seeds() -> list[bytes]:
    mark = Mark(1, 2, 3)
    flags, fields = pack_fields(250, (ChainLink("Kind", "key", "node", 3),), "00-trace")
    good = {
        0: [encode(Digest(mark, (OriginVersion("a", 1),))), encode(Gossip(mark))],
        1: [encode_letter("user/a", "user/b", {"a": [1, None]}), encode_letter("user/a", "", b"x")],
        2: [encode_failure(GrainError("x", 1), identity="i", authority="a", executed=True)],
        3: [bytes([flags]) + fields],
        4: [encode([{"a": 1}, [b"x", 1.5]])],
        5: [encode([{"a": 1}, [b"x", 1.5]])],
        6: [encode([Basket({"a": 1})])],
        7: [encode(Definition("Kind", "method", "()", 0, 1000, False))],
        8: [encode(Goodbye("shutting_down", "bye"))],
        10: [encode(("key", Basket({"a": 1}), [Basket()]))],
    }  # fmt: skip
    return [bytes([number]) + data for number, bodies in good.items() for data in bodies]


if __name__ == "__main__":
    run("codec", feed, seeds())
