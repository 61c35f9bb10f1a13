"""User code under asyncio and anyio: as in a Task of its own, whoever calls, from this node or another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from inaho import Grain

LOG: list[str] = []


@pytest.fixture(autouse=True)
def clean():
    LOG.clear()


async def inner(name: str) -> None:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        LOG.append(f"{name} cancelled")
        raise


async def in_a_task() -> None:
    await asyncio.create_task(inner("inner"))


async def in_a_gather() -> None:
    await asyncio.gather(inner("inner"), inner("other"))


async def in_a_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(inner("inner"))


async def in_a_wait_for() -> None:
    await asyncio.wait_for(inner("inner"), timeout=60.0)


async def in_a_timeout() -> None:
    async with asyncio.timeout(60.0):
        await asyncio.create_task(inner("inner"))


async def in_a_shield() -> None:
    task = asyncio.create_task(asyncio.sleep(0.01))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        LOG.append("inner cancelled")
        raise


WAYS: dict[str, Callable[[], Awaitable[None]]] = {
    way.__name__: way for way in (in_a_task, in_a_gather, in_a_group, in_a_wait_for, in_a_timeout, in_a_shield)
}


class Worker(Grain):
    async def work(self, way: str) -> None:
        LOG.append("begun")
        try:
            await WAYS[way]()
        except asyncio.CancelledError:
            LOG.append("turn cancelled")
            raise

    async def ping(self) -> str:
        return "pong"


@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize("turns_of_the_loop", [1, 2, 3, 4, 8])
async def test_cancelling_a_turn_cancels_what_it_awaits_however_soon(
    caller: Any, eventually: Any, way: str, turns_of_the_loop: int
):
    reference = (await caller(Worker)).grain(Worker, "a")
    await reference.ping()
    call = asyncio.ensure_future(reference.work(way))
    for _ in range(turns_of_the_loop):
        await asyncio.sleep(0)
    call.cancel()
    await asyncio.wait([call])
    assert call.cancelled()
    assert await reference.ping() == "pong"
    if "begun" in LOG:
        await eventually(lambda: "turn cancelled" in LOG)
        if in_a_wait_for.__name__ != way:  # its Task is made and cancelled in one breath, and does not begin
            assert "inner cancelled" in LOG or LOG == ["begun", "turn cancelled"], LOG
    assert not [task for task in asyncio.all_tasks() if "inner" in repr(task)]
