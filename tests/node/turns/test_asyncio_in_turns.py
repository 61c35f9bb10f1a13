"""asyncio inside of turns: Tasks, contexts, and code of a grain that cancels its own Task."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest

import inaho
from inaho import Grain
from support.slow_grain import Slow

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


class Usual(Grain):
    """Uses asyncio as any code does."""

    def __init__(self) -> None:
        self.tasks: list[Any] = []

    async def timeout(self) -> str:
        try:
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        except TimeoutError:
            return "timed out"
        return "?"

    async def group(self, count: int) -> list[int]:
        async def one(number: int) -> int:
            await asyncio.sleep(0)
            return number

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(number)) for number in range(count)]
        return [task.result() for task in tasks]

    async def failing_group(self) -> str:
        async def fail() -> None:
            raise ValueError("in the group")

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
                await asyncio.Event().wait()
        except ExceptionGroup as errors:
            return "caught" if errors.subgroup(ValueError) else "?"

    async def same_task(self) -> bool:
        before = asyncio.current_task()
        await asyncio.sleep(0)
        return before is not None and before is asyncio.current_task()

    async def set(self, value: str) -> tuple[str, str]:
        before = VARIABLE.get()
        VARIABLE.set(value)
        await asyncio.sleep(0)
        return before, VARIABLE.get()

    async def get(self) -> str:
        return VARIABLE.get()

    async def cancel_itself(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    async def cancel_itself_and_return(self, later: bool) -> str:
        if later:
            await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        return "returned"

    async def await_cancelled(self) -> None:
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.cancel)
        await future

    async def where(self) -> list[str]:
        return [str(self.context.caller), self.context.caller_authority, str(self.context.epoch > 0)]


async def test_asyncio_inside_of_a_turn(caller):
    cluster = await caller(Usual)
    grain = cluster.grain(Usual, "a")
    for _ in range(2):
        assert await grain.timeout() == "timed out"
        assert await grain.group(5) == [0, 1, 2, 3, 4]
        assert await grain.failing_group() == "caught"
        assert await grain.same_task()


async def test_turns_have_contexts_of_their_own(caller):
    cluster = await caller(Usual)
    grain = cluster.grain(Usual, "a")
    for value in ("x", "y"):
        assert tuple(await grain.set(value)) == ("unset", value)
        assert await grain.get() == "unset"
        assert VARIABLE.get() == "unset"


async def test_a_turn_does_not_inherit_from_the_one_it_waited_for(fleet, eventually):
    member = await fleet.member(Slow, Usual)
    client = await fleet.client()

    grain = member.grain(Usual, "a")
    await grain.get()

    async def near() -> Any:
        VARIABLE.set("of the caller")
        return await grain.set("x")

    first = asyncio.ensure_future(near())
    far = asyncio.ensure_future(client.grain(Usual, "a").get())
    await asyncio.gather(first, far)
    assert far.result() == "unset"


@pytest.mark.parametrize("place_of_calls", ["memory", "tcp"])
async def test_user_code_that_cancels_its_own_task(fleet, place_of_calls):
    fleet.over = place_of_calls
    await fleet.member(Usual)
    client = await fleet.client()
    grain, other = client.grain(Usual, "a"), client.grain(Usual, "b")
    for _ in range(3):
        with pytest.raises(RuntimeError, match="cancel_itself"):
            await grain.cancel_itself()
        for later in (False, True):
            results = await asyncio.gather(
                grain.cancel_itself_and_return(later), *(other.group(3) for _ in range(3)), grain.same_task()
            )
            assert results == ["returned", *[[0, 1, 2]] * 3, True]


async def test_a_method_that_awaits_what_was_cancelled(caller):
    cluster = await caller(Usual)
    grain = cluster.grain(Usual, "a")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="await_cancelled"):
            await grain.await_cancelled()
    assert await grain.same_task()


class Starter(Grain):
    """Starts a Task that outlives its turn, and its deadline."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()

    async def ready(self) -> None: ...

    async def begin(self) -> None:
        self.left = asyncio.create_task(self._later())

    async def _later(self) -> str:
        await self.gate.wait()
        try:
            _ = self.context
        except RuntimeError:
            return await self.cluster.grain(Echoing, "other").say("still here")
        return "the context of a turn that is over"

    async def outcome(self) -> str:
        self.gate.set()
        return await self.left


class Echoing(Grain):
    async def say(self, text: str) -> str:
        return text


async def test_a_task_that_outlives_its_turn_inherits_nothing_from_it(caller):
    cluster = await caller(Starter, Echoing)
    starter = cluster.grain(Starter, "a")
    await starter.ready()
    with inaho.deadline(1.0):  # of the turn, which the Task must not be bound by
        await starter.begin()
    await asyncio.sleep(1.05)
    assert await starter.outcome() == "still here"
