"""Topics at least once in real processes: members are killed under load, and nothing that was acknowledged is lost."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from inaho import Topic
from inaho.errors import InahoError
from support.durable_topics import Order, make
from support.member_processes import MemberProcess, Processes, client, until

PROGRAM = "topic_node.py"
RETRY = {"retry_base_s": 0.05, "retry_max_s": 0.05}
"""A key waits while a message of it has failed, so a long pause would make consumers slower than publishers."""

KEYS = [f"k{number}" for number in range(8)]


def config(tmp_path: Path) -> dict[str, Any]:
    return {"program": PROGRAM, "storage": f"sqlite:{tmp_path / 'state.sqlite'}"}


def handled(members: list[MemberProcess]) -> list[dict[str, Any]]:
    """What any of these processes has handled, the dead included, in order."""
    return sorted((line for member in members for line in member.said("handled")), key=lambda line: line["at"])


class Publishers:
    """Publish the numbers of each key one after another; a number that failed is published again.

    Attributes:
        acknowledged: numbers by key.
        repeated: publishes that failed.
    """

    def __init__(self, topic: Topic[Order]) -> None:
        self.acknowledged: dict[str, int] = dict.fromkeys(KEYS, 0)
        self.repeated = 0
        self._topic = topic
        self._over = False
        self._tasks = [asyncio.create_task(self._publish(key)) for key in KEYS]

    async def _publish(self, key: str) -> None:
        while not self._over:
            number = self.acknowledged[key]
            try:
                await self._topic.publish(Order(key, number), key=key)
            except InahoError:
                self.repeated += 1
                continue
            self.acknowledged[key] = number + 1
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        self._over = True
        await asyncio.gather(*self._tasks)


def first_handled(lines: list[dict[str, Any]], key: str) -> list[int]:
    return list(dict.fromkeys(line["number"] for line in lines if line["key"] == key))


def missing(publishers: Publishers, members: list[MemberProcess]) -> list[tuple[str, int]]:
    """What was acknowledged and is not handled yet."""
    seen = {(line["key"], line["number"]) for member in members for line in member.said("handled")}
    return [
        (key, number)
        for key, count in publishers.acknowledged.items()
        for number in range(count)
        if (key, number) not in seen
    ]


async def test_members_are_killed_and_nothing_acknowledged_is_lost(processes: Processes, tmp_path: Path) -> None:
    members = await processes.cluster(3, **config(tmp_path))
    for member in members:
        await member.says("consuming")
    alive, everyone = list(members), list(members)
    async with client(*members) as cluster:
        topic = await make(cluster, **RETRY)
        publishers = Publishers(topic)
        for _ in range(3):
            before = len(handled(everyone))
            await until(lambda before=before: len(handled(everyone)) > before + 400, "messages are handled")
            killed = alive.pop(0)
            killed.kill()
            fresh = await processes.start(seeds=tuple(member.authority for member in alive), **config(tmp_path))
            alive.append(fresh)
            everyone.append(fresh)
        before = len(handled(everyone))
        await until(lambda: len(handled(everyone)) > before + 400, "messages are handled after the last death")
        await publishers.stop()
        total = sum(publishers.acknowledged.values())
        await until(lambda: not missing(publishers, everyone), "all that was acknowledged is handled", limit_s=60.0)
    lines = handled(everyone)
    for key in KEYS:
        numbers = first_handled(lines, key)
        assert numbers == sorted(numbers), f"{key} was handled in another order: {numbers}"
    places = [tuple(line["place"]) for line in lines]
    again = len(places) - len(set(places))
    assert again < total / 2, f"{again} of {total} messages were handled again"
    for member in alive:
        assert member.alive and not member.said("Unhandled")


async def test_all_are_killed_and_the_messages_are_still_there(processes: Processes, tmp_path: Path) -> None:
    members = await processes.cluster(2, **config(tmp_path))
    async with client(*members) as cluster:
        publishers = Publishers(await make(cluster, **RETRY))
        await until(lambda: sum(publishers.acknowledged.values()) > 300, "messages are stored")
        await publishers.stop()
        for member in members:
            member.kill()
    for member in members:
        await member.ended()
    started = [await processes.start(**config(tmp_path))]
    await until(lambda: not missing(publishers, [*members, *started]), "all that was acknowledged is handled")
