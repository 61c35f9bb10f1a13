"""The registry of topics under crashes, splits and errors of the storage, in virtual time.

What was answered once for a name is the answer for ever, until the topic is deleted.
"""

from __future__ import annotations

import asyncio
import random

import pytest

from inaho import InahoError, TopicDefinition
from inaho.errors import NoSuchTopic
from inaho.runtime.topics.registry import TopicRegistry
from inaho.runtime.topics.shard import REGISTRY, shard_of
from inaho.testing.cluster.sim_cluster import SimCluster
from inaho.testing.storage.fault_path import StorageFaults

Answers = dict[str, set[TopicDefinition]]


async def define(sim: SimCluster, index: int, name: str, answers: Answers, *, partitions: int = 8) -> None:
    """Defines a topic from a node, and notes the answer if there is one."""
    definitions = sim.node(index).runtime.topics.definitions
    try:
        found = await definitions.define(TopicDefinition(name=name, partitions=partitions))
    except InahoError:
        return  # no answer: it may exist or not
    answers.setdefault(name, set()).add(found)


def keeper_of(sim: SimCluster, topic: str, count: int) -> int:
    """Index of the node that keeps the definition of that topic."""
    shard = shard_of(topic, 32)
    return next(
        index
        for index in range(count)
        if sim.is_member(index) and shard in sim.node(index).runtime.hosts[REGISTRY].activations
    )


def all_topics(sim: SimCluster, index: int) -> dict[str, TopicDefinition]:
    return {each.name: each for each in sim.run(sim.node(index).topics())}


def check_shards(sim: SimCluster, count: int) -> None:
    for index in range(count):
        if sim.is_member(index):
            for shard in sim.node(index).runtime.hosts[REGISTRY].activations.values():
                if isinstance(shard, TopicRegistry) and hasattr(shard, "_table"):
                    shard._table.check()


def test_an_acknowledged_definition_outlives_the_crash_of_its_keeper(simulation_seed: int):
    chance = random.Random(simulation_seed)
    with SimCluster(nodes=4, seed=simulation_seed) as sim:
        answers: Answers = {}

        async def story() -> None:
            for number in range(25):
                name = f"t{number}"
                await define(sim, 0, name, answers)
                keeper = keeper_of(sim, name, 4)
                asked = [
                    asyncio.ensure_future(define(sim, 0, f"{name}/{each}", answers, partitions=each)) for each in (1, 2)
                ]
                if keeper and not number % 5:
                    await asyncio.sleep(chance.choice((0.0, 0.001, 0.01)))
                    sim.crash(keeper, silent=chance.random() < 0.5)
                    await asyncio.wait(asked)
                    sim.restart(keeper)
                await asyncio.wait(asked)

        sim.run(story())
        sim.wait_converged()
        assert len(answers) > 60
        for index in range(4):
            found = all_topics(sim, index)
            assert {name: {found.get(name)} for name in answers} == answers
        check_shards(sim, 4)
        sim.check()


def test_of_two_sides_of_a_split_one_definition_wins(simulation_seed: int):
    chance = random.Random(simulation_seed)
    with SimCluster(nodes=4, seed=simulation_seed) as sim:
        answers: Answers = {}
        alone = chance.randrange(4)
        others = [index for index in range(4) if index != alone]
        sim.partition({alone}, set(others))
        sim.run_for(chance.choice((0.0, 3.0, 20.0)))

        async def both(name: str) -> None:
            await asyncio.gather(
                define(sim, alone, name, answers, partitions=1), define(sim, others[0], name, answers, partitions=2)
            )

        for number in range(10):
            sim.run(both(f"t{number}"))
        sim.heal()
        sim.wait_converged(within_s=120.0)
        for number in range(10):
            sim.run(both(f"t{number}"))
        assert {name: len(found) for name, found in answers.items()} == {f"t{number}": 1 for number in range(10)}
        for index in range(4):
            assert {name: {each} for name, each in all_topics(sim, index).items()} == answers
        check_shards(sim, 4)
        sim.check()


def test_a_member_that_missed_a_deletion_learns_of_it_after_the_split(simulation_seed: int):
    with SimCluster(nodes=3, seed=simulation_seed) as sim:
        answers: Answers = {}
        for name in ("gone", "again", "stays"):
            sim.run(define(sim, 2, name, answers))
        handles = {name: sim.node(2).runtime.topics.definitions.known(name) for name in ("gone", "again", "stays")}
        sim.partition({2}, {0, 1})
        sim.run_for(20.0)
        sim.run(sim.node(0).delete_topic("gone"))
        sim.run(sim.node(0).delete_topic("again"))
        sim.run(define(sim, 0, "again", {}, partitions=3))
        assert all(known is not None and not known.deleted for known in handles.values())
        sim.heal()
        sim.wait_converged(within_s=120.0)
        sim.run_for(20.0)
        assert {name: known.deleted for name, known in handles.items() if known is not None} == {
            "gone": True,
            "again": True,
            "stays": False,
        }
        with pytest.raises(NoSuchTopic):
            sim.run(sim.node(2).topic("gone"))
        found = sim.node(2).runtime.topics.definitions.known("again")
        assert found is not None
        assert found.definition.partitions == 3


def test_what_a_failing_storage_acknowledged_is_there_and_all_answers_agree(simulation_seed: int):
    faults = StorageFaults(refuse=0.1, lose_request=0.1, lose_answer=0.1, repeat=0.1, slow=0.2)
    with SimCluster(nodes=3, seed=simulation_seed, storage_faults=faults) as sim:
        answers: Answers = {}
        for number in range(30):

            async def story(name: str) -> None:
                await asyncio.gather(*(define(sim, index, name, answers, partitions=1 + index) for index in range(3)))

            sim.run(story(f"t{number}"))
        for number in range(30):  # those that had no answer have one now, or the next time
            sim.run(define(sim, number % 3, f"t{number}", answers))
        assert [name for name, found in answers.items() if len(found) > 1] == []
        assert len(answers) > 25
        sim.check()
