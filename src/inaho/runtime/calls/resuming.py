"""`inaho.resuming`: opens a stream again when its activation has moved or ended.

A stream ends with its activation (`running_streams`), and activations move when a member joins, leaves or dies. The
local variables of a generator cannot move with it, so the runtime cannot continue it. It can only call the method
again, and whether that is right depends on the items. So the consumer says so, by `resuming`, and passes a position to
its method if items must be neither repeated nor missed.

Why not inside the reference: a stream that silently begins again would repeat its items to a consumer that counts them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Final, TypeVar

from inaho.core.back_off import back_off_s
from inaho.errors import InahoError, InvalidConfig, OwnershipChanged, ShuttingDown, StateConflict, Unreachable

__all__ = ["resuming"]

Item = TypeVar("Item")

_ENDED: Final = (OwnershipChanged, ShuttingDown, StateConflict, Unreachable)
"""With `maybe_executed`: the activation ended or moved, its node left or died, or a successor replaced it."""

_FIRST_PAUSE_S: Final = 0.05
_PAUSE_MAX_S: Final = 2.0


async def resuming(
    open_stream: Callable[[], AsyncIterator[Item]], *, attempts: int = 8, within_s: float = 30.0
) -> AsyncGenerator[Item]:
    """Reads a stream, and opens it again when its activation moves or ends, or its node leaves or dies.

        async for price in inaho.resuming(lambda: cluster.grain(Ticker, "rice").prices()):
            ...

    Items may be repeated, and items of the time in between may be missed: each new stream is a new call of the method.
        A
    method that takes a position avoids both, with a position that advances in the loop:

        async for entry in inaho.resuming(lambda: ledger.entries(after=seen)):
            seen = entry.number

    The stream ends when the method's generator does. It is not opened again after a time-out, or after an exception of
    the method itself, unless that is one of the four errors below.

    Args:
        open_stream: calls the method; it is called once for each attempt.
        attempts: how often in a row the stream is opened again without an item, at least 1; the pauses between grow
            from 0.05 to 2 s.
        within_s: seconds, above 0. A stream that was open for longer has worked, even without an item, and the attempts
            are counted from the start again.

    Returns:
        The items. Close it (`contextlib.aclosing`) to end the stream before its end.

    Raises:
        InvalidConfig: a bound is out of range.
        OwnershipChanged, ShuttingDown, StateConflict, Unreachable: of the last attempt (`maybe_executed`).
        InahoError: the stream could not be opened until the deadline of the method, or failed otherwise.
        Exception: what the method raised.
    """
    if attempts < 1 or not within_s > 0:
        raise InvalidConfig(f"resuming: attempts ({attempts}) must be at least 1 and within_s ({within_s}) above 0")
    clock = asyncio.get_running_loop().time
    failed = 0
    while True:
        opened_at = clock()
        stream = open_stream()
        try:
            async for item in stream:
                failed = 0
                yield item
            return
        except _ENDED as error:
            if clock() - opened_at > within_s:
                failed = 0
            failed += 1
            if failed > attempts or not _has_ended(error):
                raise
        finally:
            close = getattr(stream, "aclose", None)
            if close is not None:
                await close()
        await asyncio.sleep(back_off_s(_FIRST_PAUSE_S, _PAUSE_MAX_S, failed))


def _has_ended(error: InahoError) -> bool:
    """Whether an open stream has ended; else opening it was tried until the deadline, without success."""
    return error.maybe_executed
