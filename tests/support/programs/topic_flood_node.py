"""A member with many subscribers of the topic `flood`, for `test_topic_flood`: `python topic_flood_node.py SETTINGS`.

As `network_node`. It says how many messages each of its quick subscribers has got when the last one has arrived.
"""

from __future__ import annotations

import asyncio
import sys

import msgspec
import uvloop

from inaho import Cluster, Topic
from inaho.events import MessagesDropped
from support.programs.network_node import Settings, run, say, say_event

QUICK = 64
LAST = b"last"


async def flood_topic(cluster: Cluster) -> Topic[bytes]:
    return await cluster.topic("flood", bytes, allow_no_subscribers=True)


async def subscribe(cluster: Cluster) -> None:
    topic = await flood_topic(cluster)
    last: asyncio.Queue[int] = asyncio.Queue()
    started: list[asyncio.Event] = []

    async def quick(ready: asyncio.Event) -> None:
        count = 0
        async with topic.subscribe() as messages:
            ready.set()
            async for message in messages:
                count += 1
                if message.value == LAST:
                    last.put_nowait(count)

    async def slow(ready: asyncio.Event) -> None:
        async with topic.subscribe(name="slow") as messages:
            ready.set()
            async for _ in messages:
                await asyncio.sleep(0.01)

    async def tell_drops() -> None:
        async for event in cluster.events(MessagesDropped):
            say_event(event)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(tell_drops())
        for kind in (quick,) * QUICK + (slow,):
            ready = asyncio.Event()
            started.append(ready)
            tasks.create_task(kind(ready))
        for ready in started:
            await ready.wait()
        say("subscribed")
        while True:
            say("received", counts=[await last.get() for _ in range(QUICK)])


if __name__ == "__main__":
    uvloop.install()
    settings = msgspec.json.decode(sys.argv[1], type=Settings)
    sys.exit(asyncio.run(run(settings, beside=subscribe)))
