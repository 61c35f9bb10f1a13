"""What correct peers send, the connections that it is sent to, and how such a connection may end."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from inaho.config import RpcConfig, TransportConfig
from inaho.core.messages import Digest, Mark
from inaho.errors import NoSuchKind, ProtocolViolation
from inaho.runtime.connections.connection import Connection
from inaho.runtime.connections.outgoing import Outgoing
from inaho.runtime.grains.method import METHODS, GrainMethod
from inaho.runtime.turns.streams import StreamReceiver
from inaho.wire.codec import encode
from inaho.wire.exceptions import GrainError, encode_failure
from inaho.wire.frames import (
    BEGINS,
    CALL,
    CANCEL,
    CONFIRM,
    CONTROL,
    CREDIT,
    DEFINE,
    END,
    ENDED,
    ERROR,
    GOODBYE,
    ITEMS,
    KEEPS,
    PUBLISH,
    REPLY,
    TOPOLOGY,
    ChainLink,
    Goodbye,
    TopologyPush,
    frame,
    pack_fields,
)
from inaho.wire.handshake import PeerInfo
from inaho.wire.publications import encode_batch, prefix_of
from support.fuzz_bench import Bench, FuzzedGrain, RecordingTransport

MEMBER = PeerInfo("10.0.0.9:7700", "fuzz", 1, "member", 1, 1)
CLIENT = PeerInfo("", "fuzz", 1, "client", 1, 1)
CONFIG = TransportConfig()


def methods() -> dict[str, GrainMethod]:
    return {method.name: method for method in METHODS if method.kind == FuzzedGrain.__name__}


def call(number: int, correlation: int, *parts: Any, flags: int = 0, fields: bytes = b"") -> bytes:
    return frame(CALL, fields + encode(parts), flags=flags, method=number, correlation=correlation)


def batch(first: int, keys: list[str] | None, values: list[Any]) -> bytes:
    return encode_batch(prefix_of("fuzzed"), first, 1.5, keys, [encode(value) for value in values])


def good_calls() -> list[bytes]:
    """What a correct caller sends; the definitions stand first."""
    names = sorted(methods())
    numbers = {name: number for number, name in enumerate(names)}
    found = [frame(DEFINE, encode(methods()[name].definition(5.0)), method=numbers[name]) for name in names]
    found.append(
        frame(DEFINE, encode(msgspec.structs.replace(methods()["add"].definition(1.0), kind="Nobody")), method=90)
    )
    flags, fields = pack_fields(
        250, (ChainLink("FuzzedGrain", "a", "node", 3),), "00-0af7651916cd43dd8448eb211c80319c-01"
    )
    found += [
        call(numbers["add"], 1, "a", "apple", 2),
        call(numbers["add"], 2, "a", "apple", 2, flags=flags, fields=fields),
        call(numbers["merge"], 3, "b", {"items": {"x": 1}}, [{"items": {"y": 2}}]),
        call(numbers["echo"], 4, "c", [1, {"deep": [None, b"bytes", 1.5]}]),
        call(numbers["wait"], 5, "a"),
        call(numbers["fail"], 6, "a", "because"),
        call(numbers["look"], 7, "a"),
        call(numbers["count"], 8, "a", 500),
        call(90, 9, "a", "apple", 2),
        frame(CANCEL, correlation=5),
        frame(CANCEL, correlation=8),
        frame(CREDIT, method=100, correlation=8),
        frame(CONTROL, encode(Digest(Mark(1, 1, 1), ()))),
        frame(KEEPS, encode(("FuzzedGrain", "a"))),
        frame(PUBLISH, batch(1, ["", "k"], [1, {"deep": [None]}]), flags=BEGINS | CONFIRM, method=3, correlation=2),
        frame(PUBLISH, batch(3, None, []), method=3),
        frame(GOODBYE, encode(Goodbye("", "done"))),
        frame(GOODBYE, encode(Goodbye("shutting_down", "done"))),
    ]
    return found


def good_answers(pending: list[tuple[int, GrainMethod]], bench: Bench) -> list[bytes]:
    """What a correct callee could send to these calls, and what it could not."""
    results = {
        "add": 7,
        "merge": {"items": {"x": 1}},
        "echo": [1, None],
        "wait": None,
        "fail": None,
        "look": {"apple": 1},
    }
    found = [frame(GOODBYE, encode(Goodbye("shutting_down", "done")))]
    found.append(frame(ENDED, encode([("FuzzedGrain", "a")])))
    if bench.node.topology.snapshot is not None:
        found.append(frame(TOPOLOGY, encode(TopologyPush(bench.node.topology.snapshot))))
    errors = [
        GrainError("x", 1),
        ValueError("v"),
        NoSuchKind("none"),
        KeyError(1),
        OSError(2, "no"),
        asyncio.CancelledError(),
    ]
    for index, (correlation, method) in enumerate(pending):
        body = encode_failure(errors[index % len(errors)], identity="i", authority="a", executed=True)
        found.append(frame(ERROR, body, correlation=correlation))
        if method.stream:
            found.append(frame(ITEMS, encode(list(range(20))), correlation=correlation))
            found.append(frame(END, correlation=correlation))
        else:
            found.append(frame(REPLY, encode(results[method.name]), method=method.number, correlation=correlation))
    return found


def open_calls(bench: Bench, connection: Outgoing) -> list[tuple[int, GrainMethod, Any]]:
    """Pending calls of every method, streams among them: (id, method, what waits)."""
    arguments = {"add": ("apple", 1), "merge": (None, []), "echo": (1,), "fail": ("r",), "count": (5,)}
    found: list[tuple[int, GrainMethod, Any]] = []
    now = bench.loop.time()
    for name, method in sorted(methods().items()):
        entry: Any = StreamReceiver(method, "a", bench.loop) if method.stream else bench.loop.create_future()
        correlation = connection.call(method, "a", arguments.get(name, ()), entry, now + 30.0, now)
        found.append((correlation, method, entry))
    return found


def outgoing(bench: Bench) -> Outgoing:
    return Outgoing(
        MEMBER,
        CONFIG,
        bench.loop,
        rpc=RpcConfig(),
        flight_bytes_max=1 << 20,
        ending_callback=lambda _: None,
        closed_callback=lambda _, __: None,
        topology_callback=lambda _: None,
        ends_callback=lambda _: None,
    )


def closed_cleanly(
    connection: Connection, transport: RecordingTransport, sent: list[tuple[int, int, int, int, bytes]]
) -> bool:
    """In use, closed because the peer said goodbye, or closed with a last frame that says what the peer did wrong."""
    if not transport.closed:
        return not connection.closed
    if not sent or sent[-1][0] != GOODBYE:
        return isinstance(connection, Outgoing) and connection.ending
    goodbye = msgspec.msgpack.decode(sent[-1][-1], type=Goodbye)
    return goodbye.code == ProtocolViolation.code and bool(goodbye.reason)
