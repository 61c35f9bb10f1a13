"""A simulated cluster that publishes and consumes at least once while members die, move and are cut off."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from inaho import Cluster, Message
from inaho.errors import InahoError, SubscriptionLost
from inaho.testing.cluster.sim_cluster import SimCluster
from inaho.testing.histories.grain_history import Record
from inaho.testing.histories.topic_history import (
    Delivered,
    Handled,
    NotPublished,
    Published,
    Publishing,
    Subscribed,
    Unsubscribed,
    Unsubscribing,
)
from inaho.testing.simulation.simulated_process import DEAD
from support.durable_topics import Order, make

__all__ = ["TopicStory"]

TOPIC = "orders"
GROUPS = ("bills", "mails")
KEYS = 6


class TopicStory:
    """Publishers on a client, and consumers of two groups on every member.

    Args:
        sim: the cluster.
        seed: of everything that happens.

    Attributes:
        history: what happened.
        failed: errors of publishes.
    """

    def __init__(self, sim: SimCluster, seed: int) -> None:
        self.history: list[Record] = []
        self.failed: list[InahoError] = []
        self.handled: dict[str, set[str]] = {group: set() for group in GROUPS}
        self.acknowledged: set[str] = set()
        self._sim = sim
        self._chance = random.Random(f"topics {seed}")
        self._consumers: dict[int, list[asyncio.Task[None]]] = {}
        self._number = 0
        self._over = False

    def play(self, seconds: float, *, splits: bool = False) -> None:
        """Runs the story, then lets everything live until all is handled."""
        sim = self._sim
        sim.run(self._play(seconds, splits=splits), within_s=seconds + 600.0)

    def owed(self) -> set[str]:
        """What was acknowledged and some group has not handled."""
        return {each for group in GROUPS for each in self.acknowledged - self.handled[group]}

    async def _play(self, seconds: float, *, splits: bool) -> None:
        sim, chance = self._sim, self._chance
        client = sim.client()
        topic = await make(client, TOPIC, partitions=3, ack_timeout_s=8.0, retry_base_s=0.2, attempts_max=1000)
        for index in range(len(sim._nodes)):
            self._begin(index)
        publishers = [asyncio.ensure_future(self._publish(topic, f"k{number}")) for number in range(KEYS)]
        until = sim.time + seconds
        while sim.time < until:
            await asyncio.sleep(chance.uniform(1.0, 6.0))
            await self._trouble(splits=splits)
        self._over = True
        await asyncio.gather(*publishers)
        for index, node in enumerate(sim._nodes):
            if node.process.state is DEAD:
                self._restart(index)
        await sim.until(lambda: not self.owed(), within_s=400.0)
        for tasks in self._consumers.values():
            for task in tasks:
                task.cancel()

    async def _trouble(self, *, splits: bool) -> None:
        sim, chance = self._sim, self._chance
        up = [index for index in range(len(sim._nodes)) if sim.is_member(index)]
        what = chance.choice(["crash", "crash", "leave", "pause", *(["split"] if splits else [])])
        victim = chance.choice(up)
        if what == "pause":
            sim.pause(victim, chance.uniform(0.5, 6.0))
        elif what == "split" and len(up) == len(sim._nodes):
            sim.partition({victim}, set(up) - {victim})
            await asyncio.sleep(chance.uniform(2.0, 15.0))
            sim.heal()
        elif len(up) > 1:
            if what == "crash":
                self._end(victim)
                sim.crash(victim, silent=chance.random() < 0.5)
            else:
                sim.leave(victim)
            await asyncio.sleep(chance.uniform(0.5, 10.0))
            if sim._nodes[victim].process.state is DEAD:
                self._restart(victim)

    def _restart(self, index: int) -> None:
        self._end(index)
        self._sim.restart(index)
        self._begin(index)

    def _begin(self, index: int) -> None:
        self._consumers[index] = [asyncio.ensure_future(self._consume(index, group)) for group in GROUPS]

    def _end(self, index: int) -> None:
        for task in self._consumers.pop(index, ()):
            task.cancel()

    def _note(self, kind: type[Record], **fields: Any) -> None:
        self.history.append(kind(at=self._sim.time, **fields))

    async def _publish(self, topic: Any, key: str) -> None:
        number = 0
        while not self._over:
            text = f"{key}/{number}"
            self._note(Publishing, topic=TOPIC, publisher="client", message=text, key=key)
            try:
                await topic.publish(Order(key, number), key=key)
            except InahoError as error:
                self.failed.append(error)
                self._note(NotPublished, message=text, code=error.code, maybe=error.maybe_executed)
            else:
                self._note(Published, message=text)
                self.acknowledged.add(text)
            number += 1
            await asyncio.sleep(0.1)

    async def _consume(self, index: int, group: str) -> None:
        """Consumes on that member as long as it lives; fails now and then."""
        await self._sim.until(lambda: self._sim.is_member(index), within_s=120.0)
        cluster = self._sim.node(index)
        while True:
            try:
                await self._subscribe(cluster, group)
            except SubscriptionLost:
                return  # the member leaves
            except InahoError:
                await asyncio.sleep(0.5)

    async def _subscribe(self, cluster: Cluster, group: str) -> None:
        self._number += 1
        name, since = f"{group} {self._number}", self._sim.time
        topic = await make(cluster, TOPIC)
        async with topic.subscribe(group, start="earliest", window=60) as messages:
            node = cluster.runtime.local.node_id
            self._note(Subscribed, topic=TOPIC, subscriber=name, node=node, since=since, group=group, earliest=True)
            try:
                async for message in messages:
                    await self._handle(name, group, message)
            finally:
                self._note(Unsubscribing, subscriber=name)
                self._note(Unsubscribed, subscriber=name)

    async def _handle(self, name: str, group: str, message: Message[Order]) -> None:
        text = f"{message.value.key}/{message.value.number}"
        self._note(
            Delivered,
            topic=TOPIC,
            subscriber=name,
            message=text,
            key=message.key,
            publisher="client",
            sequence=message.sequence,
            partition=message.partition,
            attempt=message.attempt,
        )
        await asyncio.sleep(self._chance.choice([0.0, 0.01, 0.05]))
        try:
            if self._chance.random() < 0.03:
                await message.retry(reason="by chance")
                return
            self._note(Handled, subscriber=name, message=text)
            self.handled[group].add(text)
            await message.ack()
        except SubscriptionLost:
            pass  # it is delivered again
