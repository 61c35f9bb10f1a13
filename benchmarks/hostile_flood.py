"""Calls one grain far faster than it can answer, and writes what became of them as one JSON line.

    python benchmarks/hostile_flood.py AUTHORITY SECRET COUNT WINDOW RATE

`WINDOW` calls are under way at any time; `RATE` calls per second at most, 0 for as fast as they go. Refusals are timed.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time

import uvloop
from hostile_server import Busy

import inaho
from inaho.errors import InahoError, Overloaded


async def flood(authority: str, secret: str, count: int, window: int, calls_per_s: float) -> dict[str, float]:
    refused: list[float] = []
    answered = failed = 0
    clock = time.perf_counter
    numbers = iter(range(count))
    async with inaho.connect([authority], secret=secret) as cluster:
        grain = cluster.grain(Busy, "the-one", retry=False, timeout=60.0)
        await grain.work()
        gc.collect()
        gc.freeze()  # else full collections of this process are timed with the refusals
        start = clock()

        async def caller() -> None:
            nonlocal answered, failed
            for number in numbers:
                if calls_per_s and (early := start + number / calls_per_s - clock()) > 0:
                    await asyncio.sleep(early)
                began = clock()
                try:
                    await grain.work()
                    answered += 1
                except Overloaded:
                    refused.append(clock() - began)
                except InahoError:
                    failed += 1

        await asyncio.gather(*(caller() for _ in range(window)))
        taken = clock() - start
    refused.sort()
    return {
        "seconds": taken,
        "calls_per_second": count / taken,
        "answered": answered,
        "refused": len(refused),
        "failed": failed,
        "refusal_p50_ms": refused[len(refused) // 2] * 1e3 if refused else 0.0,
        "refusal_p99_ms": refused[int(len(refused) * 0.99)] * 1e3 if refused else 0.0,
        "refusal_max_ms": refused[-1] * 1e3 if refused else 0.0,
    }


if __name__ == "__main__":
    where, word, calls, at_once, rate = sys.argv[1:]
    print(json.dumps(uvloop.run(flood(where, word, int(calls), int(at_once), float(rate)))))
