"""What the tests of the actor system share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from inaho.actor import ActorSystem


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
