"""Topics at least once through kills, leaves, pauses and splits: nothing that was acknowledged is lost, keys in order.

In virtual time, on simulated nodes; and on members with a SQLite file, which restart together.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from inaho import SqliteStorage
from inaho.events import ActivationStarted
from inaho.runtime.topic_logs.keeper_messages import KEEPER
from inaho.testing.cluster.sim_cluster import SimCluster
from support.fleet import Fleet
from support.topic_logs import Idle, check_keepers, consume, events, publish, topic

KEYS = ("a", "b", "c", "d")


WINDOW = 32
"""Messages that a consumer of `support.topic_logs` has at once."""


def check_histories(stored: list[tuple[str, int]], handled: list[tuple[str, int]], *, duplicates_max: int) -> None:
    """Every acknowledged message was handled, and of each key first in order."""
    assert set(stored) <= set(handled), f"lost: {sorted(set(stored) - set(handled))}"
    firsts: dict[str, list[int]] = defaultdict(list)
    for key, number in handled:
        if number not in firsts[key]:
            firsts[key].append(number)
    for key, numbers in firsts.items():
        assert numbers == sorted(numbers), f"key {key} is out of order: {numbers}"
    assert len(handled) - len(set(handled)) <= duplicates_max, "too many duplicates"


@pytest.fixture
async def later_fleet() -> AsyncIterator[Fleet]:
    """Another cluster in memory, after the end of the first one."""
    started = Fleet()
    yield started
    await started.close()


class Story:
    """Publishers on the first node, which stays, and consumers on all nodes, that begin again with their node."""

    def __init__(self, sim: SimCluster, count: int) -> None:
        self.sim = sim
        self.count = count
        self.stored: list[tuple[str, int]] = []
        self.handled: list[tuple[str, int]] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.consumers = len(sim._nodes)
        self.subscribed = 0

    def begin(self, *, pause_s: float) -> None:
        async def publishers() -> None:
            handle = await topic(self.sim, 0, partitions=3, retry_base_s=0.1, ack_timeout_s=10.0)
            for key in KEYS:
                self.tasks.append(asyncio.ensure_future(publish(handle, key, self.count, self.stored, pause_s=pause_s)))

        self.sim.run(publishers())

    def subscribe(self, index: int) -> None:
        """A consumer on that node; it ends with it."""

        async def consumer() -> None:
            handle = await topic(self.sim, index, partitions=3)
            self.tasks.append(asyncio.ensure_future(consume(handle, "s", self.handled, work_s=0.01)))

        self.sim.run(consumer(), on=index)
        self.subscribed += 1

    def finish(self) -> None:
        """Returns when all is published and handled, or time is over. Then checks what was promised.

        Each start of a keeper, and each end of a consumer, may repeat what consumers had at that moment.
        """
        for _ in range(240):
            if len(self.stored) == self.count * len(KEYS) and set(self.stored) <= set(self.handled):
                break
            self.sim.run_for(1.0)
        check_keepers(self.sim)
        for task in self.tasks:
            task.cancel()
        self.sim.run_for(1.0)
        starts = sum(each.identity.kind == KEEPER for each in events(self.sim, ActivationStarted))
        repeats = starts - 3 + self.subscribed - self.consumers
        check_histories(self.stored, self.handled, duplicates_max=repeats * self.consumers * WINDOW)
        assert len(self.stored) == self.count * len(KEYS)


def test_a_cluster_without_faults_delivers_each_message_once():
    with SimCluster(nodes=3, seed=1, grains=(Idle,)) as sim:
        story = Story(sim, 50)
        story.begin(pause_s=0.01)
        for index in range(3):
            story.subscribe(index)
        story.finish()


def test_a_keeper_that_leaves_or_dies_loses_nothing(simulation_seed: int):
    with SimCluster(nodes=3, seed=simulation_seed, grains=(Idle,)) as sim:
        story = Story(sim, 100)
        story.begin(pause_s=0.1)
        for index in range(3):
            story.subscribe(index)
        sim.run_for(3.0)
        sim.leave(1)
        sim.run_for(3.0)
        sim.crash(2)
        sim.run_for(5.0)
        sim.restart(2)
        story.subscribe(2)
        story.finish()


def test_a_split_loses_nothing_that_was_acknowledged(simulation_seed: int):
    with SimCluster(nodes=3, seed=simulation_seed, grains=(Idle,)) as sim:
        story = Story(sim, 100)
        story.begin(pause_s=0.1)
        for index in range(3):
            story.subscribe(index)
        sim.run_for(3.0)
        alone = 1 + simulation_seed % 2
        sim.partition({alone}, {0, 1, 2} - {alone})
        sim.run_for(15.0)
        sim.heal()
        sim.wait_converged()
        story.finish()


def test_whatever_happens_nothing_is_lost(simulation_seed: int):
    """Crashes, restarts, splits, pauses and leaves, one after the other, while four keys are published."""
    chance = random.Random(simulation_seed)
    with SimCluster(nodes=4, seed=simulation_seed, grains=(Idle,)) as sim:
        story = Story(sim, 200)
        story.begin(pause_s=0.2)
        for index in range(4):
            story.subscribe(index)
        for _ in range(5):
            members = [index for index in range(len(sim._nodes)) if sim.is_member(index)]
            victim = chance.choice([index for index in members if index])  # the first one has the publishers
            what = chance.choice(["crash", "silent crash", "split", "pause", "leave"])
            if what == "split":
                sim.partition({victim}, set(members) - {victim})
                sim.run_for(chance.uniform(1.0, 12.0))
                sim.heal()
            elif what == "pause":
                sim.pause(victim, chance.uniform(0.5, 12.0))
            elif what == "leave":
                sim.leave(victim)
                story.subscribe(sim.add())
            else:
                sim.crash(victim, silent=what == "silent crash")
                sim.run_for(chance.uniform(0.0, 8.0))
                sim.restart(victim)
                sim.wait_converged()
                story.subscribe(victim)
            sim.run_for(chance.uniform(0.0, 6.0))
        sim.wait_converged()
        story.finish()


async def test_members_with_a_file_restart_together_and_continue(
    fleet: Any, later_fleet: Any, tmp_path: Path, eventually: Any
):
    """Real time and SQLite: what was published before is there, and what was acknowledged does not come again."""
    file = tmp_path / "logs.db"
    stored: list[tuple[str, int]] = []
    handled: list[tuple[str, int]] = []

    async def handle_of(member: Any) -> Any:
        return await member._node.topics.topic("orders", None, {"delivery": "at_least_once", "partitions": 2})

    storage = SqliteStorage(file)
    first, second = await fleet.member(Idle, storage=storage), await fleet.member(Idle, storage=storage)
    await eventually(lambda: len(first.members()) == len(second.members()) == 2)
    handle = await handle_of(second)
    consumer = asyncio.ensure_future(consume(await handle_of(first), "s", handled))
    await asyncio.gather(*(publish(handle, key, 25, stored, pause_s=0.0) for key in KEYS))
    await eventually(lambda: set(handled) == set(stored))
    consumer.cancel()
    await asyncio.wait([consumer])
    await asyncio.gather(*(publish(handle, key, 10, stored, pause_s=0.0) for key in ("e", "f")))
    await fleet.close()
    before = list(handled)
    third = await later_fleet.member(Idle, storage=SqliteStorage(file))
    consumer = asyncio.ensure_future(consume(await handle_of(third), "s", handled))
    await eventually(lambda: set(handled) == set(stored))
    assert sorted(handled[len(before) :]) == sorted((key, number) for key in ("e", "f") for number in range(10))
    consumer.cancel()
    with suppress(asyncio.CancelledError):
        await consumer
    check_histories(stored, handled, duplicates_max=0)


def test_lost_messages_are_noticed():
    with pytest.raises(AssertionError, match="lost"):
        check_histories([("a", 0), ("a", 1)], [("a", 0)], duplicates_max=0)
    with pytest.raises(AssertionError, match="out of order"):
        check_histories([("a", 0), ("a", 1)], [("a", 1), ("a", 0)], duplicates_max=0)
