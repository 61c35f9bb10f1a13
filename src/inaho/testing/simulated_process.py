"""A process of the simulation: whose callbacks these are, and whether they may run now.

A process runs, is paused (as by SIGSTOP: nothing of it runs, time passes, then everything that was due comes at once)
or is dead (as by SIGKILL: nothing of it ever runs again, no clean-up either). The loop asks before every callback.

A node is given a `ProcessLoop` as its loop: the one virtual loop, except that what is scheduled through it belongs to
the process, whoever calls. Without it a test that calls a node from outside would own the timers which that call sets,
and a pause of the node would not hold them.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import weakref
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeVar

from inaho.errors import Unreachable

if TYPE_CHECKING:
    from inaho.testing.virtual_loop import VirtualLoop

__all__ = ["OWNER", "ProcessLoop", "SimulatedProcess"]

T = TypeVar("T")

RUNNING: Final = "running"
PAUSED: Final = "paused"
DEAD: Final = "dead"

OWNER: Final[contextvars.ContextVar[SimulatedProcess | None]] = contextvars.ContextVar(
    "inaho_simulated_process", default=None
)
"""The process that the running code belongs to; None: the test, the network, the simulator."""


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

    def __init__(self, loop: VirtualLoop, name: str) -> None:
        self.name = name
        self.state = RUNNING
        self.held: list[Any] = []
        self.tasks: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()
        self.loop = ProcessLoop(loop, self)
        self._loop = loop
        self._remains: list[asyncio.Task[Any]] = []

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

    def kill(self) -> None:
        """Nothing of it runs ever again. Its tasks are kept as they are, so that no finalizer runs for them."""
        self.state = DEAD
        self.held.clear()
        self._remains = [task for task in self.tasks if not task.done()]

    def bury(self) -> None:
        """Ends what is left of its coroutines, in silence; for the end of a simulation, when nobody looks any more."""
        for task in self._remains:
            close_quietly(task)
        self._remains.clear()

    def __repr__(self) -> str:
        return f"<SimulatedProcess {self.name} {self.state}>"


class ProcessLoop:
    """The simulation's loop as one process sees it: what is scheduled through it belongs to that process.

    It is equal to the loop itself and hashes alike, because asyncio looks up the current task by the loop.
    """

    def __init__(self, loop: VirtualLoop, process: SimulatedProcess) -> None:
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
        if self._process.state is DEAD:
            coro.close()
            raise Unreachable(f"{self._process.name} has crashed; nothing can be done through it")
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


def close_quietly(task: asyncio.Task[Any]) -> None:
    """Throws `GeneratorExit` into what a task was doing; whatever its clean-up raises concerns nobody any more."""
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    coroutine: Any = task.get_coro()
    with contextlib.suppress(Exception, asyncio.CancelledError):
        coroutine.close()
