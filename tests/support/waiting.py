"""Waiting for a condition that a test observes from outside, where there is nothing to await."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

POLL_LIMIT_S = 20.0

Eventually = Callable[[Callable[[], object]], Awaitable[None]]
"""The type of the fixture `eventually`."""


async def until(condition: Callable[[], object], limit_s: float = POLL_LIMIT_S) -> None:
    """Returns when the condition holds; fails when it does not in time.

    Args:
        condition: is called in each turn of the event loop. Any true value ends the wait.
        limit_s: seconds, by the clock of the event loop.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + limit_s
    while not condition():
        assert loop.time() < end, "the condition did not come true"
        await asyncio.sleep(0)
