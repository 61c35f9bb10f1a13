"""Pauses before a restart: how long they are, and what works meanwhile."""

from __future__ import annotations

import asyncio
import selectors
from typing import Any

import pytest

from inaho.actor import Actor, ActorSystem, PoisonPill, Props, Restart, StopReason
from support.local_actors import worker


async def test_a_pause_can_be_cut_short_by_a_stop(system: ActorSystem) -> None:
    ref = system.spawn(worker([], Restart(back_off_s=3600.0, back_off_max_s=3600.0)))
    ref.tell(ValueError())
    ref.tell("left over")
    for _ in range(5):
        await asyncio.sleep(0)
    ref.stop()
    assert (await ref.wait_terminated()).reason == StopReason.STOPPED
    assert system.dead_letters.counts == {"stopped": 1}


async def test_during_the_pause_the_mailbox_fills_and_watches_work(system: ActorSystem) -> None:
    log: list[str] = []
    ref = system.spawn(worker(log, Restart(back_off_s=0.01, jitter=0.0)), "w")
    loop = asyncio.get_running_loop()
    began = loop.time()
    ref.tell(ValueError("bad"))
    assert await ref.ask("a") == 1
    assert loop.time() - began >= 0.009
    ref.tell(PoisonPill())
    await ref.wait_terminated()


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer instead of waiting for it."""

    def __init__(self) -> None:
        super().__init__(_NoWaiting(self))
        self.now = 0.0

    def time(self) -> float:
        return self.now


class _NoWaiting(selectors.SelectSelector):
    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("nothing is scheduled: the loop would wait for ever")
        self._loop.now += max(timeout, 0.0)
        return super().select(0)


def test_pauses_double_on_the_loops_own_clock() -> None:
    async def run() -> list[float]:
        loop = asyncio.get_running_loop()
        starts: list[float] = []

        class Fragile(Actor):
            async def on_start(self) -> None:
                starts.append(loop.time())
                raise OSError

            async def receive(self, message: Any) -> None: ...

        async with ActorSystem("virtual", seed=1) as system:
            limit = Restart(max_restarts=4, within_s=86_400.0, back_off_s=600.0, back_off_max_s=3600.0, jitter=0.0)
            await system.spawn(Props(Fragile, supervisor=limit)).wait_terminated()
            assert system.uptime == pytest.approx(600 + 1200 + 2400 + 3600)
        return starts

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        starts = runner.run(run())
    assert starts == [pytest.approx(value) for value in (0, 600, 1800, 4200, 7800)]


def test_one_seed_gives_one_history() -> None:
    async def run(seed: int) -> list[float]:
        starts: list[float] = []

        class Fragile(Actor):
            async def on_start(self) -> None:
                starts.append(asyncio.get_running_loop().time())
                raise OSError

            async def receive(self, message: Any) -> None: ...

        async with ActorSystem("virtual", seed=seed) as system:
            await system.spawn(Props(Fragile, supervisor=Restart(3, 60.0, 1.0, 8.0, 0.5))).wait_terminated()
        return starts

    def history(seed: int) -> list[float]:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            return runner.run(run(seed))

    assert history(7) == history(7)
    assert history(7) != history(8)
