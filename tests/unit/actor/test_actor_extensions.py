"""Extensions of an actor system: installed in order, stopped in reverse, found, and rolled back when one fails."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from inaho.actor import Actor, ActorRef, ActorSystem, Extension, Props, StopReason
from inaho.errors import IllegalTransition, InvalidConfig, NameInUse, ShuttingDown
from support.local_actors import Recording, idle


class Other(Recording):
    pass


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
