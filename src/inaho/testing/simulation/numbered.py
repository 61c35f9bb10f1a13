"""Handles, tasks and futures of a `VirtualLoop`: they belong to a process, and hash by a number in place of an address.

asyncio keeps tasks and futures in sets (`TaskGroup`, `wait`). The order of a set follows the hashes of its items, and
addresses differ from run to run, so the same seed would give another history.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from inaho.testing.simulation.simulated_process import SimulatedProcess

__all__ = ["NumberedFuture", "NumberedTask", "OwnedHandle", "OwnedTimerHandle"]

T = TypeVar("T")


class OwnedHandle(asyncio.Handle):
    """A callback that belongs to a process."""

    __slots__ = ("owner",)
    owner: SimulatedProcess | None


class OwnedTimerHandle(asyncio.TimerHandle):
    """A timer that belongs to a process."""

    __slots__ = ("owner",)
    owner: SimulatedProcess | None


class NumberedTask(asyncio.Task[T]):
    """A task that hashes by its number, which it has before asyncio puts it into a set."""

    def __init__(self, coro: Coroutine[Any, Any, T], *, number: int, **options: Any) -> None:
        self._number = number
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self._number


class NumberedFuture(asyncio.Future[T]):
    """A future that hashes by its number."""

    def __init__(self, *, number: int, loop: asyncio.AbstractEventLoop) -> None:
        self._number = number
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._number
