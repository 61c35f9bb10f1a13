"""Runs the steps of user code: sets the current Task, drives the coroutine, and handles what it raises."""

from __future__ import annotations

import asyncio
import sys
import types
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from typing import Any, Final

from inaho.errors import InahoError
from inaho.errors.inspection import describe, fields_of, is_a
from inaho.runtime.local.closed_generators import close
from inaho.runtime.local.tasks import is_cut_off

__all__ = [
    "CURRENT_TASKS",
    "SIGNALS",
    "as_raised",
    "current_task",
    "report",
    "resume",
    "suspended_on",
    "untold",
]

SIGNALS: Final = (KeyboardInterrupt, SystemExit)
"""What is meant for the process, and is no answer to a call. Whatever else user code raises is a failure of it."""

ANSWER_LATE_S: Final = 0.1
"""A call whose method has ended the program (`sys.exit`) is answered so much later."""


class _CurrentTasks:
    """As the dict of asyncio below, from Python 3.14 on: there the current Task is in the state of the thread."""

    def get(self, loop: asyncio.AbstractEventLoop) -> asyncio.Task[Any] | None:
        return asyncio.current_task(loop)

    def __setitem__(self, loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
        _swap(loop, task)

    def __delitem__(self, loop: asyncio.AbstractEventLoop) -> None:
        _swap(loop, None)


_swap: Final[Any] = getattr(asyncio.tasks, "_swap_current_task", None)  # from Python 3.12 on
_found: Final[Any] = getattr(asyncio.tasks, "_current_tasks", None)
CURRENT_TASKS: Final[Any] = _found if sys.version_info < (3, 14) else _CurrentTasks()
"""The current Task of each loop. To replace one here costs a third of `_leave_task` and `_enter_task`."""
current_task: Final[Callable[[asyncio.AbstractEventLoop], asyncio.Task[Any] | None]] = CURRENT_TASKS.get


def as_raised(error: BaseException, method: str) -> BaseException:
    """What the user's code raised, as an answer: it has run, and nothing of it is a signal to the caller's Task."""
    if is_a(error, InahoError):
        fields_of(error)["maybe_executed"] = True  # a refusal that the method met; its own call was not refused
    elif is_a(error, (asyncio.CancelledError, GeneratorExit)):
        return RuntimeError(f"{method} raised by itself: {describe(error)}")
    return error


def untold(error: BaseException, method: str, broken: Exception) -> RuntimeError:
    """The answer in place of what the user's code raised, when its class raises `broken` at whoever looks at it."""
    return RuntimeError(f"{method} raised {type(error).__name__}, which cannot be described: {describe(broken)}")


def suspended_on(awaited: Any) -> None:
    """A first step has suspended on `awaited`, and the Task that will wait for it has not begun to.

    What a coroutine awaits is marked until its Task waits for it, and nobody else can await it meanwhile. A Task takes
    the mark away at once. So does this, and `resume` puts it back for the Task: turns may await the same future.
    """
    if getattr(awaited, "_asyncio_future_blocking", None):
        awaited._asyncio_future_blocking = False


@types.coroutine
def resume(
    coroutine: Coroutine[Any, Any, Any],
    context: Context,
    awaited: Any,
    cancelled: asyncio.CancelledError | None = None,
) -> Generator[Any, Any, Any]:
    """Drives a coroutine that has suspended on `awaited`, inside the current Task but in its own context.

    Args:
        coroutine: the user's code; its first step has been taken.
        context: where its steps run.
        awaited: what its first step has yielded: a future, or None.
        cancelled: its Task was cancelled before it could wait for `awaited`. As asyncio does, that cancels what is
            awaited, so that a Task, a `gather` or a `TaskGroup` ends before the coroutine goes on; only where there is
            nothing to cancel the coroutine is interrupted at once.
    """
    if cancelled is not None and awaited is not None and awaited.cancel(*cancelled.args[:1]):
        cancelled = None
    if awaited is not None and getattr(awaited, "_asyncio_future_blocking", None) is False:  # see `suspended_on`
        awaited._asyncio_future_blocking = True
    while True:
        try:
            if cancelled is not None:
                error, cancelled = cancelled, None
                raise error
            value = yield awaited
        except GeneratorExit:
            context.run(close, coroutine)
            raise
        except BaseException as error:
            if is_cut_off(error):
                context.run(close, coroutine)
                raise
            step: Callable[[Any], Any] = coroutine.throw
            value = error
        else:
            step = coroutine.send
        try:
            awaited = context.run(step, value)
        except StopIteration as stop:
            return stop.value
        except GeneratorExit as error:  # nobody closes the coroutine here
            raise RuntimeError(f"the user's code raised by itself: {describe(error)}") from error


def report(
    loop: asyncio.AbstractEventLoop, error: BaseException, report: Callable[..., object], *arguments: Any
) -> None:
    """Calls `report` with the arguments, which tells those who wait that user code raised `error`.

    Where that ends the program (`sys.exit`), it does so a moment later: the loop stops now, and its main Task, if
    it waits, must not end in the same round. uvloop would then stop what `asyncio.run` does at the end, too.
    """
    if is_a(error, SIGNALS):
        loop.call_later(ANSWER_LATE_S, report, *arguments)
    else:
        report(*arguments)
