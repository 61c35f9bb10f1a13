"""Mutated frames into accepted connections of a running member, in this process and without a socket.

The member, the good frames and the mutations are those of `tests/support`, as in `tests/fuzz`; here they run by the
million. Each stream has a number and is made from nothing else, so a slow or failing one can be made again.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

from inaho_server import resident_bytes
from measuring import Figures

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from inaho.runtime.connections.incoming import Incoming
from inaho.wire.frames import ANSWER, ASK, STOP, TELL, UNWATCH, WATCH, frame
from inaho.wire.letters import encode_letter
from support.fuzz_bench import Bench, RecordingTransport
from support.good_frames import CLIENT, CONFIG, MEMBER, good_calls
from support.mutation import chunks, mutated

WARM_UP_SHARE = 0.1
SLOW_S = 0.005
SLOW_MAX = 10_000
REPEATS = 5


def good_frames() -> list[bytes]:
    """Calls, and messages between actors."""
    return [
        *good_calls(),
        frame(TELL, encode_letter("user/nobody", "", {"a": [1, None, b"x"]})),
        frame(ASK, encode_letter("user/nobody", "user/somebody", "?"), correlation=3),
        frame(WATCH, b"user/nobody", correlation=4),
        frame(UNWATCH, correlation=4),
        frame(STOP, b"user/nobody"),
        frame(ANSWER, b"\x92\xa0\x01", correlation=3),
    ]


class Mill:
    """Feeds streams until so many frames have gone in.

    Attributes:
        frames: fed so far.
        wall_max, processor_max: longest that one read, of at most 8 frames, kept the loop; seconds.
        slow: streams with a read that took `SLOW_S` of processor time or more, to be fed again.
    """

    def __init__(self, bench: Bench) -> None:
        self.frames = self.streams = 0
        self.wall_max = self.processor_max = 0.0
        self.over_20_ms = 0
        self.slow: list[int] = []
        self._bench = bench
        self._good = good_frames()

    async def feed(self, frames: int) -> None:
        """One turn of the loop per read and two per end, as a transport would."""
        loop = asyncio.get_running_loop()
        while self.frames < frames:
            done: asyncio.Future[None] = loop.create_future()
            loop.call_soon(self._stream, done)
            await done

    async def feed_again(self, number: int) -> float:
        """Feeds one stream a few times; the least of the longest reads, seconds of processor time.

        What else the machine does lengthens some reads of millions, and shortens none.
        """
        loop = asyncio.get_running_loop()
        found: list[float] = []
        for _ in range(REPEATS):
            self.processor_max, self.streams = 0.0, number
            done: asyncio.Future[None] = loop.create_future()
            loop.call_soon(self._stream, done)
            await done
            found.append(self.processor_max)
        return min(found)

    def _stream(self, done: asyncio.Future[None]) -> None:
        number = self.streams
        self.streams += 1
        self.frames += Random(number).randint(1, 8)  # the first thing that `mutated` draws
        random = Random(number)
        data = mutated(random, self._good)
        node = self._bench.node
        connection = node.acceptor.open(CLIENT if number & 1 else MEMBER, CONFIG)
        transport = RecordingTransport()
        connection.connection_made(transport)
        self._read(connection, transport, chunks(random, data), number, done)

    def _read(
        self, connection: Incoming, transport: RecordingTransport, parts: list[bytes], number: int, done: Any
    ) -> None:
        if not parts or transport.closed:
            self._bench.loop.call_soon(self._end, connection, done)
            return
        processor, wall = time.thread_time(), time.perf_counter()
        try:
            connection.data_received(parts.pop(0))
        except BaseException as error:
            done.set_exception(RuntimeError(f"stream {number} raised {error!r}"))
            raise
        wall, processor = time.perf_counter() - wall, time.thread_time() - processor
        self.wall_max = max(self.wall_max, wall)
        self.over_20_ms += wall > 0.02
        self.processor_max = max(self.processor_max, processor)
        if processor >= SLOW_S and len(self.slow) < SLOW_MAX:
            self.slow.append(number)
        self._bench.loop.call_soon(self._read, connection, transport, parts, number, done)

    def _end(self, connection: Incoming, done: asyncio.Future[None]) -> None:
        connection.connection_lost(None)
        self._bench.loop.call_soon(done.set_result, None)


def measure_frames(frames: int) -> Figures:
    """Feeds the frames and says how it went. Raises what a read raises: nothing may."""
    logging.disable(logging.CRITICAL)
    bench = Bench()
    try:
        mill = Mill(bench)
        bench.loop.run_until_complete(mill.feed(int(frames * WARM_UP_SHARE)))
        gc.collect()
        gc.freeze()  # the tools of the tests are half of the heap, and no member has them
        before = resident_bytes()
        mill.wall_max = mill.processor_max = 0.0
        mill.slow.clear()
        start, first = time.perf_counter(), mill.frames
        bench.loop.run_until_complete(mill.feed(frames))
        taken = time.perf_counter() - start
        gc.collect()
        grown = resident_bytes() - before
        fed, once = mill.frames, mill.processor_max
        slow = tuple(mill.slow)
        again = [bench.loop.run_until_complete(mill.feed_again(number)) for number in slow]
        serves = bench.serves()
        problems = len(bench.problems)
    finally:
        bench.close()
    return {
        "frames": fed,
        "frames_per_second": (fed - first) / taken,
        "frame_wall_max_ms": mill.wall_max * 1e3,
        "frame_processor_once_max_ms": once * 1e3,
        "frame_processor_max_ms": max(again, default=min(once, SLOW_S)) * 1e3,
        "frames_over_20_ms": mill.over_20_ms,
        "frames_fed_again": len(slow),
        "frames_resident_growth_mb": grown / 1e6,
        "frames_unhandled": problems + (not serves),
    }
