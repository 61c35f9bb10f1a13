"""What follows a failure: resume, restart with limits, stop, or what a decider says."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from inaho.actor import Actor, ActorContext, ActorSystem, Directive, Props, Resume, Stop, StopReason
from inaho.errors import ActorFailed as ActorFailedError
from inaho.events import ActorFailed
from support.local_actors import AT_ONCE, worker


async def test_resume_keeps_the_instance_and_drops_the_message(system: ActorSystem) -> None:
    log: list[str] = []
    ref = system.spawn(worker(log, Resume()), "w")
    await ref.ask("a")
    ref.tell(ValueError("bad"))
    assert await ref.ask("b") == 2
    assert log == ["w start", "w a 1", "w b 2"]


async def test_restart_keeps_reference_and_mailbox_and_makes_a_new_instance(system: ActorSystem) -> None:
    log: list[str] = []
    ref = system.spawn(worker(log, AT_ONCE), "w")
    await ref.ask("a")
    with system.events.subscribe(ActorFailed) as failures:
        ref.tell(ValueError("bad"))
        ref.tell("queued")
        assert await ref.ask("b") == 2
        (failure,) = failures.drain()
    assert (failure.path, failure.reason, failure.directive) == (ref.path, "ValueError: bad", "restart")
    assert not failure.at_root
    assert log == ["w start", "w a 1", "w restart bad", "w start", "w queued 1", "w b 2"]


async def test_on_restart_does_what_on_stop_does_unless_told_otherwise(system: ActorSystem) -> None:
    closed: list[int] = []

    class Resource(Actor):
        async def receive(self, message: Any) -> None:
            if message == "fail":
                raise ValueError
            self.context.reply("ok")

        async def on_stop(self) -> None:
            closed.append(id(self))

    ref = system.spawn(Props(Resource, supervisor=AT_ONCE))
    ref.tell("fail")
    assert await ref.ask("x") == "ok"
    assert len(closed) == 1
    ref.stop()
    await ref.wait_terminated()
    assert len(closed) == 2


async def test_restart_ends_the_children_first_and_their_names_are_free(system: ActorSystem) -> None:
    log: list[str] = []
    ref = system.spawn(worker(log, AT_ONCE, c=worker(log, AT_ONCE, g=worker(log, AT_ONCE))), "p")
    await ref.ask("a")
    old = system.find("user/p/c")
    ref.tell(ValueError("bad"))
    await ref.ask("b")
    assert old is not None
    assert (await old.wait_terminated()).reason == StopReason.PARENT
    new = system.find("user/p/c")
    assert new is not None
    assert new != old
    assert log.index("g stop") < log.index("c stop") < log.index("p restart bad")


async def test_beyond_the_limit_the_actor_stops(system: ActorSystem) -> None:
    log: list[str] = []
    ref = system.spawn(worker(log, AT_ONCE), "w")
    with system.events.subscribe(ActorFailed) as failures:
        for number in range(5):
            ref.tell(ValueError(number))
        assert (await ref.wait_terminated()).reason == StopReason.RESTART_LIMIT
        assert [failure.directive for failure in failures.drain()] == ["restart"] * 3 + ["stop"]
    assert log.count("w start") == 4
    assert log[-1] == "w stop"
    assert system.dead_letters.counts == {"stopped": 1}


async def test_stop_on_failure(system: ActorSystem) -> None:
    log: list[str] = []
    ref = system.spawn(worker(log, Stop()), "w")
    ref.tell(ValueError("bad"))
    ref.tell("left over")
    assert (await ref.wait_terminated()).reason == StopReason.FAILED
    assert log == ["w start", "w stop"]
    assert [letter.message for letter in system.dead_letters.recent] == ["left over"]


async def test_a_decider_chooses_by_the_error(system: ActorSystem) -> None:
    def decider(error: Exception) -> Directive:
        return Resume() if isinstance(error, ValueError) else AT_ONCE if isinstance(error, OSError) else Stop()

    log: list[str] = []
    ref = system.spawn(worker(log, decider), "w")
    ref.tell(ValueError())
    assert await ref.ask("a") == 1
    ref.tell(OSError())
    assert await ref.ask("b") == 1
    ref.tell(KeyError())
    assert (await ref.wait_terminated()).reason == StopReason.FAILED


async def test_a_decider_that_fails_leaves_it_to_the_one_above(system: ActorSystem) -> None:
    def broken(error: Exception) -> Directive:
        raise RuntimeError("no idea")

    ref = system.spawn(worker([], broken))
    ref.tell(ValueError())
    assert (await ref.wait_terminated()).reason == StopReason.ESCALATED


async def test_failing_to_start_is_a_failure_too(system: ActorSystem) -> None:
    attempts: list[int] = []

    class Fragile(Actor):
        async def on_start(self) -> None:
            attempts.append(len(attempts))
            if len(attempts) < 3:
                raise OSError("not yet")

        async def receive(self, message: Any) -> None:
            self.context.reply(len(attempts))

    assert await system.spawn(Props(Fragile, supervisor=AT_ONCE)).ask("x") == 3
    attempts.clear()
    resumed = system.spawn(Props(Fragile, supervisor=Resume()))  # there is nothing to go on with
    assert (await resumed.wait_terminated()).reason == StopReason.FAILED
    wrong = system.spawn(Props(lambda: 5, supervisor=Stop()))  # type: ignore[arg-type]
    assert (await wrong.wait_terminated()).reason == StopReason.FAILED


async def test_a_cancelled_error_of_its_own_is_a_failure_and_no_shutdown(system: ActorSystem) -> None:
    log: list[str] = []
    ref = system.spawn(worker(log, AT_ONCE), "w")
    with pytest.raises(ActorFailedError) as caught:
        await ref.ask(asyncio.CancelledError())
    assert isinstance(caught.value.__cause__, ActorFailedError)
    assert await ref.ask("a") == 1
    assert [line.split(":")[0] for line in log[:1]] == ["w start"]
    assert log.count("w start") == 2


async def test_awaiting_what_others_cancel_is_a_failure_too(system: ActorSystem) -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def behaviour(context: ActorContext, message: Any) -> None:
        if message == "wait":
            await future
        context.reply("alive")

    ref = system.spawn(Props(behaviour, supervisor=Resume()))
    waiting = asyncio.create_task(ref.ask("wait"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    future.cancel()
    with pytest.raises(ActorFailedError):
        await waiting
    assert await ref.ask("x") == "alive"


async def test_asyncio_timeout_works_inside_an_actor(system: ActorSystem) -> None:
    async def behaviour(context: ActorContext, message: Any) -> None:
        try:
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        except TimeoutError:
            context.reply("timed out")

    ref = system.spawn(Props(behaviour))
    assert [await ref.ask("x") for _ in range(2)] == ["timed out"] * 2
