"""A simulated process: decides whether a callback that belongs to it may run now.

A process runs, is paused (as by SIGSTOP: none of its code runs while time passes, then everything that was due runs at
once) or is dead (as by SIGKILL: none of its code ever runs again, not even clean-up). The loop checks this before every
callback.

A node gets a `ProcessLoop` as its loop: the one virtual loop, except that callbacks scheduled through it belong to the
process, whoever calls. Without it the timers that a test's call sets in a node would belong to the test, and a pause of
the node would not hold them.

What the test does through a node is a Task of that process (`enter`), for which the test waits outside. Otherwise a
turn that runs in its caller's Task would belong to the test, and would continue, and save, when the process is dead.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import inspect
import weakref
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, Final, TypeVar

from inaho.errors import Unreachable

__all__ = ["OWNER", "ProcessHost", "ProcessLoop", "SimulatedProcess"]

T = TypeVar("T")

RUNNING: Final = "running"
PAUSED: Final = "paused"
DEAD: Final = "dead"

END: Final = object()

OWNER: Final[contextvars.ContextVar[SimulatedProcess | None]] = contextvars.ContextVar(
    "inaho_simulated_process", default=None
)
"""The process that the running code belongs to; None: the test, the network, the simulator."""


class ProcessHost(asyncio.BaseEventLoop, ABC):
    """The loop on which all simulated processes run. It holds back callbacks of a paused process."""

    @abstractmethod
    def requeue(self, handles: list[Any]) -> None:
        """Makes held-back callbacks ready again, in order."""


class SimulatedProcess:
    """One process, from its start to its end.

    Args:
        loop: of the simulation.
        name: for messages.

    Attributes:
        name: as given.
        state: `running`, `paused` or `dead`.
        held: callbacks that became due while it was paused. As many as the process has timers and connections.
        tasks: its tasks that are still referenced.
        loop: the loop to give to the node.
    """

    def __init__(self, loop: ProcessHost, name: str) -> None:
        self.name = name
        self.state = RUNNING
        self.held: list[Any] = []
        self.tasks: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()
        self.loop = ProcessLoop(loop, self)
        self._loop = loop
        self._awaited: dict[asyncio.Future[Any], None] = {}
        """What callers outside of it wait for; a dict, for its order."""
        self._end = ""
        self._remains: list[asyncio.Task[Any]] = []

    # Calls of others through it.

    async def enter(self, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Runs a coroutine in a Task of this process; from inside of it, in the Task that is there.

        A caller outside that is cancelled does not wait for the Task, which may be paused: it is cancelled too.

        Args:
            start: makes the coroutine; not called when the process is dead.

        Raises:
            Unreachable: the process is dead, or dies meanwhile, when `maybe_executed` is true.
        """
        if OWNER.get() is self:
            return await start()
        self.check_alive()
        task = self.loop.create_task(start())
        answer: asyncio.Future[T] = self._loop.create_future()
        self._awaited[answer] = None
        task.add_done_callback(functools.partial(_copy, answer))
        try:
            return await answer
        finally:
            self._awaited.pop(answer, None)
            if self.state is not DEAD:
                task.cancel()
            del task, answer  # they have the error, and the error's traceback this frame: leave no circle behind

    async def enter_stream(self, start: Callable[[], AsyncGenerator[T]]) -> AsyncGenerator[T]:
        """As `enter`, for a stream: each item is waited for in the process."""
        if OWNER.get() is self:
            async with aclosing(start()) as own:
                async for item in own:
                    yield item
            return
        items = start()

        async def following() -> Any:
            return await anext(items, END)

        while (found := await self.enter(following)) is not END:  # where this raises, the stream has ended, or ends
            try:
                yield found
            except BaseException:
                if self.state is not DEAD:
                    await self.enter(items.aclose)
                raise

    def check_alive(self) -> None:
        """Raises `Unreachable` when it is dead."""
        if self.state is DEAD:
            raise Unreachable(f"{self.name} has {self._end}; nothing can be done through it")

    # Pause, continue, end.

    def pause(self) -> None:
        """Holds back its callbacks from now on."""
        if self.state is RUNNING:
            self.state = PAUSED

    def resume(self) -> None:
        """Runs it again, beginning with the callbacks that were held back."""
        if self.state is PAUSED:
            self.state = RUNNING
            held, self.held = self.held, []
            self._loop.requeue(held)

    def kill(self, end: str = "crashed") -> None:
        """It never runs again. Its tasks are kept as they are, so that no finalizer runs for them.

        Args:
            end: how it ended, for the errors of callers.
        """
        if self.state is not DEAD:
            self._end = end
        self.state = DEAD
        self.held.clear()
        self._remains = [task for task in self.tasks if not task.done()]
        awaited, self._awaited = self._awaited, {}
        for answer in awaited:
            if not answer.done():
                answer.set_exception(
                    Unreachable(f"{self.name}, through which the call was made, has {end}", maybe_executed=True)
                )
                answer.exception()  # retrieved here: there may be no caller

    def bury(self) -> None:
        """Ends the rest of its coroutines silently, at the end of a simulation."""
        inside = contextvars.Context()
        inside.run(OWNER.set, self)
        for task in self._remains:
            inside.run(close_quietly, task)
        self._remains.clear()

    def __repr__(self) -> str:
        return f"<SimulatedProcess {self.name} {self.state}>"


class ProcessLoop:
    """The simulation's loop as one process sees it: what is scheduled through it belongs to that process.

    It is equal to the loop itself and hashes alike, because asyncio looks up the current task by the loop.
    """

    def __init__(self, loop: ProcessHost, process: SimulatedProcess) -> None:
        self._loop = loop
        self._process = process
        self.time = loop.time
        self.create_future = loop.create_future

    def call_soon(self, callback: Any, *args: Any, context: contextvars.Context | None = None) -> asyncio.Handle:
        return self._loop.call_soon(callback, *args, context=self._own(context))

    def call_later(
        self, delay: float, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self._loop.call_later(delay, callback, *args, context=self._own(context))

    def call_at(
        self, when: float, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self._loop.call_at(when, callback, *args, context=self._own(context))

    def create_task(
        self,
        coro: Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
        **options: Any,
    ) -> asyncio.Task[T]:
        try:
            self._process.check_alive()
        except Unreachable:
            close_coroutine(coro)
            raise
        return self._loop.create_task(coro, name=name, context=self._own(context), **options)

    def _own(self, context: contextvars.Context | None) -> contextvars.Context:
        """`context`, or a copy of the current one, as one of this process."""
        if context is None:
            context = contextvars.copy_context()
        if context.get(OWNER) is not self._process:
            context.run(OWNER.set, self._process)
        return context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def __eq__(self, other: object) -> bool:
        return other is self or other is self._loop

    def __hash__(self) -> int:
        return hash(self._loop)

    def __repr__(self) -> str:
        return f"<ProcessLoop of {self._process.name}>"


def _copy(answer: asyncio.Future[T], done: asyncio.Task[T]) -> None:
    """Passes the end of a task to outside callers; without callers its failure is ignored."""
    error = None if done.cancelled() else done.exception()
    if answer.done():
        return
    if done.cancelled():
        answer.cancel()
    elif error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(done.result())


def close_quietly(task: asyncio.Task[Any]) -> None:
    """Throws `GeneratorExit` into a task; errors of its clean-up are ignored."""
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    with contextlib.suppress(Exception, asyncio.CancelledError):
        close_coroutine(task.get_coro())


def close_coroutine(coroutine: Any) -> None:
    """Closes a coroutine.

    One that has not begun has not taken its arguments yet: a coroutine among them is closed too.
    """
    if inspect.iscoroutine(coroutine) and inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
        for argument in inspect.getcoroutinelocals(coroutine).values():
            if inspect.iscoroutine(argument):
                argument.close()
    coroutine.close()
