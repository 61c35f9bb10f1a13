"""Raises an exception that ends the process, such as `SystemExit`, from the event loop and not from a protocol.

User code may run below a protocol, when a call or message arrives. uvloop closes a connection whose protocol raises,
whatever the exception, and continues. A callback of the loop has no such guard, in uvloop and in asyncio.
"""

from __future__ import annotations

import asyncio

__all__ = ["raise_soon"]


def raise_soon(error: BaseException) -> None:
    """Raises `error` out of the running loop in its next iteration; at once if no loop runs."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        raise error from None
    loop.call_soon(_raise, error)


def _raise(error: BaseException) -> None:
    raise error
