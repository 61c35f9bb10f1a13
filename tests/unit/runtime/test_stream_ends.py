"""How streams end that neither their consumer nor their generator ends. In virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from inaho import Grain
from inaho.runtime.turn import CURRENT
from inaho.testing.sim_cluster import SimCluster

LOG: list[str] = []


@pytest.fixture(autouse=True)
def empty() -> None:
    LOG.clear()


class Consumer:
    """Reads one stream to its end.

    Attributes:
        items: that came.
        error: with which it ended; None when it ended by itself.
        over: it has ended.
    """

    def __init__(self, stream: AsyncIterator[Any]) -> None:
        self.items: list[Any] = []
        self.error: BaseException | None = None
        self.over = False
        self._stream = stream

    async def start(self) -> None:
        """Reads from now on."""
        self._task = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        try:
            async for item in self._stream:
                self.items.append(item)
        except Exception as error:
            self.error = error
        finally:
            self.over = True


class Feed(Grain):
    """Begins more than it yields."""

    async def beginning_a_task(self) -> AsyncIterator[int]:
        async def lasting() -> None:
            while True:
                scope = CURRENT.get()
                LOG.append("none" if scope is None or scope.over else "inherits")
                await asyncio.sleep(1.0)

        self._task = asyncio.ensure_future(lasting())
        await asyncio.sleep(0)
        yield 1


def test_a_task_that_a_stream_began_inherits_nothing_when_the_stream_has_ended():
    with SimCluster(nodes=1, seed=1, grains=[Feed]) as sim:
        consumer = Consumer(sim.node(0).grain(Feed, "a").beginning_a_task())
        sim.run(consumer.start())
        sim.run_for(1.5)
        assert consumer.items == [1]
        assert LOG == ["inherits", "none"]
