"""What a test publishes and reads through a node happens in the node's process: it is held, and dies with it."""

from __future__ import annotations

import asyncio

import pytest

from inaho.errors import Unreachable
from inaho.testing import SimCluster


def test_a_test_publishes_and_reads_from_outside():
    with SimCluster(nodes=2, seed=1) as sim:

        async def scenario() -> list[str]:
            here, there = await sim.node(0).topic("prices", str), await sim.node(1).topic("prices")
            async with there.subscribe() as messages:
                for text in ("a", "b"):
                    await here.publish(text)
                taken = [(await anext(messages)).value for _ in range(2)]
                assert messages.received == 2
            with pytest.raises(StopAsyncIteration):
                await anext(messages)
            return taken

        assert sim.run(scenario(), within_s=10.0) == ["a", "b"]


def test_a_pause_holds_a_reader_and_a_crash_ends_it():
    with SimCluster(nodes=3, seed=1) as sim:

        async def scenario() -> None:
            here, there = await sim.node(0).topic("prices", str), await sim.node(1).topic("prices")
            messages = there.subscribe()
            await messages.start()
            reading = asyncio.create_task(anext(messages))
            sim.pause(1)
            await here.publish("a")
            await asyncio.sleep(0.5)
            assert not reading.done()
            sim.resume(1)
            assert (await reading).value == "a"
            reading = asyncio.create_task(anext(messages))
            await asyncio.sleep(0.1)
            sim.crash(1)
            with pytest.raises(Unreachable, match="has crashed"):
                await reading
            with pytest.raises(Unreachable, match="has crashed"):
                await there.publish("b")

        sim.run(scenario(), within_s=30.0)
