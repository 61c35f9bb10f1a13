"""Worker Tasks, which run turns to their end (see `runner`)."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from typing import TYPE_CHECKING, Any, Protocol

from inaho.errors.inspection import is_a
from inaho.runtime.grains.activation import Turn
from inaho.runtime.turns.steps import resume

if TYPE_CHECKING:
    from inaho.runtime.local.tasks import NodeTasks

__all__ = ["Worker", "WorkerOwner"]


class Workers(Protocol):
    """The workers of one node.

    Attributes:
        workers: all workers that have a Task, including idle ones.
    """

    workers: dict[Worker, None]


class WorkerOwner(Protocol):
    """What a worker needs from the runner of its turns.

    Attributes:
        loop, tasks: of the node.
    """

    loop: asyncio.AbstractEventLoop
    tasks: NodeTasks

    @property
    def load(self) -> Workers:
        """Knows all workers."""
        ...

    def keep(self, worker: Worker) -> bool:
        """Whether a worker whose turn has ended should wait for the next one."""
        ...

    def forget(self, worker: Worker) -> None:
        """A worker was cancelled and takes no more turns."""
        ...

    def fail(self, turn: Turn, error: BaseException) -> None:
        """The user's code raised."""
        ...

    def finish(self, turn: Turn, result: Any) -> None:
        """The user's code returned."""
        ...


class Worker:
    """A Task that adopts one suspended turn after another.

    Args:
        runner: of its turns.

    Attributes:
        task: the Task.
        turn: the adopted turn, until it has ended; None while the worker waits.
        context: of the Task; each turn gets a copy of it. It is empty, except for what the loop adds to identify the
            Task (the simulator's loop does this).
    """

    __slots__ = ("_adopted", "_cancelled", "_runner", "_wake", "context", "task", "turn")

    def __init__(self, runner: WorkerOwner) -> None:
        self._runner = runner
        self.turn: Turn | None = None
        self._wake: asyncio.Future[None] | None = None
        self._adopted: tuple[Turn, Coroutine[Any, Any, Any], Context, Any] | None = None
        self._cancelled: asyncio.CancelledError | None = None
        self.context = Context()
        self.task = runner.tasks.spawn(self._work(), name="inaho-worker", drives=True, context=self.context)
        self.task.add_done_callback(self._ended)
        runner.load.workers[self] = None

    def adopt(self, turn: Turn, coroutine: Coroutine[Any, Any, Any], context: Context, awaited: Any) -> None:
        """Takes over a turn whose first step has suspended; this worker's Task was the current one in that step."""
        self.turn = turn
        self._adopted = (turn, coroutine, context, awaited)
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def _work(self) -> None:
        runner = self._runner
        while True:
            if self._adopted is None:
                self._wake = runner.loop.create_future()
                try:
                    await self._wake
                except asyncio.CancelledError as error:
                    # Cancelled by the turn that it will adopt or by the end of the runner. If `cancelling` is 0, an
                    # earlier turn did it, and the cancellation is ignored.
                    self._cancelled = error if self.task.cancelling() else None
                self._wake = None
            if self._adopted is None:
                if self._cancelled is None:
                    continue
                runner.forget(self)
                return
            turn, coroutine, context, awaited = self._adopted
            cancelled, self._adopted, self._cancelled = self._cancelled, None, None
            turn.awaiting = None
            try:
                result = await resume(coroutine, context, awaited, cancelled)
            except BaseException as error:
                runner.fail(turn, error)
                if is_a(error, (KeyboardInterrupt, SystemExit)):
                    raise
            else:
                runner.finish(turn, result)
            self.turn = None
            # The cancellation may have been meant for the Task, not for the turn, as `asyncio.run` does at its end.
            if self.task.cancelling() or not runner.keep(self):
                return

    def _ended(self, task: asyncio.Task[None]) -> None:
        """The Task has ended. If it was cancelled before its first step, a new worker adopts its turn."""
        self._runner.load.workers.pop(self, None)
        if not task.cancelled():
            task.exception()  # `sys.exit` of user code has stopped the loop, and no code awaits this Task
        if self._adopted is not None:
            turn = self._adopted[0]
            successor = Worker(self._runner)
            successor._cancelled = asyncio.CancelledError()
            successor.adopt(*self._adopted)
            turn.task = successor.task
