"""Topics at least once in a simulated cluster: a topic, publishers that note what was acknowledged, consumers."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from inaho import Grain
from inaho.errors import InahoError
from inaho.runtime.topic_logs.keeper import TopicLogKeeper
from inaho.runtime.topic_logs.keeper_messages import KEEPER, PartitionKeeper
from inaho.runtime.topics.topic import Topic
from inaho.testing.cluster.sim_cluster import SimCluster

__all__ = ["Idle", "check_keepers", "consume", "events", "keeper_of", "keepers_at", "publish", "topic"]


class Idle(Grain):
    """A cluster needs a kind."""

    async def ping(self) -> None: ...


async def topic(sim: SimCluster, index: int, name: str = "orders", **settings: Any) -> Topic[Any]:
    """A handle of a topic at least once on one node; created if missing."""
    settings = {"delivery": "at_least_once", "partitions": 2, **settings}
    return await sim.node(index)._node.topics.topic(name, None, settings)


def keeper_of(sim: SimCluster, index: int, partition: int, name: str = "orders") -> PartitionKeeper:
    """A reference to a keeper, for calls from one node."""
    return sim.node(index)._node.topics.at_least_once.keepers(name, partition)


def keepers_at(sim: SimCluster, index: int) -> dict[str, TopicLogKeeper]:
    """The keepers that are active on one node, by key."""
    return dict(sim.node(index)._node.hosts[KEEPER].activations)


def check_keepers(sim: SimCluster) -> None:
    """The machines of all keepers hold what they promise."""
    for index in range(len(sim._nodes)):
        if sim.is_member(index):
            for keeper in keepers_at(sim, index).values():
                if getattr(keeper, "_partition", None) is not None:
                    keeper._partition.check()


def events(sim: SimCluster, kind: type[Any]) -> list[Any]:
    return [each.event for each in sim.events if type(each.event) is kind]


async def publish(handle: Topic[Any], key: str, count: int, stored: list[tuple[str, int]], *, pause_s: float) -> None:
    """Publishes 0, 1, 2 … of one key; each until it is acknowledged, as a program that must not lose any does."""
    for number in range(count):
        while True:
            try:
                await handle.publish([key, number], key=key, id=f"{key}/{number}")
            except InahoError:
                await asyncio.sleep(0.2)
            else:
                stored.append((key, number))
                break
        await asyncio.sleep(pause_s)


async def consume(handle: Topic[Any], name: str, handled: list[tuple[str, int]], *, work_s: float = 0.0) -> None:
    """Handles messages until it is cancelled, or its node ends."""
    with suppress(InahoError):
        async with handle.subscribe(name, start="earliest", window=32) as messages:
            async for message in messages:
                await asyncio.sleep(work_s)
                handled.append((message.value[0], message.value[1]))
                with suppress(InahoError):
                    await message.ack()
