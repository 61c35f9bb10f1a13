"""User code under asyncio and anyio: as in a Task of its own, whoever calls, from this node or another."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import inaho
from inaho import Grain, Timeout

LOG: list[str] = []


@pytest.fixture(autouse=True)
def clean():
    LOG.clear()


async def inner(name: str) -> None:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        LOG.append(f"{name} cancelled")
        raise


async def in_a_task() -> None:
    await asyncio.create_task(inner("inner"))


async def in_a_gather() -> None:
    await asyncio.gather(inner("inner"), inner("other"))


async def in_a_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(inner("inner"))


async def in_a_wait_for() -> None:
    await asyncio.wait_for(inner("inner"), timeout=60.0)


async def in_a_timeout() -> None:
    async with asyncio.timeout(60.0):
        await asyncio.create_task(inner("inner"))


async def in_a_shield() -> None:
    interrupted = asyncio.Event()
    task = asyncio.create_task(interrupted.wait())
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        interrupted.set()
        await task
        LOG.append("inner cancelled")
        raise


WAYS: dict[str, Callable[[], Awaitable[None]]] = {
    way.__name__: way for way in (in_a_task, in_a_gather, in_a_group, in_a_wait_for, in_a_timeout, in_a_shield)
}


class Worker(Grain):
    async def work(self, way: str) -> None:
        LOG.append("begun")
        try:
            await WAYS[way]()
        except asyncio.CancelledError:
            LOG.append("turn cancelled")
            raise

    async def ping(self) -> str:
        return "pong"


@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize("turns_of_the_loop", [1, 2, 3, 4, 8])
async def test_cancelling_a_turn_cancels_what_it_awaits_however_soon(
    caller: Any, eventually: Any, way: str, turns_of_the_loop: int
):
    reference = (await caller(Worker)).grain(Worker, "a")
    await reference.ping()
    call = asyncio.ensure_future(reference.work(way))
    for _ in range(turns_of_the_loop):
        await asyncio.sleep(0)
    call.cancel()
    await asyncio.wait([call])
    assert call.cancelled()
    assert await reference.ping() == "pong"
    if "begun" in LOG:
        await eventually(lambda: "turn cancelled" in LOG)
        if in_a_wait_for.__name__ != way:  # its Task is made and cancelled in one breath, and does not begin
            assert "inner cancelled" in LOG or LOG == ["begun", "turn cancelled"], LOG
    assert not [task for task in asyncio.all_tasks() if "inner" in repr(task)]


class Together(Grain, reentrant=True):
    """Its turns await one and the same object."""

    def __init__(self) -> None:
        self.gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.shared: dict[str, asyncio.Future[Any]] = {
            "future": self.gate,
            "task": asyncio.create_task(self.gated()),
            "gather": asyncio.gather(self.gated()),
        }

    async def gated(self) -> None:
        await self.gate

    async def waits(self, way: str, number: int) -> int:
        LOG.append(number)
        await self.shared[way]
        return number

    async def open(self) -> None:
        self.gate.set_result(None)


@pytest.mark.parametrize("way", ["future", "task", "gather"])
@pytest.mark.parametrize("up", [False, True])
async def test_turns_may_await_the_same_future(caller: Any, eventually: Any, way: str, up: bool):
    reference = (await caller(Together)).grain(Together, "a")
    calls: list[asyncio.Future[int]] = []
    for numbers in (range(1), range(1, 5)) if up else (range(5),):
        calls.extend(asyncio.ensure_future(reference.waits(way, number)) for number in numbers)
        await eventually(lambda: list(range(len(calls))) == LOG)
    await reference.open()
    assert await asyncio.gather(*calls) == list(range(5))


async def fail(after_s: float) -> None:
    await asyncio.sleep(after_s)
    raise ValueError("child")


class LevelScope:
    """Cancels its Task again at every turn of the loop until it is left, as anyio's cancel scopes do."""

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s
        self._handle: asyncio.Handle | None = None
        self._cancels = 0

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        self._handle = self._loop.call_later(self._after_s, self._cancel)

    def _cancel(self) -> None:
        assert self._task is not None
        self._task.cancel()
        self._cancels += 1
        self._handle = self._loop.call_soon(self._cancel)

    def __exit__(self, kind: Any, *_: object) -> bool:
        assert self._task is not None and self._handle is not None
        self._handle.cancel()
        for _ in range(self._cancels):
            self._task.uncancel()
        return kind is asyncio.CancelledError and not self._task.cancelling()


VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nothing")


class User(Grain):
    async def handled(self, after_s: float, body: bool) -> int:
        """A child Task fails, and that is handled; in the body, or while the group waits at its end."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail(after_s))
                if body:
                    await asyncio.Event().wait()
        except* ValueError:
            LOG.append("handled")
        return LOG.count("handled")

    async def raises(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail(0.0))

    async def in_a_group(self) -> bool:
        """A child of a group works, as does the timeout around it."""
        async with asyncio.timeout(60.0), asyncio.TaskGroup() as group:
            task = group.create_task(asyncio.sleep(0, True))
        return task.result()

    async def task_name(self, suspend: bool) -> tuple[str, bool]:
        before = asyncio.current_task()
        if suspend:
            await asyncio.sleep(0)
        assert before is not None
        return before.get_name(), asyncio.current_task() is before

    async def cleans_up(self) -> None:
        LOG.append("begun")
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(5):
                await asyncio.sleep(0)
            LOG.append("cleaned up")

    async def catches(self, gate: str) -> None:
        LOG.append("begun")
        while "end" not in LOG:
            try:
                await asyncio.sleep(0.001)
            except asyncio.CancelledError:
                LOG.append("interrupted")

    async def variable(self) -> str:
        seen = VARIABLE.get()
        VARIABLE.set("callee's")
        return seen

    async def cancels_itself(self) -> int:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        return 1

    async def nested(self, key: str, method: str, *arguments: Any) -> Any:
        """Calls another grain, of this node or not, from within a turn."""
        return await getattr(self.cluster.grain(User, key), method)(*arguments)


@pytest.mark.parametrize("body", [False, True], ids=["end", "body"])
@pytest.mark.parametrize("after_s", [0.0, 0.01])
@pytest.mark.parametrize("through", [False, True], ids=["direct", "through another grain"])
async def test_a_handled_failure_in_a_group_is_no_cancellation_for_anybody(
    caller: Any, body: bool, after_s: float, through: bool
):
    cluster = await caller(User)
    reference = cluster.grain(User, "a")
    task = asyncio.current_task()
    assert task is not None
    for number in range(1, 4):
        if through:
            assert await cluster.grain(User, "b").nested("a", "handled", after_s, body) == number
        else:
            assert await reference.handled(after_s, body) == number
        assert task.cancelling() == 0
        assert await reference.in_a_group()


async def test_a_group_that_raises_is_an_error_of_the_call(caller: Any):
    reference = (await caller(User)).grain(User, "a")
    with pytest.raises(Exception, match="unhandled errors in a TaskGroup"):
        await reference.raises()
    assert await reference.in_a_group()


@pytest.mark.parametrize("suspend", [False, True])
async def test_a_turn_has_one_task_which_is_not_its_callers(caller: Any, suspend: bool):
    cluster = await caller(User)
    await cluster.grain(User, "a").in_a_group()
    name, same = await cluster.grain(User, "a").task_name(suspend)
    assert same and name == "inaho-worker"
    task = asyncio.current_task()
    assert await cluster.grain(User, "b").nested("a", "task_name", suspend) == ["inaho-worker", True]
    assert asyncio.current_task() is task


async def level(reference: Any, call: str, *arguments: Any) -> None:
    with LevelScope(0.05):
        await getattr(reference, call)(*arguments)


async def edge(reference: Any, call: str, *arguments: Any) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await getattr(reference, call)(*arguments)


async def deadline(reference: Any, call: str, *arguments: Any) -> None:
    with pytest.raises(Timeout), inaho.deadline(0.05):
        await getattr(reference, call)(*arguments)


SCOPES = [level, edge, deadline]


@pytest.mark.parametrize("scope", SCOPES)
async def test_the_clean_up_of_a_turn_is_its_own_whatever_interrupts_the_caller(
    caller: Any, eventually: Any, scope: Any
):
    reference = (await caller(User)).grain(User, "a")
    await reference.in_a_group()
    await scope(reference, "cleans_up")
    await eventually(lambda: LOG == ["begun", "cleaned up"])
    assert await reference.in_a_group()


@pytest.mark.parametrize("scope", SCOPES)
async def test_a_turn_that_catches_is_interrupted_once_and_holds_up_no_caller(caller: Any, eventually: Any, scope: Any):
    reference = (await caller(User)).grain(User, "a")
    await reference.in_a_group()
    await scope(reference, "catches", "gate")  # returns, although the turn goes on
    await eventually(lambda: "interrupted" in LOG)
    LOG.append("end")
    assert await reference.in_a_group()
    assert LOG == ["begun", "interrupted", "end"]


async def test_context_variables_end_at_the_call(caller: Any):
    cluster = await caller(User)
    reference = cluster.grain(User, "a")
    VARIABLE.set("caller's")
    assert await reference.variable() == "nothing"
    assert await reference.variable() == "nothing"
    assert await cluster.grain(User, "b").nested("a", "variable") == "nothing"
    assert VARIABLE.get() == "caller's"


async def test_a_turn_that_cancels_its_own_task_cancels_nobody_else(caller: Any):
    cluster = await caller(User)
    task = asyncio.current_task()
    assert task is not None
    for _ in range(3):
        assert await cluster.grain(User, "a").cancels_itself() == 1
        assert await cluster.grain(User, "b").nested("a", "cancels_itself") == 1
        assert task.cancelling() == 0
        assert await cluster.grain(User, "a").in_a_group()
