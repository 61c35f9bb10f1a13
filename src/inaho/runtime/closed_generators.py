"""Async generators of the user that are closed where they wait.

The Task of a stream may be closed while its generator awaits something: when it is cut off (`CUT_OFF`), or when its
loop is closed. Before Python 3.13 `close()` of the awaitable that is a step of an async generator (`asend`, `aclose`)
does not reach the generator. It stays as it is, marked as running: its `finally` does not run, and nobody can close it
any more. `throw(GeneratorExit)` does reach it, so that is what is done here.

Why not always: a driver in Python costs a quarter of a microsecond per item.
"""

from __future__ import annotations

import sys
import types
from collections.abc import AsyncIterator, Generator
from typing import Any, Final

__all__ = ["closed_where_it_waits", "items_of"]

NEEDED: Final = sys.version_info < (3, 13)

THROWS: Final = 8
"""How often a generator that awaits again while it is closed is interrupted there; then it is left as it is."""


def items_of(iterator: Any) -> AsyncIterator[Any]:
    """What `async for` should run over instead of an async iterator of the user."""
    return _Items(iterator) if NEEDED and type(iterator) is types.AsyncGeneratorType else iterator


def closed_where_it_waits(step: Any) -> Any:
    """What to await instead of `step`, an awaitable that an async generator has made."""
    return _driven(step) if NEEDED and hasattr(step, "throw") else step


class _Items:
    def __init__(self, generator: Any) -> None:
        self._next = generator.__anext__

    def __aiter__(self) -> _Items:
        return self

    def __anext__(self) -> Any:
        return _driven(self._next())


@types.coroutine
def _driven(step: Any) -> Generator[Any, Any, Any]:
    advance, value = step.send, None
    while True:
        try:
            awaited = advance(value)
        except StopIteration as stop:
            return stop.value
        try:
            value = yield awaited
        except GeneratorExit:
            _interrupt(step)
            raise
        except BaseException as error:
            advance, value = step.throw, error
        else:
            advance = step.send


def _interrupt(step: Any) -> None:
    for _ in range(THROWS):
        try:
            step.throw(GeneratorExit())
        except (GeneratorExit, StopIteration, StopAsyncIteration):
            return
