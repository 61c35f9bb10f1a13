"""Cycles of calls through `on_activate` and `on_deactivate` are told at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import inaho
from inaho import CallCycle, Grain
from support.noted import GATES, LOG, TASKS


@pytest.fixture(autouse=True)
def clean():
    LOG.clear()
    GATES.clear()
    TASKS.clear()


class Boss(Grain):
    async def go(self, key: str) -> str:
        return await self.cluster.grain(Hired, key).hi()

    async def name(self) -> str:
        return self.key


class Hired(Grain):
    async def on_activate(self) -> None:
        kind, _, key = self.key.partition("-")
        if kind == "boss":
            self.boss = await self.cluster.grain(Boss, key).name()
        elif kind == "itself":
            await self.cluster.grain(Hired, self.key).hi()
        with pytest.raises(RuntimeError):
            _ = self.context

    async def hi(self) -> str:
        return "hi"

    async def end(self) -> None:
        self.deactivate()

    async def on_deactivate(self, reason: str) -> None:
        kind, _, key = self.key.partition("-")
        try:
            if kind == "late":
                LOG.append(await self.cluster.grain(Boss, key).name())
            elif kind == "endless":
                await self.cluster.grain(Hired, self.key).hi()
        except CallCycle as error:
            LOG.append(error.code)


async def test_cycles_through_on_activate_are_told_at_once(caller: Any):
    cluster = await caller(Boss, Hired)
    async with asyncio.timeout(6.0):
        with pytest.raises(inaho.InahoError, match="would wait for itself: Boss/a -> Hired/boss-a -> Boss/a"):
            await cluster.grain(Boss, "a").go("boss-a")
        with pytest.raises(inaho.InahoError, match="would wait for itself"):
            await cluster.grain(Hired, "itself").hi()
        assert await cluster.grain(Hired, "boss-b").hi() == "hi"  # no cycle: nobody waits for it


async def test_a_call_to_itself_from_on_deactivate_is_a_cycle(caller: Any, eventually: Any):
    cluster = await caller(Boss, Hired)
    async with asyncio.timeout(6.0):
        await cluster.grain(Hired, "endless").end()
        await eventually(lambda: LOG == ["call_cycle"])


async def test_a_hook_that_calls_whom_nobody_waits_for_is_no_cycle(caller: Any, eventually: Any):
    cluster = await caller(Boss, Hired)
    await cluster.grain(Hired, "late-a").end()
    await eventually(lambda: LOG == ["a"])
