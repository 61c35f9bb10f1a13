"""A program with one member that ends in one of many ways, for `test_process_ends`.

Arguments: the scenario; `asyncio` or `uvloop`; the folder for its storage; what the member is busy with when the
program ends (`idle`, `tick`, `call`, `stream`, `stubborn`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import msgspec

import inaho
from inaho import Grain, Reminder
from inaho.actor import Actor, Props
from inaho.events import SerializationFailure

LONG_S = 500.0


class Fatal(msgspec.Struct):
    """Cannot be made from bytes without ending the program."""

    armed: bool

    def __post_init__(self) -> None:
        if self.armed:
            sys.exit(7)

    @classmethod
    def made(cls) -> Fatal:
        fatal = cls(armed=False)
        fatal.armed = True
        return fatal


class Ending(Grain):
    """Does what holds a program up, and what ends one."""

    def __init__(self) -> None:
        if self.key == "exit_constructor":
            sys.exit(7)

    async def on_activate(self) -> None:
        if self.key == "exit_activate":
            sys.exit(7)

    async def on_deactivate(self, reason: str) -> None:
        if self.key == "exit_deactivate":
            sys.exit(7)

    async def on_reminder(self, reminder: Reminder) -> None:
        sys.exit(7)

    async def hello(self) -> int:
        return 1

    async def tick_for_long(self) -> None:
        self.timer(self.nap, 0.01, timeout_s=1000.0)

    async def nap(self) -> None:
        await asyncio.sleep(LONG_S)

    async def stubborn(self) -> None:
        """Catches every cancellation."""
        while True:
            try:
                await asyncio.sleep(LONG_S)
            except asyncio.CancelledError:
                continue

    async def numbers(self) -> AsyncIterator[int]:
        yield 1
        await asyncio.sleep(LONG_S)

    async def stubborn_numbers(self) -> AsyncIterator[int]:
        """Catches every cancellation."""
        try:
            yield 1
            await self.stubborn()
        finally:
            say("generator closed")

    async def numbers_that_end_late(self) -> AsyncIterator[int]:
        """Catches every cancellation in its clean-up."""
        try:
            yield 1
            await asyncio.sleep(LONG_S)
        finally:
            try:
                await self.stubborn()
            finally:
                say("generator closed")

    async def exit_now(self) -> None:
        sys.exit(7)

    async def exit_later(self) -> None:
        await asyncio.sleep(0.01)
        sys.exit(7)

    async def take(self, fatal: Fatal) -> None:
        """Never begins."""

    async def give(self) -> Fatal:
        return Fatal.made()

    async def give_unfit(self) -> int:
        return object()  # type: ignore[return-value]

    async def exit_by_timer(self) -> None:
        self.timer(self.exit_now, None, first_s=0.01)

    async def exit_by_reminder(self) -> None:
        await self.remind("end", 0.01)

    async def exit_stream(self) -> AsyncIterator[int]:
        yield 1
        sys.exit(7)

    async def unload(self) -> None:
        self.deactivate()


class Exiting(Actor):
    """Ends the program at its first message."""

    async def receive(self, message: Any) -> None:
        sys.exit(7)


def say(word: str) -> None:
    print(word, flush=True)


async def keep_busy(cluster: inaho.Cluster, how: str, kept: list[asyncio.Task[Any]]) -> None:
    """The member has a turn or stream under way when this returns."""
    grain = cluster.grain(Ending, "busy", timeout=1000.0)
    if how == "tick":
        await grain.tick_for_long()
    elif how == "call":
        kept.append(asyncio.ensure_future(grain.nap()))
    elif how == "stubborn":
        kept.append(asyncio.ensure_future(grain.stubborn()))
    elif how in ("stubborn_numbers", "numbers_that_end_late"):
        stream = getattr(grain, how)()
        await anext(stream)
        kept.append(asyncio.ensure_future(anext(stream)))
    elif how == "stream":
        async for _ in grain.numbers():
            break
        stream = grain.numbers()
        await anext(stream)
        kept.append(asyncio.ensure_future(anext(stream)))  # type: ignore[arg-type]
    await asyncio.sleep(0.1)


async def drink(cluster: inaho.Cluster) -> None:
    async for _ in cluster.grain(Ending, "k").exit_stream():
        pass


async def end_from_far(cluster: inaho.Cluster, scenario: str) -> None:
    """Has code that runs below a connection end the program."""
    async with inaho.connect([cluster.authority]) as client:
        grain = client.grain(Ending, "k")
        await grain.hello()  # it is up, so the next turn begins where its call arrives
        if scenario == "far_turn":
            await grain.exit_now()
        if scenario == "far_send":
            client.send(grain.exit_now)
        if scenario == "far_stream":
            async for _ in grain.exit_stream():
                pass
        if scenario == "far_constructor":
            await client.grain(Ending, "exit_constructor").hello()
        if scenario == "far_argument":
            await grain.take(Fatal.made())
        if scenario == "far_event":
            cluster.system.events.subscribe_callback(SerializationFailure, lambda _: sys.exit(7))
            await grain.give_unfit()
        if scenario == "far_result":
            await grain.give()
        await asyncio.sleep(LONG_S)


async def end(cluster: inaho.Cluster, scenario: str) -> None:
    """Ends the program, or waits for its end."""
    grain = cluster.grain(Ending, "k")
    if scenario == "returns":
        return
    if scenario == "raises":
        raise ValueError("the program's own")
    if scenario == "exits":
        sys.exit(5)
    if scenario == "close_cancelled":
        closing = asyncio.ensure_future(cluster.close())
        await asyncio.sleep(0.1)
        closing.cancel()
        await closing
    if scenario == "tasks_cancelled":
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        return
    if scenario == "exit_turn":
        await grain.exit_now()
    if scenario == "exit_suspended":
        await grain.exit_later()
    if scenario == "exit_timer":
        await grain.exit_by_timer()
    if scenario == "exit_reminder":
        await grain.exit_by_reminder()
    if scenario == "exit_activate":
        await cluster.grain(Ending, "exit_activate").hello()
    if scenario == "exit_deactivate":
        await cluster.grain(Ending, "exit_deactivate").unload()
    if scenario == "exit_stream":
        await drink(cluster)
    if scenario == "exit_actor":
        cluster.system.spawn(Props(Exiting)).tell("end")
    if scenario.startswith("far_"):
        await end_from_far(cluster, scenario)
    if scenario == "sigint":
        os.kill(os.getpid(), signal.SIGINT)
    await asyncio.sleep(LONG_S)


async def careless(scenario: str, folder: str, busy: str) -> None:
    """Never closes its cluster."""
    kept: list[asyncio.Task[Any]] = []
    cluster = await inaho.join("127.0.0.1:0", grains=[Ending], data_dir=folder)
    await keep_busy(cluster, busy, kept)
    say(cluster.authority)
    await end(cluster, scenario)


async def polite(scenario: str, folder: str, busy: str) -> None:
    """Uses `async with`."""
    kept: list[asyncio.Task[Any]] = []
    async with inaho.join("127.0.0.1:0", grains=[Ending], data_dir=folder) as cluster:
        await keep_busy(cluster, busy, kept)
        say(cluster.authority)
        if scenario == "waits":
            try:
                await asyncio.sleep(LONG_S)
            finally:  # not said here: a signal in the middle of it would end the block and not the leave
                asyncio.get_running_loop().call_later(0.1, say, "leaving")
        await end(cluster, scenario)


if __name__ == "__main__":
    logging.basicConfig(level="WARNING")
    scenario, loop, folder, busy = sys.argv[1:5]
    manner, _, scenario = scenario.partition("-")
    main = {"careless": careless, "polite": polite}[manner](scenario, folder, busy)
    if loop == "uvloop":
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main)
    else:
        asyncio.run(main)
