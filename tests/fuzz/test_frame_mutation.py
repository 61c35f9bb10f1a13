"""Mutated frames through both sides of a connection.

Whatever a peer sends, `data_received` raises nothing, other callers are served, everybody who waits gets an answer or
an error, and the connection is either in use or was closed with a goodbye that says why.
"""

from __future__ import annotations

import asyncio
import os
from random import Random
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from inaho.errors import InahoError
from inaho.runtime.connections.connection import Connection
from inaho.runtime.turns.streams import StreamReceiver
from inaho.wire.frames import (
    ACKNOWLEDGE,
    ANSWER,
    END,
    ENDED,
    ERROR,
    GOODBYE,
    HEADER_REST,
    ITEMS,
    PUBLISHED,
    REPLY,
    TERMINATED,
    TOPOLOGY,
)
from support.fuzz_bench import Bench, RecordingTransport, split_frames
from support.good_frames import CLIENT, CONFIG, MEMBER, closed_cleanly, good_answers, good_calls, open_calls, outgoing
from support.mutation import chunks, mutated

ANSWERS = {REPLY, ERROR, ITEMS, END, ENDED, GOODBYE, TOPOLOGY, ACKNOWLEDGE, ANSWER, TERMINATED, PUBLISHED}
"""Frames that the side that answers may send."""

ROUNDS = 10
"""Streams per example: each gets a connection of its own."""

seeds = st.integers(0, 2**63 - 1)
# A smaller seed is no simpler stream: there is nothing to shrink.
as_they_come = settings(phases=[Phase.explicit, Phase.reuse, Phase.generate], max_examples=40)


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


@as_they_come
@given(seed=seeds)
def test_the_side_that_answers_survives_any_bytes(bench: Bench, seed: int) -> None:
    random, good = Random(seed), good_calls()
    for _ in range(ROUNDS):
        connection = bench.node.acceptor.open(random.choice((MEMBER, CLIENT)), CONFIG)
        transport = feed(bench, random, connection, mutated(random, good))
        bench.turn()
        sent = split_frames(transport.written)
        assert {kind for kind, *_ in sent} <= ANSWERS
        assert closed_cleanly(connection, transport, sent)
        bench.call(connection.connection_lost, None)
        bench.turn(8)
        assert not connection.running and not connection.streams, "work is left for a peer that is gone"
    assert bench.serves()
    assert not bench.problems


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
    connection = bench.node.acceptor.open(MEMBER, CONFIG)
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
        connection = bench.node.acceptor.open(MEMBER, CONFIG)
        transport = feed(bench, Random(0), connection, data)
        length = int.from_bytes(data[:4], "little")
        assert transport.closed == (not HEADER_REST < length <= CONFIG.frame_bytes_max), "else more of it may come"
        assert closed_cleanly(connection, transport, split_frames(transport.written))
        assert not connection._rest or not transport.closed, "nothing of a peer that is refused is kept"
        bench.call(connection.connection_lost, None)
    assert bench.serves()
