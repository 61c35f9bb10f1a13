"""A grain that notes what reaches it, and the ways in which a turn may wait for a call of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from inaho import Grain

LOG: list[Any] = []
GATES: dict[str, asyncio.Event] = {}
TASKS: list[asyncio.Future[Any]] = []


async def in_task(call: Coroutine[Any, Any, None]) -> None:
    await asyncio.create_task(call)


async def in_gather(call: Coroutine[Any, Any, None]) -> None:
    await asyncio.gather(call)


async def in_wait(call: Coroutine[Any, Any, None]) -> None:
    (task,), _ = await asyncio.wait([asyncio.ensure_future(call)])
    task.result()


async def in_wait_for(call: Coroutine[Any, Any, None]) -> None:
    await asyncio.wait_for(call, 60.0)


async def in_shield(call: Coroutine[Any, Any, None]) -> None:
    await asyncio.shield(call)


async def in_as_completed(call: Coroutine[Any, Any, None]) -> None:
    for each in asyncio.as_completed([call]):
        await each


async def in_group(call: Coroutine[Any, Any, None]) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(call)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from errors


async def in_anyio_group(call: Coroutine[Any, Any, None]) -> None:
    anyio = import_module("anyio")
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: call)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from errors


async def directly(call: Coroutine[Any, Any, None]) -> None:
    await call


WAYS = {
    way.__name__: way
    for way in (
        directly,
        in_task,
        in_gather,
        in_wait,
        in_wait_for,
        in_shield,
        in_as_completed,
        in_group,
        *([in_anyio_group] if find_spec("anyio") else []),
    )
}
"""Ways to wait for a call."""


class Noted(Grain):
    async def note(self, value: int, twice: bool = False) -> None:
        LOG.append(value * 2 if twice else value)

    async def note_list(self, values: list[int]) -> None:
        LOG.append(values)

    async def fails(self) -> None:
        raise ValueError("broken")

    async def waits(self, gate: str) -> None:
        await GATES[gate].wait()

    async def sends_to_itself(self, suspend: bool) -> None:
        me = self.cluster.grain(Noted, self.key)
        for value in (2, 3):
            self.cluster.send(me.note, value)
        if suspend:
            await asyncio.sleep(0.01)
        LOG.append(1)

    async def starts_a_task(self, suspend: bool) -> None:
        async def background() -> None:
            await self.cluster.grain(Noted, self.key).note(2)

        TASKS.append(asyncio.create_task(background()))
        TASKS[-1].add_done_callback(LOG.count)
        if suspend:
            await asyncio.sleep(0.01)
        LOG.append(1)

    async def keeps(self, how: str, kept: str, suspend: bool) -> None:
        waiting = WAYS[how](self.cluster.grain(Noted, self.key).note(2))
        if kept == "task":
            TASKS.append(asyncio.create_task(waiting))
        elif kept == "shield":
            TASKS.append(asyncio.shield(waiting))
        else:
            TASKS.append(asyncio.gather(waiting))
        if suspend:
            await asyncio.sleep(0.01)
        LOG.append(1)

    async def waits_for_itself(self, how: str, through: str) -> None:
        await WAYS[through](WAYS[how](self.cluster.grain(Noted, self.key).note(9)))

    async def leaves_a_task(self, gate: str) -> None:
        async def background() -> None:
            await GATES[gate].wait()
            LOG.append("inherits nothing")
            await self.cluster.grain(Noted, self.key).note(7)

        TASKS.append(asyncio.create_task(background()))
