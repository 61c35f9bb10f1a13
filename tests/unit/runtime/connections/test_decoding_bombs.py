"""Small frames that would become large: what every entrance makes of them, in memory."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from inaho import Grain
from inaho.config import RpcConfig, TransportConfig
from inaho.core.messages import ControlMessage
from inaho.errors import InahoError, ProtocolViolation, RemoteError, SchemaMismatch, SerializationFailed
from inaho.runtime.connections.definitions import decode_definition, decode_key
from inaho.runtime.connections.outgoing import Outgoing
from inaho.runtime.grains.method import METHODS, GrainMethod
from inaho.runtime.turns.streams import StreamReceiver
from inaho.wire.codec import decoder, encode
from inaho.wire.exceptions import Failure, decode_failure
from inaho.wire.frames import CALL, ITEMS, REPLY, WITH_CHAIN, Goodbye, Identities, TopologyPush, frame, unpack_fields
from inaho.wire.handshake import Handshake, HandshakeConfig, PeerInfo
from inaho.wire.letters import decode_letter, decode_value, encode_letter, register_message
from inaho.wire.limits import check_containers, repeats

SIZE = 300_000
CONTAINERS_MAX = TransportConfig().containers_max
MEMORY_MAX = 12 << 20
"""A frame, a copy of it, and what the containers that are allowed take."""


class Tree(Struct):
    """Holds itself."""

    children: list[Tree] = []


register_message(Tree)


class Row(Struct, array_like=True):
    """Nothing in it, and a hundred bytes all the same."""

    cells: dict[str, int] = {}
    names: list[str] = []


class Eater(Grain):
    """One method of each sort of type."""

    async def anything(self, value: Any) -> Any:
        return value

    async def untyped(self, value):  # type: ignore[no-untyped-def]
        return value

    async def rows(self, value: list[Row]) -> list[Row]:
        return value

    async def tree(self, value: Tree) -> Tree:
        return value

    async def number(self, value: int) -> int:
        return value

    async def stream(self, value: int) -> AsyncIterator[Any]:
        yield value


def array_of(count: int, item: bytes) -> bytes:
    return b"\xdd" + count.to_bytes(4, "big") + item * count


BOMBS = {
    "empty maps": array_of(SIZE, b"\x80"),
    "empty lists": array_of(SIZE, b"\x90"),
    "lists of one": array_of(SIZE // 2, b"\x91\x00"),
    "maps of one": array_of(SIZE // 4, b"\x81\xa1a\xc0"),
    "deep lists": b"\x91" * SIZE + b"\xc0",
    "deep maps": b"\x81\xa1a" * (SIZE // 3) + b"\xc0",
    "claimed list": b"\xdd\xff\xff\xff\xff",
    "claimed map": b"\xdf\xff\xff\xff\xff",
    "claimed text": b"\xdb\xff\xff\xff\xff",
    "claims within claims": b"\xdd\xff\xff\xff\xff" * (SIZE // 5),
    "text": array_of(SIZE // 8, b"\xa1\xc3"),
}
NAMES = tuple(BOMBS)
each_bomb = pytest.mark.parametrize("name", NAMES)


def method(name: str) -> GrainMethod:
    return next(found for found in METHODS if found.kind == "Eater" and found.name == name)


def peak_of(function: Callable[[], Any], *expected: type[BaseException]) -> int:
    """Bytes at the worst moment. Fails unless the function raises what it may."""
    tracemalloc.start()
    try:
        with suppress(*expected):
            function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@each_bomb
@pytest.mark.parametrize("taker", ["anything", "untyped", "rows", "tree", "number", "stream"])
def test_as_arguments(name: str, taker: str) -> None:
    decode = method(taker).bounded_arguments_decoder(1, CONTAINERS_MAX)
    body = b"\x92\xa1k" + BOMBS[name]
    assert peak_of(lambda: decode(body), ValueError, msgspec.MsgspecError, RecursionError) < MEMORY_MAX
    assert peak_of(lambda: decode_key(body), ValueError, msgspec.MsgspecError, RecursionError) < MEMORY_MAX


@each_bomb
@pytest.mark.parametrize("type_name", ["", "list", "dict", "tuple", "set", "frozenset", "Tree"])
def test_as_a_message_between_actors(name: str, type_name: str) -> None:
    type_name = f"{__name__}.Tree" if type_name == "Tree" else type_name
    body = b"\x94\xa1r\xa0" + encode(type_name) + BOMBS[name]

    def receive() -> None:
        _, _, found, value = decode_letter(body)
        decode_value(found, value, CONTAINERS_MAX)

    refused = (SerializationFailed, ValueError, msgspec.MsgspecError, RecursionError)
    assert peak_of(receive, *refused) < MEMORY_MAX


@each_bomb
@pytest.mark.parametrize(
    "kind",
    [
        decoder(ControlMessage),
        decode_definition,
        decoder(Goodbye),
        decoder(TopologyPush),
        decoder(Identities),
        decode_failure,
    ],
    ids=["control", "definition", "goodbye", "topology", "ends", "failure"],
)
def test_as_what_nodes_say_to_each_other(name: str, kind: Callable[[bytes], Any]) -> None:
    for body in (BOMBS[name], *(b"\x95" + bytes([tag]) + BOMBS[name] for tag in range(13))):
        assert peak_of(lambda body=body: kind(body), ValueError, msgspec.MsgspecError, RecursionError) < MEMORY_MAX  # type: ignore[misc]


@each_bomb
def test_as_what_an_exception_was_made_with(name: str) -> None:
    arguments = b"\x92" + BOMBS[name] + b"\x80"
    body = encode(Failure("", "", "", "", True, "ValueError", "", b""))
    large = body[:-2] + b"\xc6" + len(arguments).to_bytes(4, "big") + arguments
    assert peak_of(lambda: decode_failure(large), msgspec.MsgspecError) < MEMORY_MAX
    small = b"\x92" + BOMBS[name][:60_000] + b"\x80"
    assert peak_of(lambda: decode_failure(encode(Failure("", "", "", "", True, "ValueError", "", small)))) < MEMORY_MAX
    assert isinstance(decode_failure(encode(Failure("", "", "", "", True, "ValueError", "", small))), RemoteError)


@each_bomb
def test_as_optional_fields(name: str) -> None:
    field = BOMBS[name][:65_535]
    body = memoryview(len(field).to_bytes(2, "little") + field)
    assert peak_of(lambda: unpack_fields(WITH_CHAIN, body), ProtocolViolation) < MEMORY_MAX


@each_bomb
def test_as_a_handshake(name: str) -> None:
    shake = Handshake(
        "acceptor", HandshakeConfig(cluster="c", secret="s", node_id="0" * 16, authority="a:1"), bytes(32)
    )
    shake.start()
    shake.receive(b"INAHO\x01")
    with pytest.raises(InahoError):
        shake.receive(
            b"\x01" + (16_000).to_bytes(2, "big") + BOMBS[name].ljust(16_000, b"\xc1")[:16_000] + bytes(20_000)
        )


@each_bomb
async def test_as_a_result_or_items(name: str) -> None:
    loop = asyncio.get_running_loop()
    connection = Outgoing(
        PeerInfo("a:1", "0" * 16, 1, "member", 1, 1),
        TransportConfig(),
        loop,
        rpc=RpcConfig(),
        flight_bytes_max=1 << 20,
        ending_callback=lambda _: None,
        closed_callback=lambda *_: None,
        topology_callback=lambda _: None,
        ends_callback=lambda _: None,
    )
    for taker in ("anything", "rows", "tree", "number"):
        found = method(taker)
        future: asyncio.Future[Any] = loop.create_future()
        correlation = connection.call(found, "k", (1,), future, loop.time() + 30, loop.time())
        reply = frame(REPLY, BOMBS[name], method=found.number, correlation=correlation)
        assert peak_of(lambda reply=reply: connection.data_received(reply)) < MEMORY_MAX  # type: ignore[misc]
        assert future.done()
        assert isinstance(future.exception(), SchemaMismatch) or (name == "text" and taker == "anything")
    receiver = StreamReceiver(method("stream"), "k", loop)
    connection.open_stream(method("stream"), "k", (1,), receiver, loop.time() + 30, 0, b"")
    items = frame(ITEMS, BOMBS[name], correlation=max(key for slot in connection.wheel.slots for key in slot))
    assert peak_of(lambda: connection.data_received(items)) < MEMORY_MAX
    connection.connection_lost(None)


def test_only_types_that_can_grow_are_looked_at() -> None:
    assert not any(
        repeats(kind) for kind in (int, str, bytes, list[int], dict[str, float], Row, int | None, tuple[Row, Row])
    )
    assert all(repeats(kind) for kind in (Any, list, list[Any], list[Row], dict[str, Row], Tree, list[Row] | None))
    assert not method("number").takes_many(1) and method("rows").takes_many(1) and method("stream").gives_many


def test_the_count_is_exact_where_it_matters() -> None:
    text = "稲穂" * 30_000  # every second byte of it could begin a container
    check_containers(encode([text, b"\x90" * 500_000, *([[1]] * 999)]), 1000)
    check_containers(encode([[-1.5, 2**40, -(2**20), 70_000, "x" * 300]] * 999), 1000)
    with pytest.raises(ValueError, match="more than 1000"):
        check_containers(encode([text, *([{"a": 1}] * 1000)]), 1000)
    check_containers(encode([msgspec.msgpack.Ext(5, b"\x90" * 3000), msgspec.msgpack.Ext(5, b"\x90"), []]), 2)
    check_containers(b"\x90" * 5 + b"\xc1" * 5, 5)  # no msgpack: for the decoder to refuse
    body = encode_letter("r", "", [[] for _ in range(10)])
    with pytest.raises(ValueError, match="more than 10"):
        check_containers(body, 10)
    assert CALL
