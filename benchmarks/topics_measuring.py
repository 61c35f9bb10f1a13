"""How topics are measured: the same message and the same two phases for the limit, for inaho and for its peers.

One process publishes, another subscribes. First `SAMPLES` messages at a low rate, `PAUSE_S` apart: the time from
publisher to subscriber of each. Then as many as go: the subscriber counts what arrives, until a message says that it is
the last. Every process has the same monotonic clock. Peers run this in environments of their own.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from measuring import READY_TIMEOUT_S, Figures, keep_apart, percentile

BODY = b"x" * 80
"""Makes a message of 100 bytes."""

SAMPLES = 400
PAUSE_S = 0.001
LAST = -1.0
"""In place of the time of the last message. At most once it may be lost, so it is repeated until it has arrived."""

RESULT_TIMEOUT_S = 60.0
REPEAT_S = 0.01


class Sample(msgspec.Struct, frozen=True):
    """The message: when it was published, and what fills it up."""

    at: float = 0.0
    body: bytes = b""


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Sample).decode


class Subscriber:
    """The process that subscribes; `ready` is the first line that it printed."""

    def __init__(self, process: Process, output: asyncio.StreamReader, ready: str) -> None:
        self._output = output
        self.ready = ready
        self.pid = process.pid
        self.send_signal = process.send_signal

    async def figures(self) -> Figures:
        """What it has measured; it prints that when the last message has arrived."""
        async with asyncio.timeout(RESULT_TIMEOUT_S):
            line = await self._output.readline()
        if not line:
            raise RuntimeError("the subscriber ended before the last message arrived")
        found: Figures = json.loads(line)
        return found


@asynccontextmanager
async def subscriber(*command: str) -> AsyncGenerator[Subscriber, None]:
    """A Python process that prints a line when it has subscribed, then its figures, and ends with its input."""
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stdin=PIPE, stdout=PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        ready = (await process.stdout.readline()).decode().strip()
        if not ready:
            raise RuntimeError(f"{Path(command[0]).name} ended before it was ready")
        keep_apart(process.pid)
        yield Subscriber(process, process.stdout, ready)
        process.stdin.close()
        async with asyncio.timeout(READY_TIMEOUT_S):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def say(line: str) -> None:
    """One line for the parent."""
    print(line, flush=True)


class Arrivals:
    """Counts what a subscriber gets.

    Attributes:
        latencies: of the first `SAMPLES` messages, seconds.
        count: messages after those.
        done: set when the last one has arrived.
    """

    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.count = 0
        self.done = asyncio.Event()
        self._first = self._last = 0.0

    def take(self, value: Sample) -> None:
        """One message has arrived."""
        if value.at < 0:
            self.end()
        elif len(self.latencies) < SAMPLES:
            self.latencies.append(time.monotonic() - value.at)
        else:
            if not self.count:
                self.begin()
            self.count += 1

    def begin(self) -> None:
        """The first message of the second phase has arrived; for loops that count by themselves."""
        self._first = time.monotonic()

    def end(self) -> None:
        """The last message has arrived, for the first time or again."""
        if not self.done.is_set():
            self._last = time.monotonic()
            self.done.set()

    def figures(self) -> Figures:
        """What was measured, once `done` is set."""
        self.latencies.sort()
        return {
            "per_second": self.count / (self._last - self._first),
            "received": self.count,
            "p50_us": percentile(self.latencies, 0.5) * 1e6,
            "p99_us": percentile(self.latencies, 0.99) * 1e6,
        }


async def publish_slowly(publish: Callable[[Sample], Awaitable[object]]) -> None:
    """The first phase."""
    for _ in range(SAMPLES):
        await publish(Sample(time.monotonic(), BODY))
        await asyncio.sleep(PAUSE_S)


async def publish_last(publish: Callable[[Sample], Awaitable[object]], peer: Subscriber) -> Figures:
    """The last message, until it has arrived: at most once, it may be lost like any. Gives the subscriber's figures."""
    waiting = asyncio.ensure_future(peer.figures())
    while not waiting.done():
        await publish(Sample(LAST, BODY))
        await asyncio.wait([waiting], timeout=REPEAT_S)
    return waiting.result()


async def publish_in_flight(publish: Callable[[Sample], Awaitable[object]], seconds: float, in_flight: int) -> float:
    """Acknowledged publishes per second of `in_flight` tasks, each of which waits for every acknowledgement."""
    until = time.monotonic() + seconds

    async def one() -> int:
        count = 0
        while (now := time.monotonic()) < until:
            await publish(Sample(now, BODY))
            count += 1
        return count

    start = time.monotonic()
    counts = await asyncio.gather(*(one() for _ in range(in_flight)))
    return sum(counts) / (time.monotonic() - start)
