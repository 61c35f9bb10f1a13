"""The errors that end a simulation which cannot continue, and the text of what it was waiting for.

These are not `InahoError`s: no user code of a cluster should catch them by accident and go on.
"""

from __future__ import annotations

import asyncio
from types import CodeType, FrameType
from typing import Any, Final

from inaho.testing.simulation.simulated_process import SimulatedProcess

__all__ = ["Deadlock", "Livelock", "NotConverged", "OutOfTime", "SimulationFailed", "describe_wait"]

DEPTH_MAX: Final = 50

ENTER: Final = SimulatedProcess.enter.__code__


class SimulationFailed(RuntimeError):  # noqa: N818  as the errors of the library: what happened, no suffix
    """A simulation cannot continue, or something in it failed unnoticed."""


class Deadlock(SimulationFailed):
    """Nothing is ready and no timer is set, but the simulated coroutine is not done."""


class Livelock(SimulationFailed):
    """Callbacks follow one another without end and time does not pass."""


class OutOfTime(SimulationFailed):
    """The simulated coroutine did not end within its time."""


class NotConverged(SimulationFailed, AssertionError):  # noqa: N818
    """The nodes did not agree in time; the message has what each sees."""


def describe_wait(future: asyncio.Future[Any] | None) -> str:
    """What `future` waits for, as the innermost lines of its coroutine.

    Args:
        future: usually a task; None when nothing runs.

    Returns:
        A clause such as `Task-3 waits at test_cart.py:12 in checkout < test_cart.py:30 in main, for <Future pending>`.
    """
    if future is None:
        return "nothing runs"
    if not isinstance(future, asyncio.Task):
        return f"{future!r} waits"
    places: list[str] = []
    awaited: Any = future.get_coro()
    for _ in range(DEPTH_MAX):
        code = getattr(awaited, "cr_code", None)
        frame = getattr(awaited, "cr_frame", None)
        if code is not None:
            places.append(_place(code, frame))
        following = getattr(awaited, "cr_await", None)
        if code is ENTER and frame is not None and "task" in frame.f_locals:  # the call goes on in another process
            following = frame.f_locals["task"].get_coro()
        if following is None:
            break
        awaited = following
    chain = " < ".join(reversed(places)) or "its first step"
    return f"{future.get_name()} waits at {chain}, for {_short(awaited)}"


def _place(code: CodeType, frame: FrameType | None) -> str:
    line = code.co_firstlineno if frame is None else frame.f_lineno
    return f"{code.co_filename.rpartition('/')[2]}:{line} in {code.co_name}"


def _short(awaited: Any) -> str:
    if isinstance(awaited, asyncio.Task):
        return f"task {awaited.get_name()}"
    return type(awaited).__name__
