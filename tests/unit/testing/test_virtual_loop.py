"""The virtual-time loop and the processes on it."""

from __future__ import annotations

import asyncio
import contextvars
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inaho.errors import Unreachable
from inaho.testing.simulation.errors import Deadlock, Livelock, OutOfTime
from inaho.testing.simulation.simulated_process import SimulatedProcess
from inaho.testing.simulation.virtual_loop import CANCELLED_MIN, VirtualLoop


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop(callbacks_max=10_000)
    yield loop
    loop.close()
    assert not loop.failures


def test_hours_pass_at_once(loop: VirtualLoop):
    began, real = loop.time(), time.monotonic()
    loop.run_until_complete(asyncio.sleep(3600.0))
    assert loop.time() - began == 3600.0
    assert time.monotonic() - real < 5.0


@given(st.lists(st.integers(min_value=0, max_value=5), max_size=40))
def test_timers_fire_in_order_of_time_and_then_of_asking(delays: list[int]):
    loop = VirtualLoop()
    fired: list[tuple[float, int]] = []
    for number, delay in enumerate(delays):
        loop.call_later(delay, fired.append, (delay, number))
    loop.run_until_complete(asyncio.sleep(6.0))
    loop.close()
    assert fired == sorted(fired)
    assert len(fired) == len(delays)


def test_what_is_ready_runs_in_the_order_of_asking_and_before_time_passes(loop: VirtualLoop):
    order: list[str] = []
    loop.call_later(0.001, order.append, "timer")
    for name in ("a", "b", "c"):
        loop.call_soon(order.append, name)
    loop.run_until_complete(asyncio.sleep(0.001))
    assert order == ["a", "b", "c", "timer"]


def test_the_tools_of_asyncio_work(loop: VirtualLoop):
    async def scenario() -> list[int]:
        queue: asyncio.Queue[int] = asyncio.Queue()
        async with asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(asyncio.sleep(number, queue.put_nowait(number)))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5.0):
                await asyncio.Event().wait()
        assert await asyncio.wait_for(asyncio.sleep(1.0, "slept"), 2.0) == "slept"
        assert asyncio.current_task() is not None
        return [await queue.get() for _ in range(3)]

    assert loop.run_until_complete(scenario()) == [0, 1, 2]


def test_sets_of_tasks_are_walked_in_one_order(loop: VirtualLoop):
    async def cancelled_by_a_group() -> list[int]:
        order: list[int] = []

        async def wait(number: int) -> None:
            try:
                await asyncio.sleep(10.0)
            except asyncio.CancelledError:
                order.append(number)
                raise

        async def fail() -> None:
            await asyncio.sleep(1.0)
            raise ValueError

        async def group_that_fails() -> None:
            async with asyncio.TaskGroup() as group:
                for number in range(50):
                    group.create_task(wait(number))
                group.create_task(fail())

        with pytest.raises(ExceptionGroup):
            await group_that_fails()
        return order

    assert loop.run_until_complete(cancelled_by_a_group()) == list(range(50))


def test_a_thread_is_simulated_inline(loop: VirtualLoop):
    async def scenario() -> None:
        began = loop.time()
        assert await asyncio.to_thread(threading.get_ident) == threading.get_ident()
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 // 0)
        assert loop.time() == began

    loop.run_until_complete(scenario())


def test_the_outside_world_is_refused_by_name(loop: VirtualLoop):
    async def scenario() -> None:
        with pytest.raises(RuntimeError, match="create_connection is real I/O"):
            await asyncio.open_connection("127.0.0.1", 1)
        with pytest.raises(RuntimeError, match="subprocess_exec is real I/O"):
            await asyncio.create_subprocess_exec("true")
        with socket.socket() as sock, pytest.raises(RuntimeError, match="add_reader is real I/O"):
            loop.add_reader(sock, print)

    loop.run_until_complete(scenario())


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in dir(asyncio.AbstractEventLoop)
        if name.startswith(("add_", "connect_", "create_", "get", "send", "sock_", "start_", "subprocess_"))
        and name not in {"create_future", "create_task", "get_debug", "get_exception_handler", "get_task_factory"}
    ],
)
def test_no_method_of_a_loop_reaches_the_outside_world(loop: VirtualLoop, name: str):
    with pytest.raises(RuntimeError, match=f"^{name} is real I/O"):
        getattr(loop, name)()


def test_another_thread_may_not_schedule(loop: VirtualLoop):
    caught: list[BaseException] = []

    def elsewhere() -> None:
        try:
            loop.call_soon_threadsafe(print)
        except RuntimeError as error:
            caught.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert "one thread" in str(caught[0])


def test_a_deadlock_says_what_waits_and_where(loop: VirtualLoop):
    async def inner() -> None:
        await asyncio.Event().wait()

    async def outer() -> None:
        await inner()

    with pytest.raises(Deadlock, match=r"locks\.py:\d+ in wait < test_virtual_loop\.py:\d+ in inner < .* in outer"):
        loop.run_until_complete(outer())


def test_a_livelock_is_found(loop: VirtualLoop):
    async def spin() -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(Livelock, match="in spin"):
        loop.run_until_complete(spin())


def test_a_limit_ends_a_run_and_the_loop_can_go_on(loop: VirtualLoop):
    began = loop.time()
    with pytest.raises(OutOfTime, match="sleep"), loop.limit(5.0):
        loop.run_until_complete(asyncio.sleep(60.0))
    assert loop.time() - began == 5.0
    loop.run_until_complete(asyncio.sleep(1.0))


def test_a_real_limit_ends_a_run_that_is_too_slow():
    loop = VirtualLoop(real_limit_s=0.05)

    async def endless() -> None:
        while True:
            await asyncio.sleep(0.001)

    with pytest.raises(OutOfTime, match="real time"):
        loop.run_until_complete(endless())
    loop.close()


def test_a_real_limit_is_seen_after_one_slow_callback():
    loop = VirtualLoop(real_limit_s=0.05)
    loop.call_later(1.0, time.sleep, 0.1)
    with pytest.raises(OutOfTime, match="real time"):
        loop.run_until_complete(asyncio.sleep(2.0))
    loop.close()


def test_cancelled_timers_do_not_pile_up(loop: VirtualLoop):
    kept = loop.call_later(1000.0, print)
    for _ in range(CANCELLED_MIN * 3):
        loop.call_later(500.0, print).cancel()
    assert len(loop._timers) < CANCELLED_MIN * 2
    kept.cancel()


def test_a_failure_in_nobodys_callback_is_kept():
    loop = VirtualLoop()
    loop.call_soon(lambda: 1 // 0)
    loop.run_until_complete(asyncio.sleep(0.1))
    [failure] = loop.failures
    assert isinstance(failure["exception"], ZeroDivisionError)
    loop.close()


# Processes.


async def beat(process: str, log: list[tuple[str, float]]) -> None:
    while True:
        await asyncio.sleep(1.0)
        log.append((process, asyncio.get_running_loop().time() - 1000.0))


def test_a_paused_process_stands_still_and_then_catches_up(loop: VirtualLoop):
    log: list[tuple[str, float]] = []
    one, other = SimulatedProcess(loop, "one"), SimulatedProcess(loop, "other")
    one.loop.create_task(beat("one", log))
    other.loop.create_task(beat("other", log))
    loop.run_until_complete(asyncio.sleep(1.5))
    one.pause()
    loop.run_until_complete(asyncio.sleep(3.0))
    assert log == [("one", 1.0), ("other", 1.0), ("other", 2.0), ("other", 3.0), ("other", 4.0)]
    one.resume()
    loop.run_until_complete(asyncio.sleep(1.2))
    assert log[5:] == [("one", 4.5), ("other", 5.0), ("one", 5.5)]
    for process in (one, other):
        process.kill()
        process.bury()


def test_a_dead_process_runs_nothing_not_even_its_clean_up(loop: VirtualLoop):
    log: list[str] = []

    async def careful() -> None:
        try:
            await asyncio.sleep(1.0)
        finally:
            log.append("cleaned up")

    process = SimulatedProcess(loop, "p")
    process.loop.create_task(careful())
    process.loop.call_later(0.5, log.append, "timer")
    loop.run_until_complete(asyncio.sleep(0.1))
    process.kill()
    loop.run_until_complete(asyncio.sleep(5.0))
    assert log == []
    with pytest.raises(Unreachable, match="p has crashed"):
        process.loop.create_task(careful())
    process.bury()


def test_what_a_process_starts_belongs_to_it_whoever_calls_and_however_deep(loop: VirtualLoop):
    log: list[str] = []
    process = SimulatedProcess(loop, "p")

    async def deep() -> None:
        await asyncio.sleep(0.1)
        asyncio.get_running_loop().call_later(0.1, log.append, "grandchild")
        task = asyncio.create_task(asyncio.sleep(0.2), context=contextvars.Context())
        await task
        log.append("task")

    process.loop.call_soon(lambda: asyncio.ensure_future(deep()))
    loop.run_until_complete(asyncio.sleep(0.15))
    process.pause()
    loop.run_until_complete(asyncio.sleep(5.0))
    assert log == []
    process.resume()
    loop.run_until_complete(asyncio.sleep(1.0))
    assert log == ["grandchild", "task"]


def test_the_test_awaits_what_a_process_does(loop: VirtualLoop):
    process = SimulatedProcess(loop, "p")

    async def scenario() -> Any:
        future = process.loop.create_future()
        process.loop.call_later(1.0, future.set_result, "answer")
        process.pause()
        loop.call_later(3.0, process.resume)
        began = loop.time()
        answer = await future
        return answer, loop.time() - began

    assert loop.run_until_complete(scenario()) == ("answer", 3.0)


def test_the_loop_of_a_process_stands_for_the_loop_itself(loop: VirtualLoop):
    process = SimulatedProcess(loop, "p")
    assert process.loop == loop
    assert {loop: 1}[process.loop] == 1  # type: ignore[index]
    assert process.loop.get_debug() is False
