"""The system as a whole: extensions, start, stop in order, and nothing left behind."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

from inaho.actor import Actor, ActorContext, ActorRef, ActorSystem, Extension, Props, Restart, StopReason
from inaho.errors import IllegalTransition, InvalidConfig, NameInUse, ShuttingDown
from inaho.events import DeadLetter
from support.waiting import Eventually


class Recording:
    """An extension that writes what happens to it."""

    def __init__(self, name: str, log: list[str], *, fails: str = "") -> None:
        self.name = name
        self.log = log
        self.fails = fails

    async def install(self, system: ActorSystem) -> None:
        self.log.append(f"install {self.name}")
        if self.fails == "install":
            raise OSError(f"{self.name} cannot install")

    async def stop(self) -> None:
        self.log.append(f"stop {self.name}")
        if self.fails == "stop":
            raise OSError(f"{self.name} cannot stop")


class Other(Recording):
    pass


async def idle(_: ActorContext, message: Any) -> None: ...


async def test_extensions_are_installed_in_order_and_stopped_in_reverse_after_the_actors() -> None:
    log: list[str] = []

    class Last(Actor):
        async def receive(self, message: Any) -> None: ...

        async def on_stop(self) -> None:
            log.append(f"stop {self.context.self_ref.path.partition('//')[2]}")

    class Spawning(Recording):
        async def install(self, system: ActorSystem) -> None:
            await super().install(system)
            assert not system.running
            system.spawn_system_actor(Props(Last), "helper")

    async with ActorSystem("shop", extensions=[Recording("a", log), Spawning("b", log), Recording("c", log)]) as system:
        assert system.running
        system.spawn(Props(Last), "user")
        await asyncio.sleep(0)
    assert log == [
        "install a", "install b", "install c",
        "stop shop/user/user", "stop c", "stop b", "stop a", "stop shop/system/helper",
    ]  # fmt: skip
    system.check()


async def test_extensions_are_found_by_name_and_class() -> None:
    log: list[str] = []
    first, second = Recording("a", log), Other("b", log)
    async with ActorSystem("shop", extensions=[first, second]) as system:
        by_name: Extension = system.extension("b")
        by_type: Other = system.extension(Other)
        assert by_name is by_type is second
        assert system.extension("a") is system.extension(Recording) is first
        with pytest.raises(InvalidConfig, match="no extension c"):
            system.extension("c")
        with pytest.raises(InvalidConfig, match="no extension int"):
            system.extension(int)


async def test_a_failing_install_stops_those_before_it_and_fails_the_start() -> None:
    log: list[str] = []
    kept: list[ActorRef] = []

    class Spawning(Recording):
        async def install(self, system: ActorSystem) -> None:
            await super().install(system)
            kept.append(system.spawn(Props(idle)))

    system = ActorSystem(
        "shop",
        extensions=[
            Recording("a", log, fails="stop"), Spawning("b", log), Recording("c", log, fails="install"),
            Recording("d", log),
        ],
    )  # fmt: skip
    with pytest.raises(OSError, match="c cannot install"):
        await system.start()
    assert log == ["install a", "install b", "install c", "stop b", "stop a"]
    assert (await kept[0].wait_terminated()).reason == StopReason.SHUTDOWN
    assert not system.running
    assert asyncio.all_tasks() == {asyncio.current_task()}
    with pytest.raises(ShuttingDown):
        system.spawn(Props(idle))
    with pytest.raises(IllegalTransition):
        await system.start()
    await system.stop()


async def test_a_cancelled_start_is_rolled_back() -> None:
    log: list[str] = []

    class Slow(Recording):
        async def install(self, system: ActorSystem) -> None:
            await super().install(system)
            await asyncio.Event().wait()

    system = ActorSystem("shop", extensions=[Recording("a", log), Slow("b", log)])
    task = asyncio.create_task(system.start())
    while "install b" not in log:
        await asyncio.sleep(0)
    with pytest.raises(IllegalTransition):
        await system.stop()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log[-1] == "stop a"


async def test_two_extensions_of_one_name_install_nothing() -> None:
    log: list[str] = []
    system = ActorSystem("shop", extensions=[Recording("a", log), Recording("b", log), Other("a", log)])
    with pytest.raises(NameInUse) as caught:
        await system.start()
    assert caught.value.identity == "a"
    assert log == []


async def test_an_extension_that_fails_to_stop_hinders_nobody() -> None:
    log: list[str] = []

    class Cancelled(Recording):
        async def stop(self) -> None:
            await super().stop()
            raise asyncio.CancelledError

    class Stuck(Recording):
        async def stop(self) -> None:
            await super().stop()
            await asyncio.Event().wait()

    system = ActorSystem(
        "shop",
        extensions=[
            Recording("a", log), Recording("b", log, fails="stop"), Cancelled("c", log), Stuck("d", log),
            Recording("e", log),
        ],
    )  # fmt: skip
    await system.start()
    with pytest.raises(ExceptionGroup) as caught:
        await system.stop(timeout_s=0.01)
    assert [type(error) for error in caught.value.exceptions] == [TimeoutError, IllegalTransition, OSError]
    assert log[-5:] == ["stop e", "stop d", "stop c", "stop b", "stop a"]
    assert not system.running
    system.check()


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


async def test_uptime_counts_from_the_start_to_the_stop() -> None:
    system = ActorSystem("shop")
    assert system.uptime == 0.0
    await system.start()
    assert system.uptime >= 0.0
    before = system.uptime
    async with asyncio.timeout(1.0):
        while system.uptime == before:
            await asyncio.sleep(0)
    await system.stop()
    assert system.uptime == 0.0
    assert "stopped" in repr(system)


async def test_the_event_stream_ends_with_the_system_and_still_tells_the_end() -> None:
    async with ActorSystem("shop", event_capacity=3) as system:
        subscription = system.events.subscribe(DeadLetter)
        ref = system.spawn(Props(idle))
        ref.stop()
        for number in range(5):
            ref.tell(number)
        assert subscription.dropped == 2
    assert [letter.message async for letter in subscription] == [2, 3, 4]


async def test_a_reference_to_an_ended_actor_keeps_nothing_of_it_alive(system: ActorSystem) -> None:
    instances: list[weakref.ref[Actor]] = []

    class Heavy(Actor):
        async def on_start(self) -> None:
            instances.append(weakref.ref(self))

        async def receive(self, message: Any) -> None: ...

    ref = system.spawn(Props(Heavy))
    while not instances:
        await asyncio.sleep(0)
    ref.stop()
    await ref.wait_terminated()
    gc.collect()
    assert instances[0]() is None
    assert ref.path


async def test_nothing_keeps_an_ended_actor_that_has_watched_or_paused(
    system: ActorSystem, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL", "inaho.actor")  # captured records keep the frames of the failure
    watched = system.spawn(Props(idle), "watched")

    async def behaviour(context: ActorContext, message: Any) -> None:
        context.watch(watched)
        watched.tell("keep nothing of the sender", sender=context.self_ref)
        if message == "unwatch":
            context.unwatch(watched)
        if message == "pause":
            raise ValueError

    kept: list[weakref.ref[ActorRef]] = []
    for message in ("watch", "unwatch", "pause"):
        ref = system.spawn(Props(behaviour, supervisor=Restart(back_off_s=3600.0, back_off_max_s=3600.0)))
        kept.append(weakref.ref(ref))
        ref.tell(message)
        for _ in range(5):
            await asyncio.sleep(0)
        ref.stop()
        await ref.wait_terminated()
        del ref
    await asyncio.sleep(0)
    gc.collect()
    assert [one() for one in kept] == [None] * 3


@pytest.mark.parametrize(
    "bad", [{"actors_max": 0}, {"ask_timeout_s": 0}, {"stop_timeout_s": -1}, {"event_capacity": 0}]
)
def test_impossible_settings_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfig):
        ActorSystem("shop", **bad)


def test_a_name_that_cannot_be_part_of_a_path_is_refused() -> None:
    with pytest.raises(InvalidConfig):
        ActorSystem("my shop")


async def test_dead_letters_are_bounded_in_memory_and_reasons() -> None:
    async with ActorSystem("shop", dead_letters_recent_max=3) as system:
        for number in range(100):
            system.dead_letters.record(number, recipient="nobody", reason=f"reason {number}")
        assert system.dead_letters.total == 100
        assert [letter.message for letter in system.dead_letters.recent] == [97, 98, 99]
        assert len(system.dead_letters.counts) == 65
        assert system.dead_letters.counts["other"] == 36
        assert sum(system.dead_letters.counts.values()) == 100
