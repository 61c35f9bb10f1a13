"""What a node remembers of turns that wait is bounded by what there is to do, and misses none."""

from __future__ import annotations

import asyncio
from typing import Any

from inaho import Grain
from inaho.runtime.turns.load import QUEUES_MIN


class Door(Grain):
    """Its calls wait until it is opened."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()

    async def go_through(self) -> None:
        await self.opened.wait()

    async def knock(self) -> None:
        await asyncio.sleep(0)


async def test_queues_in_which_nothing_waits_any_more_are_forgotten_though_nobody_asks(fleet: Any):
    member = await fleet.member(Door)
    load = member.runtime.runner.load
    remembered = 0
    for number in range(2 * QUEUES_MIN):
        door = member.grain(Door, f"d{number}")
        await asyncio.gather(door.knock(), door.knock())
        load.check()
        remembered = max(remembered, len(load._queues))
    assert remembered == QUEUES_MIN
    assert load.waiting() == load.running() == {}


async def test_all_that_run_and_wait_are_counted(fleet: Any, eventually: Any):
    member = await fleet.member(Door)
    load = member.runtime.runner.load
    count = 2 * QUEUES_MIN
    doors = [member.grain(Door, f"d{number}") for number in range(count)]
    calls = [asyncio.ensure_future(door.go_through()) for door in doors for _ in range(2)]
    await eventually(lambda: load.running() == load.waiting() == {"Door": count})
    load.check()
    for grain in member.runtime.hosts["Door"].activations.values():
        grain.opened.set()
    await asyncio.gather(*calls)
    assert load.waiting() == load.running() == {}
    load.check()
