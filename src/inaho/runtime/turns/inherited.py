"""Decides what a call inherits from the turn that makes it: deadline and chain, while that turn waits for the call.

A Task that a turn has started gets the turn with its context. But the calls of two kinds of Tasks must not count as
calls of the turn: a Task that continues after the turn has ended, and a Task for which the turn does not wait. Their
calls have their own deadline and no chain. Such a call to the grain of the turn waits behind the turn like any other.

The callbacks of a Task show what waits for it: `await`, `gather`, `wait`, `wait_for` and the groups of asyncio and
anyio each add a callback that refers to the waiting Task. This module follows the callbacks from Task to Task until it
finds the turn, or nothing more. If it reaches a callback of asyncio or anyio that does not show what waits, it assumes
that the turn waits.

If a turn waits for a Task only later, or by means of an event or a queue, this cannot be known in time. A cycle through
that Task ends at the deadline of its call.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, suppress
from contextvars import Token
from typing import Any, Final

from inaho.runtime.grains.activation import CURRENT, Scope, Turn
from inaho.runtime.turns.steps import current_task

__all__ = ["deadline", "inherited"]

_TASK: Final[Any] = asyncio.Task

_WAITING: Final = ("asyncio", "_asyncio", "anyio")
"""Packages whose callbacks at a Task mean that something waits for it."""

FOLLOWED_MAX: Final = 64
"""How many Tasks and futures are followed from a Task to the turn. Beyond it, the turn is assumed to wait."""


def inherited(scope: Scope | Turn) -> Scope | Turn | None:
    """The scope that a call made now inherits from `scope`, the scope in its context; None for nothing."""
    if scope.over:
        return None
    turn = scope if isinstance(scope, Turn) else scope.turn  # the property of a Turn costs more than this
    if turn is None or turn.task is None:
        return scope
    task = current_task(turn.grain._inaho_host.local.loop)
    if task is turn.task or task is None or task is turn.awaiting or _waits_for(turn, task):
        return scope
    return None


class _Deadline:
    """See `deadline`. It is no `contextlib.contextmanager`, because that sets the traceback of an exception, which a
    user's exception class may refuse."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._tokens: list[Token[Scope | Turn | None]] = []

    def __enter__(self) -> None:
        now = asyncio.get_running_loop().time()
        outer = CURRENT.get()
        if outer is not None:
            outer = inherited(outer)
        until = now + max(self._seconds, 0.0)
        scope = Scope(until, None) if outer is None else Scope(min(until, outer.deadline), outer.turn)
        self._tokens.append(CURRENT.set(scope))

    def __exit__(self, *raised: object) -> None:
        CURRENT.reset(self._tokens.pop())


def deadline(seconds: float) -> AbstractContextManager[None]:
    """Sets one deadline for all calls made in the block, and for the calls that those make.

    Unlike `asyncio.timeout`, the deadline is sent with a call: the callee knows how long its caller waits.

    Args:
        seconds: from now; 0 or more.

    Raises:
        Timeout: raised by calls that are not answered in time.
    """
    return _Deadline(seconds)


def _waits_for(turn: Turn, task: asyncio.Task[Any]) -> bool:
    """Whether a turn waits for a Task, directly or through others. True also if this is unknown."""
    seen: list[asyncio.Future[Any]] = [task]  # a handful: comparing is cheaper than hashing
    for future in seen:
        callbacks: list[Any] = getattr(future, "_callbacks", None) or []
        for callback in callbacks:
            waiters = _waiters(callback[0])
            if waiters is None or len(seen) > FOLLOWED_MAX:
                return True
            for waiter in waiters:
                if waiter is turn.task or waiter is turn.awaiting:
                    return True
                if waiter not in seen:
                    seen.append(waiter)
    return False


def _waiters(callback: Any) -> list[asyncio.Future[Any]] | None:
    """The Tasks and futures that wait by means of a callback. None: asyncio or anyio does not show them."""
    owner: Any = getattr(callback, "__self__", None)
    if isinstance(owner, _TASK):
        return [owner]  # the step of another Task, which awaits this one
    function = getattr(callback, "func", callback)  # of a `functools.partial`
    module = getattr(function, "__module__", None) or type(function).__module__
    if module.split(".")[0] not in _WAITING:
        return []
    cells = getattr(function, "__closure__", None) or ()
    parts: list[Any] = [owner, *getattr(callback, "args", ())]
    for cell in cells:
        with suppress(ValueError):  # it is empty
            parts.append(cell.cell_contents)
    return [found for part in parts for found in _waiters_in(part)] or None


def _waiters_in(part: Any) -> list[asyncio.Future[Any]]:
    """The waiting futures in a part of a callback: of a `gather`, `shield` or `wait`, a group, an `as_completed`."""
    queue = getattr(part, "_done", part)
    found: list[Any] = [
        part,
        getattr(part, "_parent_task", None),
        getattr(getattr(part, "cancel_scope", None), "_host_task", None),
        *getattr(queue, "_getters", ()),
    ]
    return [each for each in found if isinstance(each, asyncio.Future)]
