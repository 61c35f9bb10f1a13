"""Decides what a call inherits from the turn that makes it: deadline and chain, while that turn waits for the call.

A Task that a turn has started inherits the turn with its context. Two kinds of Tasks must not be taken for the turn:
one that continues when the turn has ended, and one that the turn starts and does not wait for. Their calls have their
own deadline and no chain, so one to the grain of the turn waits behind it like any other. The callbacks of a Task show
whether something waits for it: `await`, `gather`, `wait`, `wait_for` and the groups of asyncio and anyio all leave one
there, and it leads to the Task that waits. The turn may wait for that Task, or nothing may, so the chain is followed to
the turn. If it ends in something of asyncio or anyio that does not show what waits, the turn is taken to wait. If a
turn waits for a Task only later, or by means of an event or a queue of its own, this cannot be seen in time; a cycle
through that Task ends at the deadline of its call.
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
"""Packages whose callbacks at a Task mean that somebody waits for it."""

FOLLOWED_MAX: Final = 64
"""Tasks and futures on the way from a Task to the turn; where there are more, the turn is taken to wait."""


def inherited(scope: Scope | Turn) -> Scope | Turn | None:
    """The scope of a call made now, by code that runs with `scope` in its context; None where nothing is inherited."""
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
    """See `deadline`. `contextlib.contextmanager` sets the traceback of what is raised in its block, which the class of
    a user's exception may refuse."""

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
    """Bounds every call made in the block, and the calls that those make, by one deadline.

    Unlike `asyncio.timeout` it travels: the callee knows how long its caller waits.

    Args:
        seconds: from now; 0 or more.

    Raises:
        Timeout: by calls that are not answered in time.
    """
    return _Deadline(seconds)


def _waits_for(turn: Turn, task: asyncio.Task[Any]) -> bool:
    """Whether a turn waits for a Task, itself or through others. True also where that cannot be told."""
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
    """Who waits by means of a callback: Tasks, and futures for which others wait. None: asyncio or anyio cannot say."""
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
    """What a part of a callback says: the future of a `gather`, `shield` or `wait`, a group, an `as_completed`."""
    queue = getattr(part, "_done", part)
    found: list[Any] = [
        part,
        getattr(part, "_parent_task", None),
        getattr(getattr(part, "cancel_scope", None), "_host_task", None),
        *getattr(queue, "_getters", ()),
    ]
    return [each for each in found if isinstance(each, asyncio.Future)]
