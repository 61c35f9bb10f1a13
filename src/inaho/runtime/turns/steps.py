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
    "undescribed",
]

SIGNALS: Final = (KeyboardInterrupt, SystemExit)
"""Exceptions that end the process and are no answer to a call. Any other exception of user code is a failure."""

ANSWER_LATE_S: Final = 0.1
"""The delay of the answer to a call whose method has ended the program (`sys.exit`)."""


class _CurrentTasks:
    """Stands for the dict `_current_tasks` of asyncio. From Python 3.14 on, the current Task is in the thread state."""

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
    """Turns an exception of the user's code into an answer: it says "executed", and cannot cancel the caller's Task."""
    if is_a(error, InahoError):
        fields_of(error)["maybe_executed"] = True  # a call of the method was refused, but the method itself has run
    elif is_a(error, (asyncio.CancelledError, GeneratorExit)):
        return RuntimeError(f"{method} was not cancelled, but raised {describe(error)}")
    return error


def undescribed(error: BaseException, method: str, broken: Exception) -> RuntimeError:
    """The answer in place of an exception of the user's code that raises `broken` when it is read."""
    return RuntimeError(f"{method} raised {type(error).__name__}, which cannot be described: {describe(broken)}")


def suspended_on(awaited: Any) -> None:
    """Clears the mark that a first step has set on the future that it awaits.

    A coroutine that awaits a future marks it, and while it is marked no other coroutine can await it. A Task clears the
    mark at once when its coroutine suspends. Here the Task that will wait has not begun, so this function clears the
    mark, since other turns may await the same future. `resume` sets it again for the Task.
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
        context: the context of its steps.
        awaited: what its first step has yielded: a future, or None.
        cancelled: the cancellation, if its Task was cancelled before it could wait for `awaited`. As in asyncio, this
            cancels `awaited`, so that a Task, a `gather` or a `TaskGroup` ends before the coroutine continues. If there
            is nothing to cancel, the coroutine is interrupted at once.
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
        except GeneratorExit as error:  # user code raised it: this coroutine is not being closed
            raise RuntimeError(f"the user's code was not closed, but raised {describe(error)}") from error


def report(
    loop: asyncio.AbstractEventLoop, error: BaseException, report: Callable[..., object], *arguments: Any
) -> None:
    """Calls `report` with the arguments, to notify the waiting callers that user code raised `error`.

    If `error` ends the program (`sys.exit`), the call is delayed. The loop stops now, and a main Task that waits for
    the answer must not end in the same iteration: uvloop would then also stop the clean-up of `asyncio.run`.
    """
    if is_a(error, SIGNALS):
        loop.call_later(ANSWER_LATE_S, report, *arguments)
    else:
        report(*arguments)
