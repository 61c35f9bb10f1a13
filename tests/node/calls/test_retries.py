"""Which failed calls are repeated, and which events say that a call has failed: the same near and far (SPEC VA-3.2)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import inaho
from inaho import Grain, InahoError, method
from inaho.errors import Overloaded, StateConflict, StorageFailed
from inaho.events import CallFailed

ERRORS: dict[str, type[InahoError]] = {"conflict": StateConflict, "storage": StorageFailed, "full": Overloaded}


class Flaky(Grain):
    """Each method fails until it has been run `failures` times more; `runs` counts."""

    def __init__(self) -> None:
        self.runs = 0
        self.taken: list[list[int]] = []

    async def _run(self, name: str, failures: int, suspends: bool, numbers: list[int]) -> int:
        self.taken.append(list(numbers))
        numbers.append(0)  # a repeated call gets the caller's arguments, not what an earlier attempt made of them
        self.runs += 1
        if suspends:
            await asyncio.sleep(0)
        if self.runs <= failures:
            raise ERRORS[name]("as the test wants it")
        return self.runs

    @method(idempotent=True)
    async def repeatable(self, name: str, failures: int, suspends: bool, numbers: list[int]) -> int:
        return await self._run(name, failures, suspends, numbers)

    async def once(self, name: str, failures: int, suspends: bool, numbers: list[int]) -> int:
        return await self._run(name, failures, suspends, numbers)

    async def seen(self) -> tuple[int, list[list[int]]]:
        return self.runs, self.taken


@pytest.mark.parametrize("suspends", [False, True])
@pytest.mark.parametrize("name", ["conflict", "storage"])
async def test_an_idempotent_call_is_repeated(caller: Any, name: str, suspends: bool):
    cluster = await caller(Flaky, rpc={"retry_base_s": 0.001})
    grain = cluster.grain(Flaky, "a")
    await grain.seen()  # it is active and idle: a call of its own node takes the shortest path
    assert await grain.repeatable(name, 1, suspends, [7]) == 2
    assert await grain.seen() == (2, [[7], [7]])


@pytest.mark.parametrize("suspends", [False, True])
@pytest.mark.parametrize(
    ("way", "name", "runs"),
    [("repeatable", "conflict", 3), ("repeatable", "full", 1), ("once", "conflict", 1), ("once", "storage", 1)],
)
async def test_a_call_that_fails_for_good_is_an_event(caller: Any, way: str, name: str, runs: int, suspends: bool):
    cluster = await caller(Flaky, rpc={"retry_base_s": 0.001})
    grain = cluster.grain(Flaky, "a")
    await grain.seen()
    events = cluster.events(CallFailed)
    with pytest.raises(ERRORS[name]) as failed:
        await getattr(grain, way)(name, 99, suspends, [7])
    event = await anext(events)
    assert (event.identity.key, event.method, event.code) == ("a", way, ERRORS[name].code)
    assert failed.value.identity == "Flaky/a"
    assert await grain.seen() == (runs, [[7]] * runs)


async def test_a_call_that_was_told_not_to_retry_is_not_repeated(caller: Any):
    cluster = await caller(Flaky)
    grain = cluster.grain(Flaky, "a", retry=False)
    await grain.seen()
    with pytest.raises(inaho.errors.StateConflict):
        await grain.repeatable("conflict", 1, False, [7])
    assert await grain.seen() == (1, [[7]])
