"""Calls of xoscar actors in another process, in the loops that measure inaho.

    .bench-venvs/xoscar/bin/python benchmarks/peers/xoscar_calls.py [--seconds S] [--in-flight N] [--json]

One pool on a TCP address of loopback hosts 1,000 actors; the caller is another process. Both run uvloop. xoscar has no
authentication.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import Any

import uvloop
import xoscar as untyped_xoscar  # type: ignore[import-not-found, import-untyped, unused-ignore]

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from measuring import IN_FLIGHT, Echoed, Figures, keys, latency, rate, served, show, until_input_ends

xoscar: Any = untyped_xoscar


class Echo(xoscar.Actor):  # type: ignore[misc]
    """Answers at once."""

    async def echo(self, key: str, n: int) -> tuple[str, int]:
        return key, n


async def serve() -> None:
    pool = await xoscar.create_actor_pool("127.0.0.1:0", n_process=0)
    for name in keys():
        await xoscar.create_actor(Echo, address=pool.external_address, uid=name)
    print(pool.external_address, flush=True)
    await until_input_ends()
    logging.disable(logging.CRITICAL)  # stopping a pool logs every connection that it cancels
    await pool.stop()


async def measure(address: str, seconds: float, in_flight: int) -> Figures:
    names = keys()
    actors: list[Any] = [await xoscar.actor_ref(address, name) for name in names]
    count = len(names)

    async def call(number: int) -> Echoed:
        index = number % count
        return Echoed(*await actors[index].echo(names[index], number))

    async def call_first(number: int) -> Echoed:
        return Echoed(*await actors[0].echo(names[0], number))

    figures = await latency(call_first, seconds=seconds)
    figures["many_per_second"] = await rate(call, seconds=seconds, in_flight=in_flight)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description="Calls of xoscar actors in another process.")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of each measurement")
    parser.add_argument("--in-flight", type=int, default=IN_FLIGHT, help="calls under way at once")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        uvloop.run(serve())
        return
    with served(__file__, "--serve") as address:
        show(uvloop.run(measure(address, options.seconds, options.in_flight)), options.json)


if __name__ == "__main__":
    main()
