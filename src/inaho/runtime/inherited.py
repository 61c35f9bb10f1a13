"""What a call inherits from the turn that makes it: deadline and chain, as long as that turn waits for the call.

A Task that a turn has started inherits the turn with its context. Two such Tasks must not be taken for the turn:
one that lives on when the turn has ended, and one that the turn starts and does not wait for. Their calls have
their own deadline and no chain, so one at the grain of the turn waits behind it like any other. Whether somebody
waits for a Task shows in its callbacks: `await`, `gather`, `wait`, `wait_for` and the groups of asyncio and anyio
all leave one there. A turn that waits for a Task only later cannot be seen in time; a cycle through that Task ends
at the deadline of its call.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from inaho.runtime.turn import Scope, Turn, current_task

__all__ = ["inherited"]

_WAITING: Final = ("asyncio", "_asyncio", "anyio")
"""Packages whose callbacks at a Task mean that somebody waits for it."""


def inherited(scope: Scope | Turn) -> Scope | Turn | None:
    """The scope of a call made now, by code that runs with `scope` in its context; None where nothing is inherited."""
    if scope.over:
        return None
    turn = scope if isinstance(scope, Turn) else scope.turn  # the property of a Turn costs more than this
    if turn is None or turn.task is None:
        return scope
    task = current_task(turn.grain._inaho_host.node.loop)
    if task is turn.task or task is None or task is turn.awaiting or _is_awaited(task):
        return scope
    return None


def _is_awaited(task: asyncio.Task[Any]) -> bool:
    """Whether anything of asyncio or anyio waits for the end of a Task."""
    callbacks: list[Any] = getattr(task, "_callbacks", None) or []
    return any(_waits(callback[0]) for callback in callbacks)


def _waits(callback: Any) -> bool:
    if isinstance(getattr(callback, "__self__", None), asyncio.Task):
        return True  # the step of another Task, which awaits this one
    function = getattr(callback, "func", callback)  # of a `functools.partial`
    module = getattr(function, "__module__", None) or type(function).__module__
    return module.split(".")[0] in _WAITING
