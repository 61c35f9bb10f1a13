"""What the tests of the actor system share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from inaho.actor import ActorSystem

Eventually = Callable[[Callable[[], object]], Awaitable[None]]


@pytest.fixture
def eventually() -> Eventually:
    """Waits until a condition holds, or fails after twenty seconds."""

    async def poll(condition: Callable[[], object]) -> None:
        async with asyncio.timeout(20.0):
            while not condition():
                await asyncio.sleep(0)

    return poll


@pytest.fixture
async def system() -> AsyncIterator[ActorSystem]:
    """A running actor system; afterwards its invariants hold and none of its tasks is left."""
    running = ActorSystem("test", seed=1, clock=lambda: 1000.0)
    await running.start()
    yield running
    running.check()
    await running.stop(timeout_s=2.0)
    running.check()
    assert asyncio.all_tasks() == {asyncio.current_task()}
