"""The member whose process subscribes, and hosts the grains that topics are compared with.

    python benchmarks/inaho_topics_peer.py AUTHORITY SECRET STORAGE once|fan-out|stored|sends

Joins the cluster of the publisher, prints a line when it has subscribed, and what it has measured when the last message
has arrived; leaves when its standard input ends.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time

import uvloop
from measuring import Figures, until_input_ends
from topics_measuring import Arrivals, Sample, say

import inaho
from inaho import Cluster, Grain, Topic
from inaho.storage import Storage
from inaho.storage.sqlite import SqliteStorage

SUBSCRIBERS = 64
ONCE, STORED = "prices", "orders"
GROUP = "projection"

FULL, NORMAL = "sqlite:", "sqlite-normal:"
"""Beginnings of what names a storage: `NORMAL` is SQLite without a flush of the disk per commit."""


class Clock(Grain):
    """One way of a call."""

    async def passed(self, at: float) -> float:
        """Seconds since `at` of the monotonic clock, which all processes share."""
        return time.monotonic() - at


class Saved(Grain[Sample]):
    """A state of the size of a message."""

    async def save_for(self, seconds: float, value: Sample) -> float:
        """Saves per second, one after another."""
        self.state = value
        start, count = time.perf_counter(), 0
        while (taken := time.perf_counter() - start) < seconds:
            await self.save()
            count += 1
        return count / taken


class Cart(Grain):
    """Takes durable sends."""

    def __init__(self) -> None:
        self.items = 0

    async def add(self, value: Sample) -> None:
        self.items += 1

    async def count(self) -> int:
        return self.items


KINDS = (Clock, Saved, Cart)


def storage_of(name: str) -> Storage | str:
    """What `inaho.join` gets for a storage named on a command line."""
    return SqliteStorage(name.removeprefix(NORMAL), synchronous="normal") if name.startswith(NORMAL) else name


async def once_topic(cluster: Cluster) -> Topic[Sample]:
    return await cluster.topic(ONCE, Sample, delivery="at_most_once", allow_no_subscribers=True)


async def stored_topic(cluster: Cluster) -> Topic[Sample]:
    return await cluster.topic(STORED, Sample, delivery="at_least_once")


async def read(topic: Topic[Sample], arrivals: Arrivals, subscribed: asyncio.Event) -> None:
    """One subscriber at most once, until the last message; counts by itself when the first phase is over."""
    async with topic.subscribe() as messages:
        subscribed.set()
        async for message in messages:
            value = message.value
            if value.at > 0 and arrivals.count:
                arrivals.count += 1
                continue
            arrivals.take(value)
            if arrivals.done.is_set():
                return


async def subscribe_once(cluster: Cluster, count: int) -> Figures:
    topic = await once_topic(cluster)
    arrivals = [Arrivals() for _ in range(count)]
    subscribed = [asyncio.Event() for _ in range(count)]
    readers = [asyncio.ensure_future(read(topic, *each)) for each in zip(arrivals, subscribed, strict=True)]
    for each in subscribed:
        await each.wait()
    say(cluster.authority)
    await asyncio.gather(*readers)
    figures = [each.figures() for each in arrivals]
    return {
        **figures[0],
        "per_second": sum(each["per_second"] for each in figures),
        "received": sum(each["received"] for each in figures),
    }


async def subscribe_stored(cluster: Cluster) -> Figures:
    topic = await stored_topic(cluster)
    arrivals = Arrivals()
    async with topic.subscribe(name=GROUP) as messages:
        say(cluster.authority)
        async for message in messages:
            arrivals.take(message.value)
            await message.ack()
            if arrivals.done.is_set():
                break
    return arrivals.figures()


async def serve(authority: str, secret: str, storage: str, what: str) -> None:
    seeds, opened = [authority], storage_of(storage)
    async with inaho.join("127.0.0.1:0", seeds=seeds, secret=secret, storage=opened, grains=KINDS) as cluster:
        if what == "stored":
            say(json.dumps(await subscribe_stored(cluster)))
        elif what in ("once", "fan-out"):
            say(json.dumps(await subscribe_once(cluster, SUBSCRIBERS if what == "fan-out" else 1)))
        else:
            say(cluster.authority)
        await until_input_ends()


def main() -> None:
    parser = argparse.ArgumentParser(description="A member whose process subscribes to topics.")
    parser.add_argument("authority", help="of the publisher's member")
    parser.add_argument("secret", help="of the cluster")
    parser.add_argument("storage", help="of the cluster")
    parser.add_argument("what", choices=("once", "fan-out", "stored", "sends"), help="what it subscribes to")
    options = parser.parse_args()
    uvloop.run(serve(options.authority, options.secret, options.storage, options.what))


if __name__ == "__main__":
    main()
