"""Topics of NATS through nats-py: core (at most once) and JetStream (at least once), in the loops that measure inaho.

    .bench-venvs/nats/bin/python benchmarks/peers/nats_topics.py [--seconds S] [--in-flight N] [--json]

One server on loopback, a publisher and a subscriber. JetStream stores in files. It answers when the message is handed
to the operating system: an acknowledged message survives the death of the server, but not of the machine, unless
`sync_interval` is `always`. Both are measured; the subscriber acknowledges each message.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nats as untyped_nats  # type: ignore[import-not-found, import-untyped, unused-ignore]
import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from measuring import IN_FLIGHT, Figures, show, until_input_ends
from topics_measuring import (
    BODY,
    SAMPLES,
    Arrivals,
    Sample,
    decode,
    encode,
    publish_in_flight,
    publish_last,
    publish_slowly,
    say,
    subscriber,
)

nats: Any = untyped_nats

SUBJECT = "prices"
MESSAGES_MAX = 50_000_000
BYTES_MAX = 1 << 34
"""Bounds of what waits in the subscriber's client, which drops what is more."""

PENDING_BYTES = 1 << 26
START_S = 10.0


@contextmanager
def server(*, synced: bool = False) -> Generator[str, None, None]:
    """A server with JetStream in a folder of its own. Gives its address."""
    program = Path(sys.executable).with_name("nats-server")
    with tempfile.TemporaryDirectory(prefix="inaho-bench-nats-") as folder:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        sync = "sync_interval: always" if synced else ""
        settings = Path(folder, "server.conf")
        settings.write_text(f'listen: "127.0.0.1:{port}"\njetstream {{ store_dir: "{folder}/store"\n{sync} }}\n')
        process = subprocess.Popen([str(program), "-c", str(settings)], stderr=subprocess.DEVNULL)
        try:
            until_it_listens(port)
            yield f"nats://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def until_it_listens(port: int) -> None:
    """Returns when a connection to that port of loopback is accepted."""
    deadline = time.monotonic() + START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


async def subscribe(address: str, stored: bool) -> None:
    arrivals = Arrivals()

    async def on_message(message: Any) -> None:
        arrivals.take(decode(message.data))

    async def on_stored(message: Any) -> None:
        arrivals.take(decode(message.data))
        await message.ack()

    connection = await nats.connect(address, pending_size=PENDING_BYTES)
    bounds = {"pending_msgs_limit": MESSAGES_MAX, "pending_bytes_limit": BYTES_MAX}
    if stored:
        stream = connection.jetstream()
        await stream.add_stream(name="S", subjects=[SUBJECT])
        await stream.subscribe(SUBJECT, durable="d", cb=on_stored, manual_ack=True, **bounds)
    else:
        await connection.subscribe(SUBJECT, cb=on_message, **bounds)
    await connection.flush()
    say("subscribed")
    await arrivals.done.wait()
    say(json.dumps(arrivals.figures()))
    await until_input_ends()
    await connection.close()


async def measure_core(address: str, seconds: float) -> Figures:
    async with subscriber(__file__, "--subscribe", address) as peer:
        connection = await nats.connect(address, pending_size=PENDING_BYTES)

        async def publish(value: Sample) -> None:
            await connection.publish(SUBJECT, encode(value))
            await connection.flush()

        await publish_slowly(publish)
        clock, sent = time.monotonic, 0
        until = clock() + seconds
        while (now := clock()) < until:
            await connection.publish(SUBJECT, encode(Sample(now, BODY)))
            sent += 1
        figures = await publish_last(publish, peer)
        await connection.close()
    if figures["received"] != sent:
        raise RuntimeError(f"{figures['received']} of {sent} messages arrived")
    return {f"core_{name}": figures[name] for name in ("per_second", "p50_us", "p99_us")}


async def measure_stored(address: str, seconds: float, in_flight: int, prefix: str) -> Figures:
    async with subscriber(__file__, "--subscribe", address, "--stored") as peer:
        connection = await nats.connect(address, pending_size=PENDING_BYTES)
        stream = connection.jetstream()

        async def publish(value: Sample) -> None:
            await stream.publish(SUBJECT, encode(value))

        for _ in range(SAMPLES):
            await publish(Sample(time.monotonic(), BODY))
        one = await publish_in_flight(publish, seconds / 2, 1)
        many = await publish_in_flight(publish, seconds, in_flight)
        await publish_last(publish, peer)
        await connection.close()
    return {f"{prefix}_per_second": many, f"{prefix}_one_per_second": one}


def main() -> None:
    parser = argparse.ArgumentParser(description="Topics of NATS through nats-py.")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of each second phase")
    parser.add_argument("--in-flight", type=int, default=IN_FLIGHT, help="stored publishes under way at once")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    parser.add_argument("--subscribe", metavar="ADDRESS", help=argparse.SUPPRESS)
    parser.add_argument("--stored", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.subscribe:
        uvloop.run(subscribe(options.subscribe, options.stored))
        return
    with server() as address:
        figures = uvloop.run(measure_core(address, options.seconds))
        figures |= uvloop.run(measure_stored(address, options.seconds, options.in_flight, "stored"))
    with server(synced=True) as address:
        figures |= uvloop.run(measure_stored(address, options.seconds / 2, options.in_flight, "synced"))
    show(figures, options.json)


if __name__ == "__main__":
    main()
