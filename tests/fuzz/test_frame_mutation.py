"""Mutated frames through both sides of a connection.

Whatever a peer sends, `data_received` raises nothing, other callers are served, everybody who waits gets an answer or
an error, and the connection is either in use or was closed with a goodbye that says why.
"""

from __future__ import annotations

import asyncio
import os
from random import Random
from typing import Any

import msgspec
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from inaho.config import RpcConfig, TransportConfig
from inaho.core.messages import Digest, Mark
from inaho.errors import InahoError, NoSuchKind, ProtocolViolation
from inaho.runtime.connections.connection import Connection
from inaho.runtime.connections.incoming import Incoming
from inaho.runtime.connections.outgoing import Outgoing
from inaho.runtime.grains.method import METHODS, GrainMethod
from inaho.runtime.turns.streams import StreamReceiver
from inaho.wire.codec import encode
from inaho.wire.exceptions import GrainError, encode_failure
from inaho.wire.frames import (
    CALL,
    CANCEL,
    CONTROL,
    CREDIT,
    DEFINE,
    END,
    ERROR,
    GOODBYE,
    HEADER_REST,
    ITEMS,
    REPLY,
    TOPOLOGY,
    ChainLink,
    Goodbye,
    TopologyPush,
    frame,
    pack_fields,
)
from inaho.wire.handshake import PeerInfo

from .fuzz_bench import Bench, FuzzedGrain, RecordingTransport, split_frames
from .mutation import chunks, mutated

MEMBER = PeerInfo("10.0.0.9:7700", "fuzz", 1, "member", 1, 1)
CLIENT = PeerInfo("", "fuzz", 1, "client", 1, 1)
CONFIG = TransportConfig()
ROUNDS = 10
"""Streams per example: each gets a connection of its own."""

SentFrame = tuple[int, int, int, int, bytes]
seeds = st.integers(0, 2**63 - 1)
# A smaller seed is no simpler stream: there is nothing to shrink.
as_they_come = settings(phases=[Phase.explicit, Phase.reuse, Phase.generate], max_examples=40)


def methods() -> dict[str, GrainMethod]:
    return {method.name: method for method in METHODS if method.kind == FuzzedGrain.__name__}


def call(number: int, correlation: int, *parts: Any, flags: int = 0, fields: bytes = b"") -> bytes:
    return frame(CALL, fields + encode(parts), flags=flags, method=number, correlation=correlation)


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
        frame(GOODBYE, encode(Goodbye("", "done"))),
        frame(GOODBYE, encode(Goodbye("shutting_down", "done"))),
    ]
    return found


def feed(bench: Bench, random: Random, connection: Connection, data: bytes) -> RecordingTransport:
    """Gives `data` to the connection as long as a transport would."""
    transport = RecordingTransport()
    bench.call(connection.connection_made, transport)
    for chunk in chunks(random, data):
        if transport.closed:
            break
        bench.call(connection.data_received, chunk)
        if random.random() < 0.3:
            bench.turn(random.randint(1, 3))
    return transport


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


@as_they_come
@given(seed=seeds)
def test_the_side_that_answers_survives_any_bytes(bench: Bench, seed: int) -> None:
    random, good = Random(seed), good_calls()
    for _ in range(ROUNDS):
        connection = Incoming(random.choice((MEMBER, CLIENT)), CONFIG, bench.loop, bench.node)
        bench.node.acceptor.connections[connection] = None
        transport = feed(bench, random, connection, mutated(random, good))
        bench.turn()
        sent = split_frames(transport.written)
        assert {kind for kind, *_ in sent} <= {REPLY, ERROR, ITEMS, END, GOODBYE, TOPOLOGY}
        assert closed_cleanly(connection, transport, sent)
        bench.call(connection.connection_lost, None)
        bench.turn(8)
        assert not connection.running and not connection.streams, "work is left for a peer that is gone"
    assert bench.serves()
    assert not bench.problems


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
    if bench.node.topology is not None:
        found.append(frame(TOPOLOGY, encode(TopologyPush(bench.node.topology))))
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
        ending_callback=lambda _: None,
        closed_callback=lambda _, __: None,
        topology_callback=lambda _: None,
    )


def outcome(bench: Bench, entry: Any) -> BaseException | None:
    """What the caller gets. Fails when it would wait for ever."""
    if isinstance(entry, StreamReceiver):

        async def read() -> None:
            while await entry.next_chunk():
                pass

        try:
            bench.loop.run_until_complete(asyncio.wait_for(read(), 5))
        except TimeoutError as error:
            assert isinstance(error, InahoError), "a reader of a stream was forgotten"
            return error
        except Exception as error:
            return error
        return None
    assert entry.done(), "a caller was forgotten"
    error: BaseException | None = entry.exception()
    return error


@as_they_come
@given(seed=seeds)
def test_the_side_that_calls_survives_any_bytes(bench: Bench, seed: int) -> None:
    random = Random(seed)
    for _ in range(ROUNDS):
        connection = outgoing(bench)
        transport = RecordingTransport()
        bench.call(connection.connection_made, transport)
        pending = bench.call(open_calls, bench, connection)
        bench.turn(1)
        asked = len(split_frames(transport.written))
        assert asked == 2 * len(pending), "a definition and a call each"
        data = mutated(random, good_answers([(correlation, method) for correlation, method, _ in pending], bench))
        for chunk in chunks(random, data):
            if not transport.closed:
                bench.call(connection.data_received, chunk)
        bench.turn(2)
        assert closed_cleanly(connection, transport, split_frames(transport.written)[asked:])
        bench.call(connection.connection_lost, None)
        connection.wheel.check()
        assert len(connection.wheel) == 0
        for _, _, entry in pending:
            error = outcome(bench, entry)
            assert error is None or isinstance(error, Exception)
    assert not bench.problems


def test_the_good_calls_are_good(bench: Bench) -> None:
    connection = Incoming(MEMBER, CONFIG, bench.loop, bench.node)
    bench.node.acceptor.connections[connection] = None
    transport = RecordingTransport()
    bench.call(connection.connection_made, transport)
    for data in good_calls():
        bench.call(connection.data_received, data)
        bench.turn()
    answered: dict[int, list[int]] = {}
    for kind, _, _, correlation, _ in split_frames(transport.written):
        answered.setdefault(correlation, []).append(kind)
    assert not transport.closed and not connection.closed
    assert {correlation for correlation, kinds in answered.items() if kinds == [REPLY]} == {1, 2, 3, 4, 5, 7}
    assert answered[6] == answered[9] == [ERROR]
    assert answered[8][0] == ITEMS and answered[8][-1] == END
    bench.call(connection.connection_lost, None)


def test_the_good_answers_are_good(bench: Bench) -> None:
    connection = outgoing(bench)
    bench.call(connection.connection_made, RecordingTransport())
    pending = bench.call(open_calls, bench, connection)
    for data in good_answers([(correlation, method) for correlation, method, _ in pending], bench):
        if data[4] in (REPLY, ITEMS, END):
            bench.call(connection.data_received, data)
    assert [outcome(bench, entry) for _, _, entry in pending] == [None] * len(pending)
    assert not connection.closed and len(connection.wheel) == 0
    bench.call(connection.connection_lost, None)


def test_noise_is_closed_with_a_reason(bench: Bench) -> None:
    for data in (b"GET / HTTP/1.1\r\n\r\n", bytes(12), b"\xff" * 64, os.urandom(4) + b"\xff" * 8):
        connection = Incoming(MEMBER, CONFIG, bench.loop, bench.node)
        bench.node.acceptor.connections[connection] = None
        transport = feed(bench, Random(0), connection, data)
        length = int.from_bytes(data[:4], "little")
        assert transport.closed == (not HEADER_REST < length <= CONFIG.frame_bytes_max), "else more of it may come"
        assert closed_cleanly(connection, transport, split_frames(transport.written))
        assert not connection._rest or not transport.closed, "nothing of a peer that is refused is kept"
        bench.call(connection.connection_lost, None)
    assert bench.serves()
