"""Ends a tree of actors, or an extension, within a time limit.

Both run user code, which may take too long, and may catch its cancellation.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Protocol

from inaho.actor.cell import Cell
from inaho.actor.guardian import Guardian
from inaho.actor.ref import StopReason
from inaho.errors import IllegalTransition
from inaho.errors.inspection import add_note

__all__ = ["Stoppable", "stop_extension", "stop_tree"]

_logger = logging.getLogger("inaho.actor")

_KILL_ROUNDS = 3  # times that an actor which catches its cancellation is cancelled, before it is given up
_KILL_GRACE_S = 0.5  # time for the clean-up of the user's code in each round


class Stoppable(Protocol):
    """The part of an `Extension` that ends it."""

    @property
    def name(self) -> str: ...

    async def stop(self) -> None: ...


async def stop_extension(extension: Stoppable, timeout_s: float) -> Exception | None:
    """Stops one extension.

    Args:
        extension: to end.
        timeout_s: seconds that it gets; then it is cancelled.

    Returns:
        Why it failed to stop; None when it did stop.
    """
    task = asyncio.current_task()
    before = 0 if task is None else task.cancelling()
    try:
        async with asyncio.timeout(timeout_s):
            await extension.stop()
    except asyncio.CancelledError:
        if task is not None and task.cancelling() > before:
            raise
        return IllegalTransition(f"extension {extension.name} let a CancelledError out of stop")
    except Exception as error:
        add_note(error, f"extension {extension.name}")
        return error
    return None


async def stop_tree(cells: Mapping[str, Cell], guardian: Guardian, timeout_s: float) -> None:
    """Ends all actors below `guardian`, children before parents.

    Args:
        cells: the living actors of the system by their paths; each leaves it when it has ended.
        guardian: the root of the tree.
        timeout_s: seconds for their current messages and `on_stop`; then they are cancelled.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    guardian.children.request_stop(StopReason.SHUTDOWN)
    while (tasks := _tasks_below(cells, guardian)) and (left_s := deadline - loop.time()) > 0:
        await asyncio.wait(tasks, timeout=left_s)
    for _ in range(_KILL_ROUNDS):
        below = _cells_below(cells, guardian)
        if not below:
            return
        _logger.warning("%d actors did not stop in %g s and are cancelled", len(below), timeout_s)
        for cell in sorted(below, key=lambda cell: -cell.depth):
            cell.kill()
        await asyncio.wait(_tasks_below(cells, guardian), timeout=_KILL_GRACE_S)
    for cell in _cells_below(cells, guardian):
        _logger.error("%s catches its cancellation and is given up; its Task still runs", cell.path)
        cell.abandon()


def _cells_below(cells: Mapping[str, Cell], guardian: Guardian) -> list[Cell]:
    return [cell for path, cell in cells.items() if path.startswith(f"{guardian.path}/")]


def _tasks_below(cells: Mapping[str, Cell], guardian: Guardian) -> list[asyncio.Task[None]]:
    return [cell.task for cell in _cells_below(cells, guardian) if cell.task is not None]
