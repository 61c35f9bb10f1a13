"""User code that raises `GeneratorExit`, or another class that is no `Exception`, fails as with any error."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from inaho import Grain, RemoteError
from inaho.actor import Actor, Props
from inaho.errors import ActorFailed
from inaho.events import Event


class Odd(BaseException):
    """What a library may raise through user code, as test frameworks do."""


KINDS: dict[str, type[BaseException]] = {"exit": GeneratorExit, "odd": Odd, "cancelled": asyncio.CancelledError}


class Rebel(Grain):
    """Raises what the key begins with, in every place where user code runs."""

    def _raise_it(self) -> None:
        raise KINDS[self.key.partition("-")[0]]

    @property
    def _where(self) -> str:
        return self.key.partition("-")[2]

    async def on_activate(self) -> None:
        if self._where == "activate":
            self._raise_it()

    async def on_deactivate(self, reason: str) -> None:
        if self._where == "deactivate":
            self._raise_it()

    async def hello(self) -> str:
        return "hello"

    async def now(self) -> None:
        self._raise_it()

    async def later(self) -> None:
        await asyncio.sleep(0.001)
        self._raise_it()

    async def items(self) -> AsyncIterator[int]:
        yield 1
        self._raise_it()

    async def tick(self) -> int:
        timer = self.timer(self.now, 0.01)
        while timer.ticks < 3:
            await asyncio.sleep(0.01)
        return timer.failures

    async def tick_beside(self) -> None:
        TIMERS.append(self.timer(self.now, 0.005))

    async def unload(self) -> None:
        self.deactivate()


TIMERS: list[Any] = []


@pytest.mark.parametrize("raised", KINDS)
@pytest.mark.parametrize("here", [True, False])
async def test_calls_and_streams(fleet: Any, raised: str, here: bool) -> None:
    first, second = await fleet.members(2, Rebel)
    key = fleet.key_at(first if here else second, Rebel, f"{raised}-k")
    grain = first.grain(Rebel, key)
    assert await grain.hello() == "hello"
    for call in (grain.now, grain.later):
        with pytest.raises((RemoteError, RuntimeError)):
            await call()
        assert await grain.hello() == "hello"
    stream = grain.items()
    assert await anext(stream) == 1
    with pytest.raises((RemoteError, RuntimeError)):
        await anext(stream)
    assert await grain.hello() == "hello"


@pytest.mark.parametrize("raised", KINDS)
async def test_timers_go_on(fleet: Any, eventually: Any, raised: str) -> None:
    cluster = await fleet.member(Rebel)
    grain = cluster.grain(Rebel, f"{raised}-timer")
    TIMERS.clear()
    await grain.tick_beside()
    await eventually(lambda: TIMERS[0].ticks >= 3)
    assert TIMERS[0].active
    assert await grain.hello() == "hello"
    TIMERS[0].cancel()


@pytest.mark.parametrize("raised", KINDS)
async def test_hooks(fleet: Any, eventually: Any, raised: str) -> None:
    cluster = await fleet.member(Rebel)
    with pytest.raises(Exception, match="activ") as caught:
        await cluster.grain(Rebel, f"{raised}-activate").hello()
    assert getattr(caught.value, "code", "") == "activation_failed"
    grain = cluster.grain(Rebel, f"{raised}-deactivate")
    await grain.unload()
    await eventually(lambda: f"{raised}-deactivate" not in cluster.runtime.hosts["Rebel"].activations)
    assert await grain.hello() == "hello"


@pytest.mark.parametrize("raised", KINDS)
async def test_actors_are_supervised(fleet: Any, raised: str) -> None:
    cluster = await fleet.member(Rebel)

    class Failing(Actor):
        async def receive(self, message: Any) -> None:
            if message == "fail":
                raise KINDS[raised]
            if self.context.sender is not None:
                self.context.sender.tell("well")

    ref = cluster.system.spawn(Props(Failing))
    with pytest.raises(ActorFailed):
        await cluster.system.ask(ref, "fail", timeout_s=5.0)
    assert await cluster.system.ask(ref, "hello", timeout_s=5.0) == "well"


@pytest.mark.parametrize("raised", ["exit", "odd"])
async def test_callbacks_of_events(fleet: Any, raised: str) -> None:
    cluster = await fleet.member(Rebel)

    def fail(_: Event) -> None:
        raise KINDS[raised]

    stop = cluster.system.events.subscribe_callback(Event, fail)
    second = await fleet.member(Rebel)
    assert await second.grain(Rebel, "odd-k").hello() == "hello"
    assert cluster.system.events.callback_errors > 0
    stop()  # else the member goes on listening to what ends at the other one


class Immortal(Grain):
    """Its generator does not let itself be closed, but by the collector of garbage, which may come at any time."""

    async def items(self) -> AsyncIterator[int]:
        number = refused = 0
        while True:
            try:
                yield (number := number + 1)
                await asyncio.sleep(0.001)
            except GeneratorExit:
                refused += 1
                if refused > 1:
                    raise
            except asyncio.CancelledError:
                continue

    async def hello(self) -> str:
        return "hello"


async def test_a_generator_that_ignores_its_close_is_named(fleet: Any, caplog: Any, eventually: Any) -> None:
    cluster = await fleet.member(Immortal)
    grain = cluster.grain(Immortal, "k")
    with caplog.at_level(logging.ERROR):
        async for _ in grain.items():
            break
        await eventually(lambda: any("when it is closed" in record.getMessage() for record in caplog.records))
    assert await grain.hello() == "hello"
