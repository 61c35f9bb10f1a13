"""A simulated process: decides whether a callback that belongs to it may run now.

A process runs, is paused (as by SIGSTOP: nothing of it runs, time passes, then everything that was due comes at once)
or is dead (as by SIGKILL: nothing of it ever runs again, no clean-up either). The loop asks before every callback.

A node is given a `ProcessLoop` as its loop: the one virtual loop, except that what is scheduled through it belongs to
the process, whoever calls. Without it a test that calls a node from outside would own the timers which that call sets,
and a pause of the node would not hold them.

What the test does through a node is a Task of that process (`enter`), for which the test waits outside: else a turn
that runs in its caller's Task would be the test's own, and would go on, and save, when the process is dead.
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
    """The loop that all simulated processes run on. It keeps back what is due of a process that is paused."""

    @abstractmethod
    def requeue(self, handles: list[Any]) -> None:
        """Makes what was held back ready again, in its order."""


class SimulatedProcess:
    """One process, from its start to its end.

    Args:
        loop: of the simulation.
        name: for messages.

    Attributes:
        name: as given.
        state: `running`, `paused` or `dead`.
        held: callbacks that became due while it was paused. As many as the process has timers and connections.
        tasks: its tasks that are still known to anybody.
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

    # What others do through it.

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

    # Its life.

    def pause(self) -> None:
        """Nothing of it runs from now on."""
        if self.state is RUNNING:
            self.state = PAUSED

    def resume(self) -> None:
        """It runs again, first what was held."""
        if self.state is PAUSED:
            self.state = RUNNING
            held, self.held = self.held, []
            self._loop.requeue(held)

    def kill(self, end: str = "crashed") -> None:
        """Nothing of it runs ever again. Its tasks are kept as they are, so that no finalizer runs for them.

        Args:
            end: what it has done, for those who wait for it or ask it for something later.
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
                answer.exception()  # whoever waits is told; where nobody does, nobody needs to know

    def bury(self) -> None:
        """Ends what is left of its coroutines, in silence; for the end of a simulation, when nobody looks any more."""
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
            coro.close()
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
    """Tells whoever waits outside how a task ended; where nobody waits any more, its failure is nobody's."""
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
    """Throws `GeneratorExit` into what a task was doing; whatever its clean-up raises concerns nobody any more.

    A task that has not begun has not taken its arguments yet: a coroutine among them is closed too.
    """
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    coroutine: Any = task.get_coro()
    if inspect.iscoroutine(coroutine) and inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
        for argument in inspect.getcoroutinelocals(coroutine).values():
            if inspect.iscoroutine(argument):
                argument.close()
    with contextlib.suppress(Exception, asyncio.CancelledError):
        coroutine.close()
