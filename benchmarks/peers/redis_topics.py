"""Pub/sub of Redis through redis-py with hiredis, in the loops that measure inaho.

    .bench-venvs/redis/bin/python benchmarks/peers/redis_topics.py [--seconds S] [--json]

One server on loopback without persistence, a publisher and a subscriber; messages are published in pipelines of 500.
At most once: who is not connected gets nothing, and is not told. Ends with status 77 where there is no redis-server.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis.asyncio as untyped_redis  # type: ignore[import-not-found, import-untyped, unused-ignore]
import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from measuring import Figures, show, until_input_ends
from topics_measuring import BODY, Arrivals, Sample, decode, encode, publish_last, publish_slowly, say, subscriber

redis: Any = untyped_redis

CHANNEL = "prices"
TOGETHER = 500
NOT_INSTALLED = 77
START_S = 10.0


@contextmanager
def server(program: str) -> Generator[str, None, None]:
    """A server on a socket file in a folder of its own, as fast as loopback or faster. Gives the path."""
    with tempfile.TemporaryDirectory(prefix="inaho-bench-redis-") as folder:
        path = f"{folder}/redis.sock"
        command = [program, "--port", "0", "--unixsocket", path, "--save", "", "--dir", folder]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + START_S
            while not Path(path).exists():
                if time.monotonic() > deadline or process.poll() is not None:
                    raise RuntimeError("redis-server did not start")
                time.sleep(0.02)
            yield path
        finally:
            process.terminate()
            process.wait()


async def subscribe(path: str) -> None:
    arrivals = Arrivals()
    connection = redis.Redis(unix_socket_path=path)
    channel = connection.pubsub()
    await channel.subscribe(CHANNEL)
    await channel.get_message(timeout=5)
    say("subscribed")
    async for message in channel.listen():
        if message["type"] == "message":
            arrivals.take(decode(message["data"]))
            if arrivals.done.is_set():
                break
    say(json.dumps(arrivals.figures()))
    await until_input_ends()
    await channel.aclose()
    await connection.aclose()


async def measure(path: str, seconds: float) -> Figures:
    async with subscriber(__file__, "--subscribe", path) as peer:
        connection = redis.Redis(unix_socket_path=path)

        async def publish(value: Sample) -> None:
            await connection.publish(CHANNEL, encode(value))

        await publish_slowly(publish)
        clock, sent = time.monotonic, 0
        until = clock() + seconds
        while clock() < until:
            pipeline = connection.pipeline(transaction=False)
            for _ in range(TOGETHER):
                pipeline.publish(CHANNEL, encode(Sample(clock(), BODY)))
            await pipeline.execute()
            sent += TOGETHER
        figures = await publish_last(publish, peer)
        await connection.aclose()
    if figures["received"] != sent:
        raise RuntimeError(f"{figures['received']} of {sent} messages arrived")
    return {name: figures[name] for name in ("per_second", "p50_us", "p99_us")}


def main() -> None:
    parser = argparse.ArgumentParser(description="Pub/sub of Redis through redis-py.")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of the second phase")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    parser.add_argument("--subscribe", metavar="PATH", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.subscribe:
        uvloop.run(subscribe(options.subscribe))
        return
    program = shutil.which("redis-server")
    if program is None:
        print("redis-server is not on PATH", file=sys.stderr)
        sys.exit(NOT_INSTALLED)
    with server(program) as path:
        show(uvloop.run(measure(path, options.seconds)), options.json)


if __name__ == "__main__":
    main()
