"""Calls of Tasks that a turn starts: those that it waits for belong to the turn, the others do not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from inaho import CallCycle
from support.noted import GATES, LOG, TASKS, WAYS, Noted


@pytest.fixture(autouse=True)
def clean():
    LOG.clear()
    GATES.clear()
    TASKS.clear()


@pytest.mark.parametrize("suspend", [False, True])
async def test_a_task_that_nobody_waits_for_calls_its_grain_behind_the_turn(
    caller: Any, eventually: Any, suspend: bool
):
    cluster = await caller(Noted)
    await cluster.grain(Noted, "a").starts_a_task(suspend)
    await eventually(lambda: LOG == [1, 2])
    await asyncio.gather(*TASKS)


@pytest.mark.parametrize("suspend", [False, True])
@pytest.mark.parametrize("kept", ["task", "shield", "gather"])
@pytest.mark.parametrize("how", WAYS)
async def test_a_task_that_nobody_waits_for_may_wait_in_any_way(
    caller: Any, eventually: Any, how: str, kept: str, suspend: bool
):
    cluster = await caller(Noted)
    await cluster.grain(Noted, "a").keeps(how, kept, suspend)
    await eventually(lambda: LOG == [1, 2])
    await asyncio.gather(*TASKS)


@pytest.mark.parametrize("through", ["directly", "in_task", "in_gather", "in_group"])
@pytest.mark.parametrize("how", WAYS)
async def test_a_self_call_that_the_turn_waits_for_is_a_cycle(caller: Any, how: str, through: str):
    cluster = await caller(Noted)
    reference = cluster.grain(Noted, "a")
    await reference.note(1)
    async with asyncio.timeout(6.0):  # at once, and not at the deadline, 8 s
        with pytest.raises(CallCycle, match="would wait for itself"):
            await reference.waits_for_itself(how, through)


async def test_a_task_that_outlives_its_turn_has_no_deadline_of_it(caller: Any, eventually: Any):
    cluster = await caller(Noted)
    GATES["a"] = asyncio.Event()
    await cluster.grain(Noted, "a").note(0)
    LOG.clear()
    await cluster.grain(Noted, "a", timeout=1.0).leaves_a_task("a")
    await asyncio.sleep(1.05)  # the deadline of the turn passes
    GATES["a"].set()
    await asyncio.gather(*TASKS)
    assert LOG == ["inherits nothing", 7]
