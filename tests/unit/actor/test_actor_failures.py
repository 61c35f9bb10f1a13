"""What follows a failure: resume, restart with back-off and limits, stop, escalation."""

from __future__ import annotations

import asyncio
import selectors
from typing import Any

import pytest

from inaho.actor import (
    Actor,
    ActorContext,
    ActorSystem,
    Directive,
    Escalate,
    PoisonPill,
    Props,
    Restart,
    Resume,
    Stop,
    StopReason,
    Supervisor,
)
from inaho.errors import ActorFailed as ActorFailedError
from inaho.events import ActorFailed
from support.waiting import Eventually

AT_ONCE = Restart(max_restarts=3, within_s=60.0, back_off_s=0.0)


class Worker(Actor):
    """Writes its life into a log that outlives it; raises what it is sent."""

    def __init__(self, log: list[str], children: dict[str, Props] | None = None) -> None:
        self.log = log
        self.children = children or {}
        self.count = 0

    def write(self, text: str) -> None:
        self.log.append(f"{self.context.self_ref.name} {text}")

    async def on_start(self) -> None:
        self.write("start")
        for name, props in self.children.items():
            self.context.spawn(props, name)

    async def receive(self, message: Any) -> None:
        if isinstance(message, BaseException):
            raise message
        self.count += 1
        self.write(f"{message} {self.count}")
        self.context.reply(self.count)

    async def on_stop(self) -> None:
        self.write("stop")

    async def on_restart(self, error: Exception) -> None:
        self.write(f"restart {error}")


def worker(log: list[str], supervisor: Supervisor, **children: Props) -> Props:
    return Props(lambda: Worker(log, children), supervisor=supervisor)


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


async def test_escalation_restarts_the_parent_and_ends_the_child(system: ActorSystem) -> None:
    log: list[str] = []
    parent = system.spawn(worker(log, AT_ONCE, c=worker(log, Escalate())), "p")
    await parent.ask("a")
    child = system.find("user/p/c")
    assert child is not None
    child.tell(ValueError("bad"))
    assert (await child.wait_terminated()).reason == StopReason.PARENT
    assert await parent.ask("b") == 1
    own = [line for line in log if line.startswith("p ")]
    assert own == ["p start", "p a 1", "p restart bad", "p start", "p b 1"]
    assert log.index("c stop") < log.index("p restart bad")


async def test_a_parent_that_resumes_lets_the_child_go_on(system: ActorSystem) -> None:
    log: list[str] = []
    parent = system.spawn(worker(log, Resume(), c=worker(log, Escalate())), "p")
    await parent.ask("a")
    child = system.find("user/p/c")
    assert child is not None
    await child.ask("x")
    child.tell(ValueError("bad"))
    assert await child.ask("y") == 2
    assert await parent.ask("b") == 2


async def test_a_child_works_on_nothing_while_its_failure_is_decided(
    system: ActorSystem, eventually: Eventually
) -> None:
    gate = asyncio.Event()
    log: list[str] = []

    class Busy(Worker):
        async def receive(self, message: Any) -> None:
            await gate.wait()

    parent = system.spawn(Props(lambda: Busy(log, {"c": worker(log, Escalate())}), supervisor=Resume()), "p")
    await eventually(lambda: "c start" in log)
    parent.tell("busy")
    child = system.find("user/p/c")
    assert child is not None
    await asyncio.sleep(0)
    child.tell(ValueError("bad"))
    child.tell("waits")
    for _ in range(10):
        await asyncio.sleep(0)
    assert log == ["p start", "c start"]
    gate.set()
    await eventually(lambda: log[-1] == "c waits 1")


async def test_escalation_across_two_levels_reaches_the_one_that_decides(system: ActorSystem) -> None:
    log: list[str] = []
    grandchild = worker(log, Escalate())
    top = system.spawn(worker(log, AT_ONCE, c=worker(log, Escalate(), g=grandchild)), "p")
    await top.ask("a")
    child, lowest = system.find("user/p/c"), None
    while lowest is None:
        await asyncio.sleep(0)
        lowest = system.find("user/p/c/g")
    assert child is not None
    with system.events.subscribe(ActorFailed) as failures:
        lowest.tell(ValueError("deep"))
        await lowest.wait_terminated()
        await child.wait_terminated()
        assert await top.ask("b") == 1
        assert [(failure.path.rpartition("/")[2], failure.directive) for failure in failures.drain()] == [
            ("g", "escalate"),
            ("c", "escalate"),
            ("p", "restart"),
        ]
    assert log.index("g stop") < log.index("c stop") < log.index("p restart deep")


async def test_two_children_that_escalate_restart_their_parent_once(
    system: ActorSystem, eventually: Eventually
) -> None:
    gate = asyncio.Event()
    log: list[str] = []

    class Busy(Worker):
        async def receive(self, message: Any) -> None:
            await gate.wait()
            await super().receive(message)

    children = {"c": worker(log, Escalate()), "d": worker(log, Escalate())}
    parent = system.spawn(Props(lambda: Busy(log, children), supervisor=AT_ONCE), "p")
    await eventually(lambda: "d start" in log)
    parent.tell("busy")
    for name in children:
        child = system.find(f"user/p/{name}")
        assert child is not None
        child.tell(ValueError(name))
    with system.events.subscribe(ActorFailed) as failures:
        await eventually(lambda: len(failures) == 2)
    gate.set()
    assert await parent.ask("x") == 1
    for _ in range(5):
        await asyncio.sleep(0)
    assert [line for line in log if "restart" in line] == ["p restart c"]


async def test_a_resume_goes_down_all_the_way(system: ActorSystem, eventually: Eventually) -> None:
    log: list[str] = []
    top = system.spawn(worker(log, Resume(), c=worker(log, Escalate(), g=worker(log, Escalate()))), "p")
    await eventually(lambda: "g start" in log)
    lowest, middle = system.find("user/p/c/g"), system.find("user/p/c")
    assert lowest is not None
    assert middle is not None
    lowest.tell(ValueError("deep"))
    assert await lowest.ask("x") == 1
    assert await middle.ask("x") == 1
    assert await top.ask("x") == 1


async def test_past_the_root_the_topmost_actor_is_stopped(
    system: ActorSystem, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    log: list[str] = []
    top = system.spawn(worker(log, Escalate(), c=worker(log, Escalate())), "p")
    neighbour = system.spawn(worker(log, Escalate()), "n")
    await eventually(lambda: "c start" in log)
    child = system.find("user/p/c")
    assert child is not None
    with system.events.subscribe(ActorFailed) as failures:
        child.tell(ValueError("fatal"))
        assert (await top.wait_terminated()).reason == StopReason.ESCALATED
        assert (await child.wait_terminated()).reason == StopReason.PARENT
        last = failures.drain()[-1]
    assert (last.path, last.directive, last.at_root) == ("inaho://test/user/p", "stop", True)
    assert "inaho://test/user/p is stopped: a failure was escalated to the root: ValueError: fatal" in caplog.text
    assert await neighbour.ask("still here") == 1


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
