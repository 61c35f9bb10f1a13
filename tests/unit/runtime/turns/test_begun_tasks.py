"""A Task whose first step was taken at once waits from then on, and goes on in its turn like any other."""

from __future__ import annotations

import asyncio
from itertools import product
from typing import Any

import pytest

from inaho.runtime.local.tasks import NodeTasks
from inaho.runtime.turns.inline import spawn_begun
from inaho.runtime.turns.runner import TurnRunner

ROUNDS = 3
WAITERS = 3


def new_runner() -> TurnRunner:
    loop = asyncio.get_running_loop()
    return TurnRunner(loop, NodeTasks(loop), depth=8, drop_oldest=False, node_id=lambda: "0" * 16, call_chain_max=64)


Futures = list[list[asyncio.Future[None]]]


async def wait(number: int, futures: Futures, log: list[tuple[int, int]]) -> None:
    for turn in range(ROUNDS):
        await futures[turn][number]
        log.append((turn, number))


@pytest.mark.parametrize("begun", list(product([True, False], repeat=WAITERS)))
@pytest.mark.parametrize("set_at", [(first, first + more) for first in range(WAITERS + 1) for more in range(3)])
async def test_who_waits_for_what_is_done_first_goes_on_first(begun: tuple[bool, ...], set_at: tuple[int, int]) -> None:
    """Futures are done before, between and after the moments at which the loop starts the Tasks."""
    loop, runner = asyncio.get_running_loop(), new_runner()
    futures: Futures = [[loop.create_future() for _ in range(WAITERS)] for _ in range(ROUNDS)]
    log: list[tuple[int, int]] = []
    tasks = {number: asyncio.create_task(wait(number, futures, log)) for number in range(WAITERS) if not begun[number]}
    await asyncio.sleep(0)

    def end(turn: int) -> None:
        for future in futures[turn]:
            future.set_result(None)

    for number in range(WAITERS + 3):
        for turn, place in enumerate(set_at):
            if place == number:
                loop.call_soon(end, turn)
        if number < WAITERS and begun[number]:
            tasks[number] = spawn_begun(runner, wait(number, futures, log), name=f"begun {number}")
    loop.call_soon(loop.call_soon, end, 2)
    await asyncio.gather(*tasks.values())
    for turn in range(ROUNDS):
        assert [number for which, number in log if which == turn] == list(range(WAITERS)), log
    assert not runner.tasks.running


@pytest.mark.parametrize("hops", range(4))
@pytest.mark.parametrize("done", ["before", "after", "late"])
async def test_it_can_be_cancelled_at_any_moment(done: str, hops: int) -> None:
    """While it waits for a future, also one that is done just before or after the cancellation."""
    loop, runner = asyncio.get_running_loop(), new_runner()
    log: list[object] = []
    failed: list[object] = []
    loop.set_exception_handler(lambda _, context: failed.append(context))
    future = loop.create_future()

    async def wait_twice() -> None:
        try:
            await future
            log.append("done")
            await asyncio.sleep(0)
            log.append("slept")
        except BaseException as error:
            log.append(type(error))
            raise

    task = spawn_begun(runner, wait_twice(), name="begun")
    for _ in range(hops):
        await asyncio.sleep(0)
    if done == "before":
        future.set_result(None)
    task.cancel()
    if done == "after" and not future.done():
        future.set_result(None)
    await asyncio.wait([task])
    for _ in range(3):
        await asyncio.sleep(0)
        if not future.done():
            assert not hops, "the Task has passed its cancellation on"
            future.set_result(None)
    assert task.cancelled()
    assert log[-1] in (asyncio.CancelledError, GeneratorExit)  # the latter where the loop had not started it
    assert log[:-1] in ([], ["done"])
    assert not failed
    assert not runner.tasks.running


async def test_several_may_wait_for_the_same_future_before_the_loop_starts_them() -> None:
    loop, runner = asyncio.get_running_loop(), new_runner()
    future: asyncio.Future[int] = loop.create_future()
    got: list[tuple[int, int]] = []

    async def wait_for_it(number: int) -> None:
        got.append((number, await future))

    tasks: list[asyncio.Task[Any]] = [spawn_begun(runner, wait_for_it(number), name="begun") for number in range(2)]
    tasks.append(asyncio.create_task(wait_for_it(2)))
    await asyncio.sleep(0)
    tasks.append(spawn_begun(runner, wait_for_it(3), name="begun"))
    future.set_result(7)
    await asyncio.gather(*tasks)
    assert got == [(number, 7) for number in range(4)]
