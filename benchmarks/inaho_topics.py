"""Topics of inaho between two members in processes of their own: at most once, fan-out, at least once, durable sends.

    python benchmarks/inaho_topics.py [--seconds S] [--only NAME …] [--topics N] [--cycles N] [--folder DIR] [--json]

The cluster has a secret, metrics are counted: what a user gets. What is stored is in an SQLite file in `--folder`. With
`synchronous=full` each acknowledgement waits for a flush of the disk, and the message survives a power cut. With
`synchronous=normal` (`unsynced`) it waits until the operating system has the message, which survives the death of all
processes: what JetStream does by default. So each is compared with JetStream set to the same. Saves, and durable sends,
are measured with `full`.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import secrets
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import cycle
from pathlib import Path

import uvloop
from inaho_server import resident_bytes
from inaho_topics_peer import (
    FULL,
    NORMAL,
    SUBSCRIBERS,
    Cart,
    Clock,
    Saved,
    once_topic,
    storage_of,
    stored_topic,
)
from measuring import IN_FLIGHT, Figures, a_core_each, percentile, show
from topics_measuring import (
    BODY,
    PAUSE_S,
    SAMPLES,
    Sample,
    Subscriber,
    publish_in_flight,
    publish_last,
    publish_slowly,
    subscriber,
)

import inaho
from inaho import Cluster, Topic

PEER = Path(__file__).parent / "inaho_topics_peer.py"


class Options(argparse.Namespace):
    """What the command line says."""

    seconds: float
    in_flight: int
    topics: int
    cycles: int
    folder: str
    only: list[str]
    json: bool


@asynccontextmanager
async def pair(what: str, storage: str) -> AsyncGenerator[tuple[Cluster, Subscriber], None]:
    """This process's member, and the process that subscribes. Grains are in the latter only."""
    secret = secrets.token_hex(16)
    async with (
        inaho.join("127.0.0.1:0", secret=secret, storage=storage_of(storage)) as cluster,
        subscriber(str(PEER), cluster.authority, secret, storage, what) as peer,
    ):
        yield cluster, peer


async def one_way(cluster: Cluster) -> Figures:
    """One way of a call at the rate of the slow phase."""
    clock = cluster.grain(Clock, "clock")
    taken: list[float] = []
    for _ in range(SAMPLES):
        taken.append(await clock.passed(time.monotonic()))
        await asyncio.sleep(PAUSE_S)
    taken.sort()
    return {"call_p50_us": percentile(taken, 0.5) * 1e6, "call_p99_us": percentile(taken, 0.99) * 1e6}


async def once(options: Options) -> Figures:
    """At most once, to one subscriber."""
    async with pair("once", "memory") as (cluster, peer):
        with a_core_each(peer.pid):
            calls = await one_way(cluster)
        figures, sent = await push(cluster, peer, options.seconds)
    return {
        **calls,
        "p50_us": figures["p50_us"],
        "p99_us": figures["p99_us"],
        "per_second": figures["per_second"],
        "lost_share": 1 - figures["received"] / sent,
    }


async def fan_out(options: Options) -> Figures:
    """At most once, to 64 subscribers of one process."""
    async with pair("fan-out", "memory") as (cluster, peer):
        figures, sent = await push(cluster, peer, options.seconds)
    return {
        "fan_out_per_second": figures["per_second"],
        "fan_out_lost_share": 1 - figures["received"] / (sent * SUBSCRIBERS),
    }


async def push(cluster: Cluster, peer: Subscriber, seconds: float) -> tuple[Figures, int]:
    """Both phases; the figures of the subscriber, and the messages of the second phase."""
    topic = await once_topic(cluster)
    publish = topic.publish
    with a_core_each(peer.pid):
        await publish_slowly(publish)
    clock, sent = time.monotonic, 0
    until = clock() + seconds
    while (now := clock()) < until:
        await publish(Sample(now, BODY))
        sent += 1
    return await publish_last(publish, peer), sent


async def stored(options: Options) -> Figures:
    """At least once: 64 publishers, and one that waits for each acknowledgement; saves of a grain for comparison.

    Nobody reads a save while it is stored. So one publisher is compared with saves on a topic without a subscriber, and
    measured with one, too.
    """
    with tempfile.TemporaryDirectory(prefix="inaho-bench-", dir=options.folder) as folder:
        async with pair("stored", f"{FULL}{folder}/state.db") as (cluster, peer):
            saved = cluster.grain(Saved, "one", timeout=options.seconds + 30)
            saves = await saved.save_for(options.seconds / 2, Sample(0.0, BODY))
            unread = await cluster.topic("unread", Sample, delivery="at_least_once")
            await publish_samples(unread)
            alone = await publish_in_flight(unread.publish, options.seconds / 2, 1)
            topic = await stored_topic(cluster)
            await publish_samples(topic)
            read = await publish_in_flight(topic.publish, options.seconds / 2, 1)
            many = await publish_in_flight(topic.publish, options.seconds, options.in_flight)
            figures = await publish_last(topic.publish, peer)
    return {
        "saves_per_second": saves,
        "stored_one_per_second": alone,
        "stored_one_read_per_second": read,
        "stored_per_second": many,
        "stored_received_per_second": figures["per_second"],
    }


async def unsynced(options: Options) -> Figures:
    """At least once without a flush per acknowledgement: 64 publishers, without keys and with one key each."""
    with tempfile.TemporaryDirectory(prefix="inaho-bench-", dir=options.folder) as folder:
        async with pair("stored", f"{NORMAL}{folder}/state.db") as (cluster, peer):
            topic = await stored_topic(cluster)
            await publish_samples(topic)
            many = await publish_in_flight(topic.publish, options.seconds, options.in_flight)
            keys = cycle([f"key-{number}" for number in range(options.in_flight)])
            keyed = await publish_in_flight(
                lambda value: topic.publish(value, key=next(keys)), options.seconds, options.in_flight
            )
            await publish_last(topic.publish, peer)
    return {"unsynced_per_second": many, "unsynced_keyed_per_second": keyed}


async def publish_samples(topic: Topic[Sample]) -> None:
    """The messages whose latencies a subscriber notes; here they make all keepers active."""
    for _ in range(SAMPLES):
        await topic.publish(Sample(time.monotonic(), BODY))


async def sends(options: Options) -> Figures:
    """Durable sends by 64 senders, to a thousand grains."""
    with tempfile.TemporaryDirectory(prefix="inaho-bench-", dir=options.folder) as folder:
        async with pair("sends", f"{FULL}{folder}/state.db") as (cluster, _):
            carts = [cluster.grain(Cart, f"cart-{number}") for number in range(1_000)]
            sent = 0

            async def send(value: Sample) -> None:
                nonlocal sent
                sent += 1
                await cluster.send(carts[sent % len(carts)].add, value, durable=True)

            await publish_in_flight(send, 0.2, options.in_flight)
            begun = time.monotonic()
            per_second = await publish_in_flight(send, options.seconds, options.in_flight)
            while sum(await asyncio.gather(*(cart.count() for cart in carts))) < sent:  # noqa: ASYNC110  another process
                await asyncio.sleep(0.02)
            taken = time.monotonic() - begun
    return {"sends_per_second": per_second, "sends_done_per_second": per_second * options.seconds / taken}


async def tables(options: Options) -> Figures:
    """Many topics, and many subscriptions that come and go: what they cost, and what they leave behind."""
    async with inaho.join("127.0.0.1:0", secret=secrets.token_hex(16), storage="memory") as cluster:
        names = [f"topic-{number:06d}" for number in range(options.topics)]
        await once_topic(cluster)
        before = memory()
        start = time.perf_counter()
        for begin in range(0, len(names), 256):
            await asyncio.gather(*(cluster.topic(name, Sample) for name in names[begin : begin + 256]))
        created_s = time.perf_counter() - start
        filled = memory()
        start = time.perf_counter()
        for number in range(options.cycles):
            topic = await cluster.topic(names[number % len(names)])
            async with topic.subscribe():
                await asyncio.sleep(0)
        cycles_s = time.perf_counter() - start
        cycled = memory()
        for begin in range(0, len(names), 256):
            await asyncio.gather(*(cluster.delete_topic(name) for name in names[begin : begin + 256]))
        left = len(await cluster.topics()) - 1
        after = memory()
    return {
        "topics_per_second": len(names) / created_s,
        "topic_bytes": (filled - before) / len(names),
        "cycles_per_second": options.cycles / cycles_s,
        "cycles_growth_bytes": cycled - filled,
        "deleted_growth_bytes": after - before,
        "topics_left": left,
    }


def memory() -> int:
    gc.collect()
    return resident_bytes()


MEASUREMENTS: dict[str, Callable[[Options], Awaitable[Figures]]] = {
    "once": once,
    "fan-out": fan_out,
    "stored": stored,
    "unsynced": unsynced,
    "sends": sends,
    "tables": tables,
}


async def measure(options: Options) -> Figures:
    """Runs the chosen measurements."""
    figures: Figures = {}
    for name in options.only or MEASUREMENTS:
        figures.update(await MEASUREMENTS[name](options))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description="Topics of inaho between two processes.")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of each second phase")
    parser.add_argument("--in-flight", type=int, default=IN_FLIGHT, help="publishes at least once under way at once")
    parser.add_argument("--topics", type=int, default=100_000, help="topics of `tables`")
    parser.add_argument("--cycles", type=int, default=1_000_000, help="subscriptions of `tables`")
    parser.add_argument("--folder", default="", help="where the SQLite file is; the system's temporary folder if empty")
    parser.add_argument("--only", nargs="+", choices=tuple(MEASUREMENTS), default=[], help="measure these")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    options = parser.parse_args(namespace=Options())
    options.folder = options.folder or tempfile.gettempdir()
    show(uvloop.run(measure(options)), options.json)


if __name__ == "__main__":
    main()
