"""Topics in real processes: they are found again after restarts and kills, with a storage that outlives processes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from inaho import Cluster, InahoError, TopicDefinition
from support.member_processes import MemberProcess, Processes, client, until

Answers = dict[str, set[TopicDefinition]]


async def define(cluster: Cluster, name: str, answers: Answers, *, partitions: int = 8) -> None:
    """Defines a topic until there is an answer, and notes it."""
    while True:
        try:
            found = await cluster.runtime.topics.definitions.define(TopicDefinition(name=name, partitions=partitions))
        except InahoError:
            continue
        answers.setdefault(name, set()).add(found)
        return


async def topics_of(members: list[MemberProcess]) -> dict[str, TopicDefinition]:
    async with client(*members) as cluster:
        return {each.name: each for each in await cluster.topics()}


async def test_topics_are_found_again_after_all_members_were_killed(processes: Processes, tmp_path: Path) -> None:
    storage = f"sqlite:{tmp_path / 'state.sqlite'}"
    members = await processes.cluster(3, storage=storage)
    answers: Answers = {}
    async with client(*members) as cluster:
        await asyncio.gather(*(define(cluster, f"t{number}", answers, partitions=1 + number) for number in range(100)))
        await cluster.delete_topic("t7")
    for member in members:
        member.kill()  # at once: what was acknowledged is all that counts
        await member.ended()
    again = await processes.cluster(2, storage=storage)
    found = await topics_of(again)
    assert len(found) == 99
    assert {name: {each} for name, each in found.items()} == {name: answers[name] for name in found}


@pytest.mark.parametrize("storage", ["sqlite", "memory"])
async def test_no_acknowledged_topic_is_lost_while_members_are_killed(
    processes: Processes, tmp_path: Path, storage: str
) -> None:
    """With a storage in memory the nodes that know a topic bring it back."""
    url = f"sqlite:{tmp_path / 'state.sqlite'}" if storage == "sqlite" else "memory"
    members = await processes.cluster(4, storage=url)
    answers: Answers = {}
    async with client(members[0]) as one, client(members[1]) as two:
        await until(lambda: len(one.members()) == len(two.members()) == 4, "the clients know all")

        async def define_all() -> None:
            for number in range(300):
                await asyncio.gather(
                    define(one, f"t{number}", answers, partitions=1), define(two, f"t{number}", answers, partitions=2)
                )

        defining = asyncio.ensure_future(define_all())
        for killed, count in ((members[3], 50), (members[2], 150)):
            await until(lambda count=count: len(answers) > count, "topics are defined")
            killed.kill()
        await defining
        await until(lambda: len(one.members()) == 2, "the dead are removed", limit_s=60.0)
        if storage == "sqlite":
            assert {name: len(each) for name, each in answers.items() if len(each) > 1} == {}
        left = members[:2]
        deadline = asyncio.get_running_loop().time() + 30.0
        while len(found := await topics_of(left)) < 300:
            assert asyncio.get_running_loop().time() < deadline, f"lost: {sorted(answers.keys() - found.keys())}"
            await asyncio.sleep(0.1)
        assert all(found[name] in each for name, each in answers.items())
    for member in left:
        member.check_unharmed()
