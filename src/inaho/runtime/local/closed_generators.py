"""Closes user code where it waits: a coroutine, and the async generators that it reads.

User code is closed when it is cut off (`CUT_OFF`), or when its loop is closed. Before Python 3.13 `close()` of the
awaitable of a step of an async generator (`asend`, `aclose`) does not reach the generator. The generator stays marked
as running: its `finally` does not run, and it cannot be closed any more. `throw(GeneratorExit)` does reach it. So
`close` looks for such steps where a coroutine waits, and throws it there before it closes the coroutine.

Why not a driver in Python around each step: it costs a third of a microsecond per item, and few streams are cut off.
"""

from __future__ import annotations

import gc
import sys
import types
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any, Final

__all__ = ["close", "closed_where_it_waits", "driven"]

NEEDED: Final = sys.version_info < (3, 13)

THROWS: Final = 8
"""How often a generator that awaits again while it is closed is interrupted; then it is left as it is."""


def closed_where_it_waits(awaitable: Any) -> Any:
    """What to await instead of a coroutine that reads a generator of the user, or of a step of such a generator.

    The awaiting code gets what the generator's clean-up raises. And the generator is closed when the garbage collector
    closes this one first, as it does with older objects, and no code calls `close`.
    """
    return driven(awaitable) if NEEDED and hasattr(awaitable, "throw") else awaitable


@types.coroutine
def driven(awaitable: Any, ends: Callable[[BaseException], bool] | None = None) -> Generator[Any, Any, Any]:
    """Awaits a coroutine or a step of a generator; takes a step in Python only where that suspends.

    Args:
        awaitable: it has taken no step yet. It is closed by `close` when this is.
        ends: decides about an exception raised where it waits: True closes it instead of raising the exception in it.

    Returns:
        Its result.
    """
    advance: Callable[[Any], Any] = awaitable.send
    value: Any = None
    while True:
        try:
            awaited = advance(value)
        except StopIteration as stop:
            return stop.value
        try:
            value = yield awaited
        except GeneratorExit:
            close(awaitable)
            raise
        except BaseException as error:
            if ends is not None and ends(error):
                close(awaitable)
                raise
            advance, value = awaitable.throw, error
        else:
            advance = awaitable.send


def close(awaitable: Any) -> None:
    """Closes a coroutine, and before that the generators whose steps it waits for, the innermost first.

    Raises:
        BaseException: what their clean-up has raised; all are closed nevertheless.
    """
    if not NEEDED:
        awaitable.close()
        return
    failed: BaseException | None = None
    for step in reversed(_steps_awaited(awaitable)):
        try:
            _interrupt(step)
        except BaseException as error:
            failed = error
    try:
        awaitable.close()
        if failed is not None:
            raise failed
    finally:
        del failed  # the traceback has this frame: break the reference cycle


def _step_types() -> tuple[type[Any], ...]:
    async def nothing() -> AsyncIterator[None]:
        yield None

    generator: Any = nothing()
    steps = generator.asend(None), generator.aclose()
    for step in steps:
        step.close()  # it is not awaited, and Python would warn
    return tuple(map(type, steps))


STEPS: Final = _step_types()


def _steps_awaited(awaitable: Any) -> list[Any]:
    """The steps of generators on the way from an awaitable to what it waits for at last, the outermost first."""
    found: list[Any] = []
    while True:
        kind = awaitable.__class__
        if kind is types.CoroutineType:
            awaitable = awaitable.cr_await
        elif kind is types.GeneratorType:  # of `types.coroutine`
            awaitable = awaitable.gi_yieldfrom
        elif kind in STEPS:
            found.append(awaitable)
            awaitable = gc.get_referents(awaitable)[0].ag_await  # the first is its generator
        else:
            return found


def _interrupt(step: Any) -> None:
    for _ in range(THROWS):
        try:
            step.throw(GeneratorExit())
        except (GeneratorExit, StopIteration, StopAsyncIteration):
            return
