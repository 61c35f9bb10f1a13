"""Any bytes into both sides of an authenticated connection, calls and messages between actors alike.

Nothing may be raised, everybody else is served, and the connection is in use or was closed with a goodbye.
"""

from __future__ import annotations

import itertools
import logging
import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

with atheris.instrument_imports(include=["inaho.runtime", "inaho.wire", "inaho.core.delivery", "inaho.core.rpc"]):
    from fuzz.atheris_support import run
    from inaho.runtime.connections.connection import Connection
    from inaho.wire.frames import ANSWER, ASK, STOP, TELL, UNWATCH, WATCH, frame
    from inaho.wire.letters import encode_letter
    from support.fuzz_bench import Bench, RecordingTransport, split_frames
    from support.good_frames import (
        CLIENT,
        CONFIG,
        MEMBER,
        closed_cleanly,
        good_answers,
        good_calls,
        open_calls,
        outgoing,
    )

logging.disable(logging.CRITICAL)
bench = Bench()
DEFINITIONS = b"".join(good_calls()[:8])
fed = itertools.count(1)


def messages() -> list[bytes]:
    return [
        frame(TELL, encode_letter("user/nobody", "", {"a": [1, None, b"x"]})),
        frame(ASK, encode_letter("user/nobody", "user/somebody", "?"), correlation=3),
        frame(WATCH, b"user/nobody", correlation=4),
        frame(UNWATCH, correlation=4),
        frame(STOP, b"user/nobody"),
        frame(ANSWER, b"\x92\xa0\x01", correlation=3),
    ]


def feed(data: bytes) -> None:
    """The first byte says to which side, and how the rest is cut."""
    if not data:
        return
    how, data = data[0], data[1:]
    (called if how & 1 else answered)(data, how)
    if next(fed) % 500 == 0:
        assert bench.serves()
    assert not bench.problems, bench.problems


def give(connection: Connection, transport: RecordingTransport, data: bytes, how: int) -> None:
    size = max(1, len(data) if how & 2 else how >> 2)
    for start in range(0, len(data), size):
        if transport.closed:
            break
        bench.call(connection.data_received, data[start : start + size])
        if start > 64 * size:
            size = len(data)  # small reads are tried at the beginning
    bench.turn(6)


def answered(data: bytes, how: int) -> None:
    node = bench.node
    connection = node.acceptor.open(MEMBER if how & 64 else CLIENT, CONFIG)
    transport = RecordingTransport()
    bench.call(connection.connection_made, transport)
    bench.call(connection.data_received, DEFINITIONS)
    give(connection, transport, data, how)
    assert closed_cleanly(connection, transport, split_frames(transport.written))
    bench.call(connection.connection_lost, None)
    bench.turn(4)
    assert not connection.running and not connection.streams


def called(data: bytes, how: int) -> None:
    connection = outgoing(bench)
    transport = RecordingTransport()
    bench.call(connection.connection_made, transport)
    pending = bench.call(open_calls, bench, connection)
    bench.turn(1)
    asked = len(split_frames(transport.written))
    give(connection, transport, data, how)
    assert closed_cleanly(connection, transport, split_frames(transport.written)[asked:])
    bench.call(connection.connection_lost, None)
    assert len(connection.wheel) == 0
    for _, _, entry in pending:
        if hasattr(entry, "done"):
            assert entry.done()
            if not entry.cancelled():
                entry.exception()


def seeds() -> list[bytes]:
    probe = outgoing(bench)
    bench.call(probe.connection_made, RecordingTransport())
    pending = [(correlation, method) for correlation, method, _ in bench.call(open_calls, bench, probe)]
    answers = good_answers(pending, bench)
    calls = [*good_calls(), *messages()]
    return [
        *(b"\x02" + each for each in calls),
        *(b"\x42" + each for each in calls),
        *(b"\x03" + each for each in answers),
        b"\x02" + b"".join(calls[:-8]),
        b"\x10" + b"".join(calls[:-8]),
        b"\x03" + b"".join(answers),
    ]


if __name__ == "__main__":
    run("frames", feed, seeds())
