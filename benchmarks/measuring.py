"""How every subject is measured: the same loops for the limit, for inaho and for its peers.

A subject is a function `call(number)` that sends one request and gives an awaitable answer, which must carry the number
back. Counts are found by a short run first, so that each measurement takes the time it was given on any machine. Only
the standard library is used: peers run this in environments of their own.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

KEYS = 1_000
"""Grains or actors that calls are spread over."""

IN_FLIGHT = 64

KEEP_APART = "INAHO_BENCH_KEEP_APART"
"""In the environment: caller and callee get a core each."""

READY_TIMEOUT_S = 10.0
"""How long a served process may take to end when its standard input closes."""


class Answer(Protocol):
    """What a request comes back as."""

    @property
    def n(self) -> int: ...


class Echoed(NamedTuple):
    """An answer for peers whose own serialisation likes tuples best."""

    key: str
    n: int


Call = Callable[[int], Awaitable[Answer]]
Figures = dict[str, float]


def keys(count: int = KEYS) -> list[str]:
    """Keys of the length that identifiers have."""
    return [f"entity-{number:016d}" for number in range(count)]


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of the ordered values lie."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


async def spread(call: Call, numbers: Iterable[int], in_flight: int) -> float:
    """Seconds until all `numbers` are answered, with `in_flight` requests under way at any time."""
    shared = iter(numbers)

    async def worker() -> None:
        for number in shared:
            answer = await call(number)
            if answer.n != number:
                raise RuntimeError(f"request {number} got the answer to {answer.n}")

    start = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(in_flight)))
    return time.perf_counter() - start


async def rate(call: Call, *, seconds: float, in_flight: int = IN_FLIGHT, first: int = KEYS) -> float:
    """Answers per second over about `seconds`, after a run that warms up and finds the count.

    Args:
        call: the subject.
        seconds: length of the measured part, above 0.
        in_flight: requests under way at once.
        first: requests of the first trial; cover every key, so that activation is not measured.
    """
    count = max(first, in_flight)
    taken = await spread(call, range(count), in_flight)
    while taken < min(0.2, seconds / 2):
        count *= 2
        taken = await spread(call, range(count), in_flight)
    count = max(in_flight, int(count / taken * seconds))
    return count / await spread(call, range(count), in_flight)


async def latency(call: Call, *, seconds: float) -> Figures:
    """Percentiles of one request after another, over about `seconds`."""
    clock = time.perf_counter
    taken: list[float] = []
    warm_until = clock() + min(0.2, seconds / 2)
    until = warm_until + seconds
    for number in itertools.count():
        start = clock()
        answer = await call(number)
        end = clock()
        if answer.n != number:
            raise RuntimeError(f"request {number} got the answer to {answer.n}")
        if start >= warm_until:
            taken.append(end - start)
        if end >= until and taken:
            break
    taken.sort()
    return {"sequential_p50_us": percentile(taken, 0.5) * 1e6, "sequential_p99_us": percentile(taken, 0.99) * 1e6}


def keep_apart(process_id: int) -> None:
    """Gives this process one core and the other process another, when the environment has `KEEP_APART`.

    Left to itself the scheduler sometimes puts both on one core, which changes the limit and the rest by different
    factors. Not the default: pinned processes suffer more from whatever else runs, the limit most of all, so that its
    ratios flatter.
    """
    if KEEP_APART not in os.environ or not hasattr(os, "sched_setaffinity"):
        return
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        os.sched_setaffinity(process_id, cores[1:2])
        os.sched_setaffinity(0, cores[:1])


@contextmanager
def a_core_each(process_id: int) -> Generator[None, None, None]:
    """Gives this process one core and the other process another meanwhile, to compare two latencies between them.

    Where both are on one core, the time until the receiver runs has what the sender does after it has sent: a caller
    waits at once, a publisher goes on.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
    if len(cores) < 2:
        yield
        return
    of_other = os.sched_getaffinity(process_id)
    os.sched_setaffinity(process_id, cores[1:2])
    os.sched_setaffinity(0, cores[:1])
    try:
        yield
    finally:
        os.sched_setaffinity(process_id, of_other)
        os.sched_setaffinity(0, cores)


@contextmanager
def served(*command: str) -> Generator[str, None, None]:
    """A Python process that prints one line when it is ready and ends when its standard input does. Gives the line."""
    process = subprocess.Popen([sys.executable, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline().strip()
        if not line:
            raise RuntimeError(f"{Path(command[0]).name} ended before it was ready")
        keep_apart(process.pid)
        yield line
    finally:
        process.stdin.close()
        try:
            process.wait(READY_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


async def until_input_ends() -> None:
    """Waits for the end of standard input, which is how the parent says that it needs this process no more."""
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def show(figures: Figures, as_json: bool) -> None:
    """Prints what a script measured when it runs alone."""
    if as_json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:32} {value:14,.1f}")
