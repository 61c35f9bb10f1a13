"""What is closed where it waits runs its `finally`, whatever stands between it and who closes it."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextvars import copy_context
from typing import Any

import pytest

from inaho.runtime.local.closed_generators import THROWS, close, closed_where_it_waits
from inaho.runtime.local.tasks import CUT_OFF, until_cut_off
from inaho.runtime.turns.steps import resume

log: list[str] = []


@pytest.fixture(autouse=True)
def empty() -> None:
    log.clear()


async def stubborn() -> None:
    """Catches every cancellation."""
    while True:
        try:
            await asyncio.sleep(1000.0)
        except asyncio.CancelledError:
            log.append("caught")


async def numbers() -> AsyncIterator[int]:
    try:
        yield 1
        await stubborn()
    finally:
        log.append("numbers")


async def doubled() -> AsyncIterator[int]:
    try:
        async for number in numbers():
            yield 2 * number
    finally:
        log.append("doubled")


class Tripled:
    """An async iterator that is no generator, over one."""

    def __init__(self) -> None:
        self._numbers = numbers()

    def __aiter__(self) -> Tripled:
        return self

    async def __anext__(self) -> int:
        return 3 * await anext(self._numbers)


async def read(items: AsyncIterator[int]) -> None:
    try:
        async for _ in items:
            log.append("item")
    finally:
        log.append("reader")


async def read_guarded(items: AsyncIterator[int]) -> None:
    """As a stream does it."""
    await closed_where_it_waits(read(items))


async def resumed(coroutine: Coroutine[Any, Any, Any]) -> None:
    """As a worker sees a turn through."""
    context = copy_context()
    await resume(coroutine, context, context.run(coroutine.send, None))


READERS = pytest.mark.parametrize("reader", [read, read_guarded])
NEEDED = pytest.mark.skipif(sys.version_info >= (3, 13), reason="Python closes them")
RUNNERS = pytest.mark.parametrize("runner", [until_cut_off, resumed])


@READERS
@RUNNERS
@pytest.mark.parametrize(
    ("items", "closed"),
    [
        (numbers, ["numbers", "reader"]),
        (doubled, ["numbers", "doubled", "reader"]),
        (Tripled, ["numbers", "reader"]),
    ],
)
async def test_what_is_cut_off_closes_the_generators_that_it_reads(
    reader: Any, runner: Callable[[Any], Awaitable[None]], items: Any, closed: list[str]
) -> None:
    task = asyncio.ensure_future(runner(reader(items())))
    for _ in range(3):
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.sleep(0)
    task.cancel(CUT_OFF)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["item", "caught", "caught", "caught", *closed]


@pytest.mark.parametrize("items", [numbers, doubled])
def test_what_its_loop_leaves_behind_is_closed_by_the_collector(items: Any) -> None:
    async def leave_behind() -> None:
        task = asyncio.ensure_future(until_cut_off(read_guarded(items())))
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave_behind())
    loop.close()
    del loop
    gc.collect()
    assert log == ["item", *(["numbers"] if items is numbers else ["numbers", "doubled"]), "reader"]


async def test_a_generator_that_is_being_closed_is_closed_where_it_waits() -> None:
    async def slow_to_close() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            try:
                await stubborn()
            finally:
                log.append("closed")

    stream: Any = slow_to_close()
    await anext(stream)

    async def close_it() -> None:
        await closed_where_it_waits(stream.aclose())

    task = asyncio.ensure_future(until_cut_off(close_it()))
    await asyncio.sleep(0)
    task.cancel(CUT_OFF)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["closed"]


@NEEDED
async def test_a_generator_that_awaits_for_ever_while_it_is_closed_is_left() -> None:
    async def immortal() -> AsyncIterator[int]:
        while len(log) < 100:  # the collector closes it at last
            try:
                await asyncio.sleep(1000.0)
            except GeneratorExit:
                log.append("refused")
        yield 1

    coroutine = read(immortal())
    coroutine.send(None)
    close(coroutine)
    assert log == ["refused"] * THROWS + ["reader"]
    log.extend([""] * 100)


@RUNNERS
async def test_what_a_clean_up_raises_reaches_the_reader_and_all_are_closed(runner: Any) -> None:
    async def broken() -> AsyncIterator[int]:
        try:
            async for number in numbers():
                yield number
        finally:
            raise KeyError("in its clean-up")

    async def reader() -> None:
        try:
            await closed_where_it_waits(read(broken()))
        except KeyError:
            log.append("told")
            raise

    task = asyncio.ensure_future(runner(reader()))
    for _ in range(2):
        await asyncio.sleep(0)
    task.cancel(CUT_OFF)
    with pytest.raises(KeyError):
        await task
    assert log == ["item", "numbers", "reader", "told"]
