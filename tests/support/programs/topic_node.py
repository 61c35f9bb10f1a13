"""A member with a consumer of the topic `orders`, for `test_topic_processes`: `python topic_node.py SETTINGS`.

As `network_node`; it says each message that it has handled, before it acknowledges it.
"""

from __future__ import annotations

import asyncio
import sys
import time

import msgspec
import uvloop

from inaho import Cluster, Message
from support.durable_topics import Order, make
from support.programs.network_node import Settings, run, say


async def consume(cluster: Cluster) -> None:
    """Handles messages of the group `work`; fails on the first attempt of every twentieth."""
    topic = await make(cluster, retry_base_s=0.05, retry_max_s=0.05)

    async def handle(message: Message[Order]) -> None:
        if message.attempt == 1 and message.value.number % 20 == 7:
            raise ValueError("not at first")
        await asyncio.sleep(0.002)
        say(
            "handled",
            key=message.key,
            number=message.value.number,
            attempt=message.attempt,
            place=[message.partition, message.sequence],
            at=time.time(),
        )

    async with topic.subscribe("work", start="earliest", handler=handle, concurrency=8):
        say("consuming")
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.install()
    sys.exit(asyncio.run(run(msgspec.json.decode(sys.argv[1], type=Settings), beside=consume)))
