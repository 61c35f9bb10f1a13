"""A grain that notes its reminders, and who keeps them in a simulated cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

from inaho import Grain
from inaho.core.activation.reminders import Reminder
from inaho.runtime.reminders.shard import KEEPER, shard_of
from inaho.testing.cluster.sim_cluster import SimCluster
from inaho.testing.simulation.simulation import UNIX_START_S

LOG: list[tuple[str, float, Reminder]] = []
"""Key, virtual Unix time, and what was given."""

FAIL: list[BaseException] = []
"""What the next deliveries raise."""

SIM: list[SimCluster] = []

TASKS: list[asyncio.Future[None]] = []
"""What goes on beside the story."""


class Alarm(Grain):
    """Notes what it is reminded of."""

    async def on_reminder(self, reminder: Reminder) -> None:
        LOG.append((self.key, SIM[-1].unix_time(), reminder))
        if FAIL:
            raise FAIL.pop(0)

    async def set(self, name: str, due: float, period_s: float | None = None, catch_up: str = "once") -> None:
        await self.remind(name, due, period_s, catch_up=catch_up)

    async def set_at(self, name: str, when: datetime) -> None:
        await self.remind(name, when)

    async def drop(self, name: str) -> bool:
        return await self.forget(name)

    async def all(self) -> list[Reminder]:
        return await self.reminders()


Start = Callable[..., SimCluster]


def times(key: str = "a") -> list[float]:
    """When reminders were given to that grain, in seconds since the start of the simulation."""
    return [round(at - UNIX_START_S, 1) for each, at, _ in LOG if each == key]


def dues(key: str = "a") -> list[float]:
    """For when those named `r` or `once` were given."""
    return [
        round(reminder.due - UNIX_START_S, 1) for each, _, reminder in LOG if each == key and reminder.name != "late"
    ]


def events(sim: SimCluster, kind: type[Any]) -> list[Any]:
    return [each.event for each in sim.events if type(each.event) is kind]


def keeper_of(sim: SimCluster, key: str = "a", shards: int = 8) -> int:
    """Index of the node that keeps the reminders of `Alarm/key`."""
    shard = shard_of("Alarm", key, shards)
    found = [
        index
        for index in range(len(sim._nodes))
        if sim.is_member(index) and shard in sim.node(index)._node.hosts[KEEPER].activations
    ]
    assert len(found) == 1
    return found[0]


def place_of(sim: SimCluster, key: str = "a") -> int | None:
    """Index of the node where `Alarm/key` is active."""
    found = [
        index
        for index in range(len(sim._nodes))
        if sim.is_member(index) and key in sim.node(index)._node.hosts["Alarm"].activations
    ]
    return found[0] if found else None
