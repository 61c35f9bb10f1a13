"""The member whose grains are called: kinds, and a process that hosts them.

    python benchmarks/inaho_server.py SECRET [--trace]

Prints its authority when it is up, and leaves when its standard input ends. `--trace` has every allocation traced, for
the exact size of an activation; that makes it several times slower.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import time
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import uvloop
from measuring import keys, until_input_ends

import inaho
from inaho import Grain


class Message(inaho.Struct, frozen=True):
    """The answer of a call: what `raw_limit.Message` is. Frozen, so that a call on the same node may pass it on."""

    key: str
    n: int


class Memory(inaho.Struct, frozen=True):
    """Memory of the process in bytes; `traced` is 0 unless allocations are traced."""

    resident: int
    traced: int


class Echo(Grain):
    """Answers at once, or after having really suspended."""

    async def echo(self, key: str, n: int) -> Message:
        return Message(key, n)

    async def echo_suspended(self, key: str, n: int) -> Message:
        await asyncio.sleep(0)
        return Message(key, n)


class Fresh(Grain):
    """Called once per key, so that every call activates."""

    async def echo(self, key: str, n: int) -> Message:
        return Message(key, n)


class Numbers(Grain):
    """A stream of small integers, and how far it has got."""

    def __init__(self) -> None:
        self.produced = 0

    async def count_to(self, end: int) -> AsyncIterator[int]:
        for number in range(end):
            self.produced = number + 1
            yield number

    async def produced_so_far(self) -> int:
        return self.produced


class Neighbour(Grain):
    """Calls grains of its own process."""

    async def call_neighbours(self, seconds: float) -> float:
        """Calls per second, one after another over all keys, counted for `seconds`."""
        names = keys()
        references = [self.cluster.grain(Echo, name) for name in names]
        for number, reference in enumerate(references):
            await reference.echo(names[number], number)
        calls = 0
        start = time.perf_counter()
        while (taken := time.perf_counter() - start) < seconds:
            for number, reference in enumerate(references):
                answer = await reference.echo(names[number], number)
                if answer.n != number:
                    raise RuntimeError(f"call {number} got the answer to {answer.n}")
            calls += len(references)
        return calls / taken


class Observer(Grain):
    """What the process that hosts the grains uses."""

    async def memory(self) -> Memory:
        gc.collect()
        return Memory(resident_bytes(), tracemalloc.get_traced_memory()[0])

    async def processor_s(self) -> float:
        return time.process_time()


def resident_bytes() -> int:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


KINDS = (Echo, Fresh, Numbers, Neighbour, Observer)


async def serve(secret: str) -> None:
    async with inaho.join("127.0.0.1:0", secret=secret, storage="memory", grains=KINDS) as cluster:
        print(cluster.authority, flush=True)
        await until_input_ends()


def main() -> None:
    parser = argparse.ArgumentParser(description="A member that hosts the grains of the benchmark.")
    parser.add_argument("secret", help="of the cluster")
    parser.add_argument("--trace", action="store_true", help="trace allocations")
    options = parser.parse_args()
    if options.trace:
        tracemalloc.start()
    uvloop.run(serve(options.secret))


if __name__ == "__main__":
    main()
