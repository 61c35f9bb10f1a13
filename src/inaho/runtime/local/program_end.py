"""Stops the node when the program ends without closing it.

A program may end at any line: its main coroutine returns or raises, user code calls `sys.exit`, or a second Ctrl-C
comes. `asyncio.run` then cancels every Task of the loop and waits for all of them. A node notices it because one Task
of its own, which does nothing else, is cancelled: no other code has a reason to cancel it. The node stops at once. It
does not leave, because a program that is told twice to end must not wait for the turns of others.

Why not `atexit` or a finalizer: the loop is closed by then, and nothing can be awaited, so connections could not be
closed and turns not be interrupted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context

from inaho.runtime.local.local_node import LocalNode

__all__ = ["ProgramEnd"]


class ProgramEnd:
    """Stops one node when all Tasks of its loop are cancelled.

    Args:
        local: the node; its loop runs.
        stop_now: closes the node in the caller's own Task.
    """

    def __init__(self, local: LocalNode, stop_now: Callable[[], Awaitable[None]]) -> None:
        self._local = local
        self._stop_now = stop_now
        self._closed: asyncio.Future[None] = local.loop.create_future()
        self._task: asyncio.Task[None] | None = None

    @property
    def begun(self) -> bool:
        """Whether all Tasks of the loop have been cancelled."""
        return self._task is not None and self._task.cancelling() > 0

    def watch(self) -> None:
        """Begins; call it when the node is up."""
        if self._task is None and not self._closed.done():
            self._task = self._local.loop.create_task(self._watch(), name="inaho-program-end", context=Context())

    def closed(self) -> None:
        """The node has been closed: its program may end now."""
        if not self._closed.done():
            self._closed.set_result(None)

    async def _watch(self) -> None:
        try:
            await asyncio.wait((self._closed,))
        except asyncio.CancelledError:
            self._local.log.warning(
                "the program ends before its cluster was closed: %s stops at once, what runs is interrupted, and other "
                "members will find it dead. To leave in order use `async with`, or await `Cluster.close()`",
                self._local.authority or "this client",
            )
            await self._stop_now()
            raise
