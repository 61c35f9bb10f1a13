"""What user code may do with asyncio's cancellation inside an actor, as in any Task of its own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from inaho.actor import Actor, ActorContext, ActorSystem, Props
from inaho.actor.ref import StopReason
from inaho.errors import ActorFailed


async def fail() -> None:
    await asyncio.sleep(0)
    raise ValueError("child")


async def handled_at_the_end() -> None:
    """The child fails while the group waits for it."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
    except* ValueError:
        pass


async def handled_in_the_body() -> None:
    """The child fails while its parent does something else."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            await asyncio.Event().wait()
    except* ValueError:
        pass


async def timed_out() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await asyncio.Event().wait()


USES = [handled_at_the_end, handled_in_the_body, timed_out]


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("where", ["on_start", "receive", "on_stop"])
async def test_a_handled_failure_of_a_child_task_ends_no_actor(system: ActorSystem, where: str, use: Any) -> None:
    stopped: list[str] = []

    class Grouping(Actor):
        async def on_start(self) -> None:
            await self.maybe("on_start")

        async def receive(self, message: Any) -> None:
            await self.maybe("receive")
            task = asyncio.current_task()
            assert task is not None
            self.context.reply(message)

        async def on_stop(self) -> None:
            await self.maybe("on_stop")
            stopped.append("on_stop")

        async def maybe(self, here: str) -> None:
            if here == where:
                await use()

    ref = system.spawn(Props(Grouping))
    assert [await ref.ask(number) for number in range(3)] == [0, 1, 2]
    ref.stop()
    assert (await ref.wait_terminated()).reason == StopReason.STOPPED
    assert stopped == ["on_stop"]


async def test_each_message_begins_without_what_the_one_before_has_left(system: ActorSystem) -> None:
    async def grouping(context: ActorContext, message: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        before = task.cancelling()
        await message()
        context.reply(before)

    ref = system.spawn(Props(grouping))
    assert [await ref.ask(use) for use in (handled_at_the_end, *USES)] == [0, 0, 0, 0]


async def test_a_group_that_raises_is_a_failure_of_the_actor(system: ActorSystem) -> None:
    async def grouping(context: ActorContext, message: Any) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())

    ref = system.spawn(Props(grouping))
    for _ in range(2):  # it was restarted, not killed
        with pytest.raises(ActorFailed, match="ExceptionGroup"):
            await ref.ask("x")


def test_a_program_that_ends_without_stop_is_not_held_up_by_an_actor_that_catches() -> None:
    async def catching(context: ActorContext, message: Any) -> None:
        context.reply("begun")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await handled_at_the_end()

    async def main() -> None:
        system = ActorSystem("shop")
        await system.start()
        await system.spawn(Props(catching)).ask("x")

    async def bounded() -> None:
        async with asyncio.timeout(20.0):
            await main()

    asyncio.run(bounded())  # returns
