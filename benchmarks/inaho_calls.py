"""Calls of inaho grains in another process: latency, rates, activation and streams.

    python benchmarks/inaho_calls.py [--seconds S] [--caller client|member] [--only NAME …] [--trace] [--processor]
        [--json]

The cluster has a secret, calls have their default deadlines, metrics are counted: what a user gets. The caller is a
client, or another member that hosts nothing. Each grain is activated before its calls are measured, except where
activation is what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop
from inaho_server import Echo, Fresh, Message, Neighbour, Numbers, Observer, resident_bytes
from measuring import IN_FLIGHT, Figures, keys, latency, rate, served, show, spread

import inaho
from inaho import Cluster

SERVER = Path(__file__).parent / "inaho_server.py"


class Options(argparse.Namespace):
    """What the command line says."""

    seconds: float
    in_flight: int
    activations: int
    stall_seconds: float
    caller: str
    only: list[str]
    trace: bool
    processor: bool
    json: bool


async def sequential(cluster: Cluster, options: Options) -> Figures:
    name = keys()[0]
    echo = cluster.grain(Echo, name).echo
    return await latency(lambda number: echo(name, number), seconds=options.seconds)


async def many(cluster: Cluster, options: Options) -> Figures:
    names = keys()
    grains = [cluster.grain(Echo, name) for name in names]
    count = len(names)
    per_second = await rate(
        lambda number: grains[number % count].echo(names[number % count], number),
        seconds=options.seconds,
        in_flight=options.in_flight,
    )
    return {"many_per_second": per_second}


async def one(cluster: Cluster, options: Options) -> Figures:
    name = keys()[0]
    echo = cluster.grain(Echo, name).echo
    per_second = await rate(lambda number: echo(name, number), seconds=options.seconds, in_flight=options.in_flight)
    return {"one_per_second": per_second}


async def suspending(cluster: Cluster, options: Options) -> Figures:
    names = keys()
    grains = [cluster.grain(Echo, name) for name in names]
    count = len(names)
    per_second = await rate(
        lambda number: grains[number % count].echo_suspended(names[number % count], number),
        seconds=options.seconds,
        in_flight=options.in_flight,
    )
    return {"suspending_per_second": per_second}


async def local(cluster: Cluster, options: Options) -> Figures:
    neighbour = cluster.grain(Neighbour, "caller", timeout=options.seconds + 30)
    await neighbour.call_neighbours(options.seconds / 5)
    return {"local_per_second": await neighbour.call_neighbours(options.seconds)}


async def stream(cluster: Cluster, options: Options) -> Figures:
    """Small integers per second from one stream, over about `seconds`."""
    numbers = cluster.grain(Numbers, "fast")
    count, taken = 5_000, 0.0
    while taken < options.seconds / 2:
        count *= 2
        start, expected = time.perf_counter(), 0
        async for number in numbers.count_to(count):
            if number != expected:
                raise RuntimeError(f"item {expected} is {number}")
            expected += 1
        taken = time.perf_counter() - start
        if expected != count:
            raise RuntimeError(f"{expected} items came of {count}")
    return {"stream_items_per_second": count / taken}


async def stall(cluster: Cluster, options: Options) -> Figures:
    """How far the producer runs ahead, and what both processes grow by, while the consumer takes nothing."""
    numbers, observer = cluster.grain(Numbers, "stalled"), cluster.grain(Observer, "observer")
    consumed = 0
    items = numbers.count_to(1 << 40)
    async for _ in items:
        consumed += 1
        if consumed >= 20_000:
            break
    server_before, client_before = (await observer.memory()).resident, resident_bytes()
    await asyncio.sleep(options.stall_seconds)
    server_after, client_after = (await observer.memory()).resident, resident_bytes()
    ahead = await numbers.produced_so_far() - consumed
    await items.aclose()  # type: ignore[attr-defined]
    return {
        "stalled_items_ahead": ahead,
        "stalled_server_growth_bytes": server_after - server_before,
        "stalled_client_growth_bytes": client_after - client_before,
    }


async def first(cluster: Cluster, options: Options) -> Figures:
    """First calls, each of a new key, and what an activation leaves in the server.

    Counted is all that stays there: the instance, its key, its entries in tables. Garbage is collected first.
    """
    observer = cluster.grain(Observer, "observer")

    def activate(number: int) -> Awaitable[Message]:
        name = f"fresh-{number:016d}"
        return cluster.grain(Fresh, name).echo(name, number)

    warm = min(1_000, options.activations)
    await spread(activate, range(warm), options.in_flight)
    before = await observer.memory()
    taken = await spread(activate, range(warm, warm + options.activations), options.in_flight)
    after = await observer.memory()
    if options.trace:
        return {"activation_traced_bytes": (after.traced - before.traced) / options.activations}
    return {
        "activations_per_second": options.activations / taken,
        "activation_resident_bytes": (after.resident - before.resident) / options.activations,
    }


MEASUREMENTS: dict[str, Callable[[Cluster, Options], Awaitable[Figures]]] = {
    "sequential": sequential,
    "many": many,
    "one": one,
    "suspending": suspending,
    "local": local,
    "stream": stream,
    "stall": stall,
    "first": first,
}
"""By name, in the order in which they run: the one that fills the server's memory comes last."""


async def measure(authority: str, secret: str, options: Options) -> Figures:
    """Runs the chosen measurements from this process."""
    figures: Figures = {}
    if options.caller == "member":
        entry = inaho.join("127.0.0.1:0", seeds=[authority], secret=secret, storage="memory")
    else:
        entry = inaho.connect([authority], secret=secret)
    async with entry as cluster:
        for name in options.only or MEASUREMENTS:
            before = await spent(cluster) if options.processor else (0.0, 0)
            figures.update(await MEASUREMENTS[name](cluster, options))
            if options.processor:
                seconds, calls = await spent(cluster)
                figures[f"{name}_processor_us"] = (seconds - before[0]) / (calls - before[1]) * 1e6
    return figures


async def spent(cluster: Cluster) -> tuple[float, int]:
    """Seconds of processor time of caller and server so far, and calls that the caller has made."""
    server_s = await cluster.grain(Observer, "observer").processor_s()
    calls = sum(count for _, count in cluster.metrics()["inaho.rpc.client.calls"])
    return time.process_time() + server_s, int(calls)


def main() -> None:
    parser = argparse.ArgumentParser(description="Calls of inaho grains in another process.")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of each measurement")
    parser.add_argument("--in-flight", type=int, default=IN_FLIGHT, help="calls under way at once")
    parser.add_argument("--activations", type=int, default=100_000, help="first calls to make")
    parser.add_argument("--stall-seconds", type=float, default=1.0, help="how long a stream's consumer takes nothing")
    parser.add_argument("--caller", choices=("client", "member"), default="client", help="what the caller is")
    parser.add_argument("--only", nargs="+", choices=tuple(MEASUREMENTS), default=[], help="measure these")
    parser.add_argument("--trace", action="store_true", help="trace the server's allocations; rates mean nothing then")
    parser.add_argument("--processor", action="store_true", help="processor time of both processes per call, too")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    options = parser.parse_args(namespace=Options())
    secret = secrets.token_hex(16)
    with served(str(SERVER), secret, *(["--trace"] if options.trace else [])) as authority:
        show(uvloop.run(measure(authority, secret, options)), options.json)


if __name__ == "__main__":
    main()
