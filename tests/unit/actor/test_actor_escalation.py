"""Failures that are escalated: parents decide, level by level, and children wait for it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from inaho.actor import ActorSystem, Escalate, Props, Resume, StopReason
from inaho.events import ActorFailed
from support.local_actors import AT_ONCE, Worker, worker
from support.waiting import Eventually


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
