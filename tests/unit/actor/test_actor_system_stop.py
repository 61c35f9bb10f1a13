"""The stop of an actor system: no task, no actor and no extension is left, whoever does not finish in time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from inaho.actor import Actor, ActorContext, ActorRef, ActorSystem, Props, StopReason
from inaho.errors import IllegalTransition, ShuttingDown
from support.local_actors import Recording, idle
from support.waiting import Eventually


async def test_stop_leaves_no_task_and_no_actor() -> None:
    class Node(Actor):
        async def on_start(self) -> None:
            if self.context.self_ref.path.count("/") < 6:
                for _ in range(3):
                    self.context.spawn(Props(Node))

        async def receive(self, message: Any) -> None: ...

    async with ActorSystem("tree") as system:
        refs = [system.spawn(Props(Node)) for _ in range(3)]
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) > 30
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert {(await ref.wait_terminated()).reason for ref in refs} == {StopReason.SHUTDOWN}
    refs[0].tell("too late")
    assert system.dead_letters.total == 1
    system.check()


async def test_stop_may_be_called_again_together_and_before_the_start() -> None:
    system = ActorSystem("shop")
    await system.start()
    await asyncio.gather(system.stop(), system.stop())
    await system.stop()
    never = ActorSystem("never")
    await never.stop()
    with pytest.raises(IllegalTransition):
        await never.start()
    with pytest.raises(ShuttingDown):
        ActorSystem("new").spawn(Props(idle))


async def test_a_caller_that_gives_up_on_stop_does_not_leave_it_half_done(eventually: Eventually) -> None:
    gate = asyncio.Event()
    log: list[str] = []

    async def slow(_: ActorContext, message: Any) -> None:
        await gate.wait()

    system = ActorSystem("shop", extensions=[Recording("a", log)])
    await system.start()
    system.spawn(Props(slow)).tell("x")
    await asyncio.sleep(0)
    task = asyncio.create_task(system.stop())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["install a"]
    gate.set()
    await eventually(lambda: log == ["install a", "stop a"])
    await system.stop()


async def test_an_actor_that_does_not_finish_in_time_is_cancelled() -> None:
    cleaned: list[str] = []
    asked: list[asyncio.Task[Any]] = []

    class Stuck(Actor):
        async def receive(self, message: Any) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cleaned.append("receive")

        async def on_stop(self) -> None:
            cleaned.append("on_stop")

    async with ActorSystem("shop", stop_timeout_s=0.01) as system:
        ref = system.spawn(Props(Stuck))
        asked.append(asyncio.create_task(ref.ask("x")))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert cleaned == ["receive"]
    assert (await ref.wait_terminated()).reason == StopReason.KILLED
    error = (await asyncio.gather(*asked, return_exceptions=True))[0]
    assert getattr(error, "code", "") == "actor_stopped"
    assert getattr(error, "maybe_executed", None) is True
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("times", [1, 2])
async def test_an_actor_that_catches_its_cancellation_ends_nevertheless(times: int) -> None:
    class Stubborn(Actor):
        async def receive(self, message: Any) -> None:
            for attempt in range(times):
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    if attempt + 1 == times:
                        return

    async with ActorSystem("shop", stop_timeout_s=0.01) as system:
        ref = system.spawn(Props(Stubborn))
        ref.tell("x")
        await asyncio.sleep(0)
    assert (await ref.wait_terminated()).reason == StopReason.KILLED
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_actors_that_do_not_finish_are_cancelled_children_first() -> None:
    stopping: list[str] = []
    cleaned: list[str] = []
    ended: list[str] = []

    async def note_end(one: ActorRef) -> None:
        ended.append(f"{one.name} {(await one.wait_terminated()).reason}")

    class Stuck(Actor):
        async def on_start(self) -> None:
            if self.context.self_ref.name != "c":
                self.context.spawn(Props(Stuck), chr(ord(self.context.self_ref.name) + 1))

        async def receive(self, message: Any) -> None: ...

        async def on_stop(self) -> None:
            stopping.append(self.context.self_ref.name)
            try:
                await asyncio.Event().wait()
            finally:
                cleaned.append(self.context.self_ref.name)

    async with ActorSystem("shop", stop_timeout_s=0.01) as system:
        ref = system.spawn(Props(Stuck), "a")
        while system.find("user/a/b/c") is None:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        refs = [ref, system.find("user/a/b"), system.find("user/a/b/c")]
        ends = [asyncio.create_task(note_end(one)) for one in refs if one is not None]
        ref.stop()
        while not stopping:
            await asyncio.sleep(0)
    await asyncio.gather(*ends)
    assert stopping == ["c"]
    assert cleaned == ["c"]  # the others were still waiting for it
    assert ended == ["c killed", "b killed", "a killed"]


async def test_a_task_that_somebody_cancels_from_outside_ends_its_actor_and_children(
    system: ActorSystem, eventually: Eventually
) -> None:
    class Parent(Actor):
        async def on_start(self) -> None:
            self.context.spawn(Props(idle), "c")

        async def receive(self, message: Any) -> None: ...

    ref = system.spawn(Props(Parent), "p")
    await eventually(lambda: system.find("user/p/c"))
    child = system.find("user/p/c")
    assert child is not None
    task = next(task for task in asyncio.all_tasks() if task.get_name() == ref.path)
    task.cancel()
    assert (await ref.wait_terminated()).reason == StopReason.KILLED
    assert (await child.wait_terminated()).reason == StopReason.PARENT


async def test_a_task_that_is_cancelled_before_its_first_step_ends_too(system: ActorSystem) -> None:
    ref = system.spawn(Props(idle), "early")
    next(task for task in asyncio.all_tasks() if task.get_name() == ref.path).cancel()
    assert (await ref.wait_terminated()).reason == StopReason.KILLED
    assert system.find("user/early") is None


async def test_an_actor_cannot_wait_for_the_end_of_its_system(system: ActorSystem) -> None:
    async def suicidal(context: ActorContext, message: Any) -> None:
        try:
            await context.system.stop()
        except IllegalTransition as error:
            context.reply(error.code)

    assert await system.spawn(Props(suicidal)).ask("x") == "illegal_transition"
