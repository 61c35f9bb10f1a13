"""Runs turns for callers on the same node: the first step inside the caller's Task, as another Task.

User code must behave the same wherever its caller is, so it does not run in its caller's Task. There the caller's
time-outs and cancel scopes would interrupt it, and its own `TaskGroup` would cancel the caller. A new Task per call
would be correct too, but several times slower. So the first step is taken as for a call from another node (`runner`):
the Task of an idle worker becomes the current Task for this step, and then the caller's Task is the current one again.
If the turn suspends, the worker continues it, and the caller waits for a future.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final

from inaho.errors import Timeout
from inaho.errors.inspection import is_a
from inaho.runtime.grains.activation import CURRENT, Turn
from inaho.runtime.turns.steps import CURRENT_TASKS, SIGNALS, as_raised, resume, suspended_on, undescribed
from inaho.runtime.turns.worker import Worker
from inaho.wire.exceptions import as_seen_by_caller
from inaho.wire.frames import HEADER_REST

if TYPE_CHECKING:
    from inaho.runtime.turns.runner import TurnRunner

__all__ = ["SUSPENDED", "first_step", "run_here", "spawn_begun", "wait_for_turn"]

SUSPENDED: Final = object()
"""What `first_step` returns for a turn that has not ended."""


def first_step(runner: TurnRunner, turn: Turn) -> Any:
    """Takes the first step of a turn for a caller on this node. The turn must be marked as running at its activation.

    Returns:
        The result, not copied; or `SUSPENDED`, then the caller must await `wait_for_turn`.

    Raises:
        BaseException: what a call from another node would raise.
    """
    grain, method = turn.grain, turn.method
    loop, idle = runner.loop, runner.idle
    worker = idle.pop() if idle else Worker(runner)
    task = worker.task
    context = worker.context.copy()
    caller = CURRENT_TASKS.get(loop)
    CURRENT_TASKS[loop] = task
    try:
        context.run(CURRENT.set, turn)
        coroutine = method.function(grain, *turn.arguments) if method.simple else method.call(grain, turn.arguments)
        awaited = context.run(coroutine.send, None)
    except StopIteration as stop:
        if caller is None:
            del CURRENT_TASKS[loop]
        else:
            CURRENT_TASKS[loop] = caller
        if not task.cancelling():  # otherwise the user's code has cancelled its own Task and did not await that
            idle.append(worker)
        turn.over = True
        if grain._inaho_turn is turn:
            grain._inaho_turn = None
        else:
            runner.release(turn)
        return stop.value
    except BaseException as error:
        _restore(loop, caller)
        if not task.cancelling():
            idle.append(worker)
        seen = _failed(runner, turn, error)
    else:
        _restore(loop, caller)
        turn.future = loop.create_future()
        runner.suspend(turn, worker, coroutine, context, awaited)
        return SUSPENDED
    try:
        raise seen  # outside the `except` block, so that it gets no `__context__`
    finally:
        del seen  # the traceback has this frame: avoid a reference cycle


def _restore(loop: asyncio.AbstractEventLoop, caller: asyncio.Task[Any] | None) -> None:
    """Makes the caller's Task the current one again."""
    if caller is None:
        del CURRENT_TASKS[loop]
    else:
        CURRENT_TASKS[loop] = caller


def spawn_begun(runner: TurnRunner, coroutine: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
    """Starts a Task of the node, and takes its first step now, inside the caller's Task.

    After that it must continue in the same order as other waiting Tasks: the Task whose future is done first continues
    first. But the loop starts the new Task only in its next iteration, and the awaited future may be done before. So
    until the Task itself waits for the future, a callback of the future takes the next step.

    Args:
        runner: of the node.
        coroutine: code of the runtime; it raises nothing.
        name: of the Task.
    """
    loop, context = runner.loop, Context()
    begun = False
    over = False  # the coroutine has ended, or its Task takes the steps from now on
    awaited: Any = None

    def step(_: object = None) -> None:
        nonlocal awaited, over
        if over:
            return
        over = True
        caller = CURRENT_TASKS.get(loop)
        CURRENT_TASKS[loop] = task
        try:
            awaited = inner.run(coroutine.send, None)
        except StopIteration:
            return
        finally:
            _restore(loop, caller)
        over = False
        if awaited is not None:
            suspended_on(awaited)
            awaited.add_done_callback(step, context=context)

    async def go_on() -> None:
        nonlocal over
        cancelled: asyncio.CancelledError | None = None
        try:
            # The callback takes the next step. And a loop may run this Task already while `spawn` makes it.
            while not begun or (not over and awaited is not None and awaited.done()):  # noqa: ASYNC110
                await asyncio.sleep(0)
        except asyncio.CancelledError as error:
            cancelled = error
        if over:
            return
        over = True
        if awaited is not None:
            awaited.remove_done_callback(step)
        try:
            await resume(coroutine, inner, awaited, cancelled)
        finally:
            del cancelled  # its traceback has this frame: avoid a reference cycle

    def end(_: object) -> None:
        nonlocal over
        over = True
        coroutine.close()  # if the Task was cancelled before it continued

    task = runner.tasks.spawn(go_on(), name=name, drives=True, context=context)
    task.add_done_callback(end)
    inner = context.copy()
    begun = True
    step()
    return task


def _failed(runner: TurnRunner, turn: Turn, error: BaseException) -> BaseException:
    """Ends a turn whose first step has raised `error`; returns the error for the caller."""
    host, method = turn.grain._inaho_host, turn.method.name
    try:
        host.turn_failed(turn, error)
        if is_a(error, SIGNALS):
            return error
        answer = as_raised(error, method)
    except Exception as broken:
        answer = undescribed(error, method, broken)
    finally:
        runner.release(turn)
    return as_seen_by_caller(
        answer,
        identity=f"{host.name}/{turn.grain._inaho_key}",
        authority=host.authority,
        bytes_max=host.local.config.transport.frame_bytes_max - HEADER_REST,
        method=method,
    )


async def wait_for_turn(runner: TurnRunner, turn: Turn) -> Any:
    """Waits until its deadline for a turn on this node that has suspended or is in the queue.

    A caller that is cancelled, or whose deadline has passed, continues at once, like a caller on another node. The turn
    is interrupted, and the caller does not wait for its clean-up.

    Returns:
        The result, copied if the caller could change it.
    """
    assert turn.future is not None
    limit = runner.loop.call_at(turn.deadline, _expire, runner, turn)
    try:
        return await turn.future
    except asyncio.CancelledError:
        runner.abandon(turn, "caller")
        raise
    finally:
        limit.cancel()
        turn.future = None  # its error has a traceback with this frame: avoid a reference cycle


def _expire(runner: TurnRunner, turn: Turn) -> None:
    """The deadline of a call on this node has passed."""
    future = turn.future
    if future is None or future.done():
        return
    host = turn.grain._inaho_host
    started = runner.abandon(turn, "deadline")
    where = "while the method ran" if started else "in the queue"
    identity = f"{host.name}/{turn.grain._inaho_key}"
    future.set_exception(
        Timeout(f"the deadline passed {where}", identity=identity, authority=host.authority, maybe_executed=started)
    )


async def run_here(runner: TurnRunner, turn: Turn) -> Any:
    """Runs a turn that is marked as running to its end. Returns the result, copied if the caller could change it."""
    result = first_step(runner, turn)
    if result is SUSPENDED:
        return await wait_for_turn(runner, turn)
    if result.__class__ in turn.method.plain_results or turn.method.is_plain_result(result):
        return result
    return turn.method.copy_result(result, turn.grain._inaho_key, turn.grain._inaho_host)
