"""One call at one activation, and what calls made from it inherit.

A `Turn` is made per call, so it is a Struct: three times as fast to make as an instance of a plain class.
"""

from __future__ import annotations

import asyncio
import math
import sys
import types
from collections.abc import Callable, Coroutine, Generator
from contextlib import AbstractContextManager
from contextvars import Context, ContextVar, Token
from typing import TYPE_CHECKING, Any, Final

import msgspec

from inaho.errors import InahoError
from inaho.errors.inspection import describe, fields_of, is_a
from inaho.runtime.local.closed_generators import close, driven
from inaho.wire.frames import ChainLink

if TYPE_CHECKING:
    from inaho.runtime.connections.incoming import Incoming
    from inaho.runtime.grains.grain import Grain
    from inaho.runtime.grains.method import GrainMethod

__all__ = [
    "ANSWER_LATE_S",
    "CURRENT",
    "CURRENT_TASKS",
    "CUT_OFF",
    "ONE_WAY",
    "SIGNALS",
    "Scope",
    "Turn",
    "as_raised",
    "current_task",
    "deadline",
    "resume",
    "suspended_on",
    "until_cut_off",
    "untold",
]

SIGNALS: Final = (KeyboardInterrupt, SystemExit)
"""What is meant for the process, and is no answer to a call. Whatever else user code raises is a failure of it."""

ANSWER_LATE_S: Final = 0.1
"""A call whose method has ended the program (`sys.exit`) is answered so much later."""

CUT_OFF: Final = "inaho: cut off"
"""Message of the last cancellation of user code that catches all others: it is closed where it waits."""


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


class Scope(msgspec.Struct, eq=False):
    """What calls made from here inherit, where `inaho.deadline` has narrowed it.

    Attributes:
        deadline: monotonic seconds.
        turn: the turn that is running; None outside grains.
    """

    deadline: float
    turn: Turn | None

    @property
    def over(self) -> bool:
        """See `Turn.over`."""
        return self.turn is not None and self.turn.over


ONE_WAY: Final = Scope(math.inf, None)
"""The scope of one-way calls. They inherit nothing, and take no step of the callee inside the step of their sender."""


class Turn(msgspec.Struct, eq=False):
    """One call at one activation.

    Attributes:
        method: what is called.
        grain: the activation.
        arguments: positional, in the order of the method's parameters.
        connection: where the answer goes; None for a call from this node.
        correlation: id of the call on that connection.
        number: the method's number on that connection, echoed in the reply.
        caller: the turn that waits for this one, when it runs on this node.
        chain: turns on other nodes that wait for this one, outermost first.
        depth: turns that wait for this one, on any node.
        trace: W3C `traceparent`, or empty.
        future: answer for a caller on this node, when the turn had to wait or has suspended.
        task: the Task that runs it, once it has suspended.
        cancelled: nobody waits any more; "" until then, else why.
        id: number of the turn on this node; 0 until somebody asks.
        awaiting: what it awaits since its first step, until its worker has begun to wait for that.
        hook: it is no call but `on_activate` or `on_deactivate`, for which the turns in the queue wait.
        over: it has ended. A Task that it started may live on, and inherits neither deadline nor chain from then on.
    """

    method: GrainMethod
    grain: Grain[Any]
    arguments: tuple[Any, ...]
    connection: Incoming | None
    correlation: int
    deadline: float
    number: int = 0
    caller: Turn | None = None
    chain: tuple[ChainLink, ...] = ()
    depth: int = 0
    trace: str = ""
    future: asyncio.Future[Any] | None = None
    task: asyncio.Task[Any] | None = None
    cancelled: str = ""
    id: int = 0
    over: bool = False
    hook: bool = False
    awaiting: Any = None

    @property
    def turn(self) -> Turn:
        """Itself: calls made from a turn are made by it (`Scope.turn`)."""
        return self

    @property
    def read_only(self) -> bool:
        return self.method.read_only

    def cancel(self, why: str) -> None:
        """Nobody waits any more: interrupts the user's code if it runs, and keeps it from starting if not."""
        if not self.cancelled:
            self.cancelled = why
            if self.task is not None:
                self.task.cancel()


CURRENT: ContextVar[Scope | Turn | None] = ContextVar("inaho_scope", default=None)
"""The turn that runs, or a scope within it; None outside both."""


class _Deadline:
    """See `deadline`. `contextlib.contextmanager` sets the traceback of what is raised in its block, which the class of
    a user's exception may refuse."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._tokens: list[Token[Scope | Turn | None]] = []

    def __enter__(self) -> None:
        now = asyncio.get_running_loop().time()
        from inaho.runtime.turns.inherited import inherited

        outer = CURRENT.get()
        if outer is not None:
            outer = inherited(outer)
        until = now + max(self._seconds, 0.0)
        scope = Scope(until, None) if outer is None else Scope(min(until, outer.deadline), outer.turn)
        self._tokens.append(CURRENT.set(scope))

    def __exit__(self, *raised: object) -> None:
        CURRENT.reset(self._tokens.pop())


def deadline(seconds: float) -> AbstractContextManager[None]:
    """Bounds every call made in the block, and the calls that those make, by one deadline.

    Unlike `asyncio.timeout` it travels: the callee knows how long its caller waits.

    Args:
        seconds: from now; 0 or more.

    Raises:
        Timeout: by calls that are not answered in time.
    """
    return _Deadline(seconds)


def as_raised(error: BaseException, method: str) -> BaseException:
    """What the user's code raised, as an answer: it has run, and nothing of it is a signal to the caller's Task."""
    if is_a(error, InahoError):
        fields_of(error)["maybe_executed"] = True  # a refusal that the method met; its own call was not refused
    elif is_a(error, (asyncio.CancelledError, GeneratorExit)):
        return RuntimeError(f"{method} raised by itself: {describe(error)}")
    return error


def untold(error: BaseException, method: str, broken: Exception) -> RuntimeError:
    """The answer in place of what the user's code raised, when its class raises `broken` at whoever looks at it."""
    return RuntimeError(f"{method} raised {type(error).__name__}, which cannot be told: {describe(broken)}")


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


def is_cut_off(error: BaseException) -> bool:
    """Whether user code has caught its cancellation too often and is to be closed."""
    return is_a(error, asyncio.CancelledError) and CUT_OFF in error.args


async def until_cut_off(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Runs a coroutine in the current Task and context. Cancelled with `CUT_OFF` it is closed, whatever it catches."""
    try:
        return await driven(coroutine, is_cut_off)
    except (KeyboardInterrupt, SystemExit):  # they leave the loop here, and nobody awaits this Task
        task = asyncio.current_task()
        assert task is not None
        task.add_done_callback(_retrieve)
        raise


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Marks what a Task ended with as seen."""
    if not task.cancelled():
        task.exception()
