"""Publishing goes on when a member that was stopped comes back: only one side of the cut has noticed it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from inaho.testing import SimCluster


@pytest.mark.parametrize("when_cut_off", ["drop", "queue"])
@pytest.mark.parametrize("seed", range(4))
def test_a_subscriber_that_was_stopped_does_not_hold_up_publishers(seed: int, when_cut_off: str):
    waits: list[float] = []
    got: list[int] = []

    async def publish(topic: Any, until: float) -> None:
        loop = asyncio.get_running_loop()
        number = 0
        while loop.time() < until:
            began = loop.time()
            await topic.publish(number)
            waits.append(loop.time() - began)
            number += 1
            await asyncio.sleep(0.05)

    async def collect(subscription: Any) -> None:
        async for message in subscription:
            got.append(message.value)

    async def history(sim: SimCluster) -> None:
        loop = asyncio.get_running_loop()
        topics = [
            await sim.node(index).topic("numbers", int, when_cut_off=when_cut_off, allow_no_subscribers=True)
            for index in range(3)
        ]
        subscription = topics[2].subscribe()
        await subscription.start()
        collecting = asyncio.ensure_future(collect(subscription))
        publishing = [asyncio.ensure_future(publish(topic, loop.time() + 40.0)) for topic in topics[:2]]
        await asyncio.sleep(1.0)
        sim.pause(2, 8.0)
        await asyncio.gather(*publishing)
        await sim.until(lambda: len(got) > 0 and got[-1] > 700, within_s=10.0)
        await subscription.close()
        await collecting

    with SimCluster(nodes=3, seed=seed) as sim:
        sim.run(history(sim))
        limit_s = sim.node(0).config.pubsub.subscribe_timeout_s
        assert max(waits) < limit_s / 5
        assert len(waits) > 1400
