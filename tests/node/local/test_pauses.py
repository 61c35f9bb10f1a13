"""A process that was stopped notices it before its timers tick and before its own callers are answered.

The other members may have activated its grains elsewhere meanwhile. What waits for a timer of the loop may be due
before the tick of the node, so it would run first.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from inaho import Grain
from inaho.events import NodePaused
from inaho.runtime.local.pauses import Pauses
from inaho.testing import SimCluster

PERIOD_S = 0.003
"""Shorter than a tick of the node, so that there is always one of them due before it."""


class Ticking(Grain):
    log: list[str]

    async def tick(self) -> None:
        self.log.append("ran")

    async def begin(self) -> None:
        self.timer(self.tick, PERIOD_S)

    async def inc(self) -> int:
        self.log.append("ran")
        return 1

    async def numbers(self) -> AsyncIterator[int]:
        self.log.append("ran")
        yield 1


async def call(grain: Any) -> None:
    assert await grain.inc() == 1


async def stream(grain: Any) -> None:
    assert [number async for number in grain.numbers()] == [1]


def make(log: list[str]) -> SimCluster:
    """A cluster of one node, whose grains and whose notice of a pause write into `log`."""
    Ticking.log = log
    return SimCluster(nodes=1, grains=[Ticking])


def follow(cluster: Any, log: list[str]) -> None:
    cluster._node.local.events.subscribe_callback(NodePaused, lambda _: log.append("paused"))


@pytest.mark.parametrize("phase", range(5))
def test_before_a_timer_of_an_activation_ticks(phase: int):
    log: list[str] = []
    with make(log) as sim:
        follow(sim.node(0), log)
        sim.run(sim.node(0).grain(Ticking, "a").begin())
        sim.run_for(1.0 + 0.02 * phase)  # at any time between two ticks of the node
        assert log and set(log) == {"ran"}
        log.clear()
        sim.pause(0, 7.0)
        sim.run_for(8.0)
        assert log[0] == "paused" and log.count("paused") == 1 and "ran" in log


async def test_a_task_waits_for_one_pause_only():
    """Each iteration of the loop is long, and the tick of the node runs at its end: the next Task is late again."""
    loop = asyncio.get_running_loop()

    class Slow:
        now = 0.0

        def time(self) -> float:
            return self.now

    slow = Slow()
    pauses = Pauses(slow, slow.time, 2.0)  # type: ignore[arg-type]
    pauses.expires(5.0)
    pauses.expect(0.1)
    iterations = 0

    def iterate() -> None:
        nonlocal iterations
        iterations += 1
        slow.now += 10.0
        if iterations % 2:
            pauses.expect(0.1)  # so it is late again in the next iteration
        else:
            pauses.expires(slow.now + 1.0)
        if iterations < 100:
            loop.call_soon(iterate)

    slow.now = 10.0
    loop.call_soon(iterate)
    await pauses.noticed()
    assert 2 <= iterations < 10


@pytest.mark.parametrize("how", [call, stream])
def test_before_a_task_that_was_ready_is_answered(how: Callable[[Any], Any]):
    log: list[str] = []
    with make(log) as sim:
        cluster = sim.node(0)
        follow(cluster, log)
        ready = asyncio.Event()

        async def caller() -> None:
            await ready.wait()
            await how(cluster.grain(Ticking, "a"))

        sim.run(cluster.grain(Ticking, "a").inc())
        running = cluster._node.local.loop.create_task(caller())  # of that process: stopped with it
        sim.run_for(1.0)
        log.clear()
        sim.pause(0, 7.0)
        ready.set()  # the Task is the first thing that the process continues with
        sim.run_for(8.0)
        assert running.done() and log == ["paused", "ran"]
