"""Remembers the Tasks of one node until they end, so that none is collected or left behind.

asyncio keeps only weak references to Tasks. And a node that stops must end what it started, user code included, which
may catch its cancellation. So everything that a node runs in the background is started here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextvars import Context
from typing import Any, Final

from inaho.errors.inspection import is_a
from inaho.runtime.local.closed_generators import driven

__all__ = ["CUT_OFF", "NodeTasks", "is_cut_off", "until_cut_off"]

CUT_OFF: Final = "inaho: cut off"
"""Message of the last cancellation of user code that catches all others: the code is closed where it waits."""


STOP_ROUND_S: Final = 1.0
"""Interval in seconds at which Tasks that still run when their node stops are cancelled again."""

_log: Final = logging.getLogger("inaho.node")


class NodeTasks:
    """Starts and remembers the Tasks of one node.

    Args:
        loop: where they run.

    Attributes:
        running: every Task that has not ended.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.running: set[asyncio.Task[Any]] = set()
        self._loop = loop

    def spawn(
        self, coroutine: Coroutine[Any, Any, Any], *, name: str, drives: bool = False, context: Context | None = None
    ) -> asyncio.Task[Any]:
        """Starts a Task.

        Args:
            coroutine: its code; may be the user's.
            name: of the Task.
            drives: it uses `resume` for user code, and needs no `until_cut_off` around itself.
            context: where it runs; an empty one unless given.
        """
        running = coroutine if drives else until_cut_off(coroutine)
        task = self._loop.create_task(running, name=name, context=Context() if context is None else context)
        self.running.add(task)
        task.add_done_callback(self.running.discard)
        if not drives:
            task.add_done_callback(lambda _: coroutine.close())  # one that was cancelled before its first step
        return task

    async def stop(self, rounds: int) -> None:
        """Ends running Tasks. User code that catches its cancellation is cut off in the end (`CUT_OFF`).

        Args:
            rounds: how often running Tasks are cancelled before that, `STOP_ROUND_S` apart.
        """
        message: str | None = None
        while tasks := [task for task in self.running if task is not asyncio.current_task()]:
            for task in tasks:
                task.cancel(message)
            _, left = await asyncio.wait(tasks, timeout=STOP_ROUND_S)
            await asyncio.sleep(0)  # Tasks that were started while they ended
            if not left:
                continue
            if message is not None:
                _log.error("%d turns, hooks or streams cannot be ended and still run", len(left))
                return
            _log.warning("%d turns, hooks or streams still run after their cancellation", len(left))
            rounds -= 1
            message = None if rounds > 0 else CUT_OFF


def is_cut_off(error: BaseException) -> bool:
    """Whether user code has caught its cancellation too often and is to be closed."""
    return is_a(error, asyncio.CancelledError) and CUT_OFF in error.args


async def until_cut_off(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Runs a coroutine in the current Task and context. A cancel with `CUT_OFF` closes it, whatever it catches."""
    try:
        return await driven(coroutine, is_cut_off)
    except (KeyboardInterrupt, SystemExit):  # they leave the loop here, and no code awaits this Task
        task = asyncio.current_task()
        assert task is not None
        task.add_done_callback(_retrieve)
        raise


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Marks the outcome of a Task as retrieved."""
    if not task.cancelled():
        task.exception()
