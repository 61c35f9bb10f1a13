"""Topics at least once on a node that cannot reach the keeper: `drop` fails at once, `queue` waits; nothing is lost."""

from __future__ import annotations

import asyncio

import pytest

import inaho
from inaho.errors import InahoError
from inaho.testing import SimCluster
from support.topic_logs import check_keepers

COUNT = 30
LONG_S = 120.0


async def other_than_keeper(sim: SimCluster, orders: inaho.Topic[int]) -> tuple[int, int]:
    """Index of a node without the keeper, and of the node with it."""
    authority = (await orders.partition(0)).authority
    [keeper] = [index for index in range(3) if sim.authority(index) == authority]
    return (keeper + 1) % 3, keeper


async def read_into(topic: inaho.Topic[int], values: list[int]) -> None:
    async with topic.subscribe("table", start="earliest") as messages:
        async for message in messages:
            values.append(message.value)
            await message.ack()


async def orders_at(sim: SimCluster, index: int, when_cut_off: str) -> inaho.Topic[int]:
    return await sim.node(index).topic("orders", int, delivery="at_least_once", partitions=1, when_cut_off=when_cut_off)


def test_queue_stores_everything_in_order_when_the_keeper_is_back(simulation_seed: int):
    """The link is cut for less than `pubsub.publish_timeout_s`."""
    with SimCluster(nodes=3, seed=simulation_seed) as sim:

        async def story() -> None:
            near, keeper = await other_than_keeper(sim, await orders_at(sim, 0, "queue"))
            orders = await orders_at(sim, near, "queue")
            values: list[int] = []
            reading = asyncio.ensure_future(read_into(await orders_at(sim, keeper, "queue"), values))
            await orders.publish(0, key="k")
            sim.partition({near}, {keeper})
            waiting = [asyncio.ensure_future(orders.publish(number, key="k")) for number in range(1, COUNT)]
            await asyncio.sleep(5.0)
            sim.heal()
            await asyncio.gather(*waiting)
            await orders.publish(COUNT, key="k")
            await sim.until(lambda: len(values) > COUNT, within_s=LONG_S)
            assert values == list(range(COUNT + 1))
            assert (await orders.partition(0)).end == COUNT + 1, "a message is stored twice"
            reading.cancel()

        sim.run(story())
        check_keepers(sim)


def test_drop_refuses_what_the_keeper_cannot_store_and_loses_nothing_else(simulation_seed: int):
    """Only the link is cut: both nodes reach the third one, so the keeper stays where it is."""
    with SimCluster(nodes=3, seed=simulation_seed) as sim:

        async def story() -> None:
            near, keeper = await other_than_keeper(sim, await orders_at(sim, 0, "drop"))
            orders = await orders_at(sim, near, "drop")
            values: list[int] = []
            reading = asyncio.ensure_future(read_into(await orders_at(sim, keeper, "drop"), values))
            acknowledged: list[int] = []
            refused: list[int] = []
            maybe: list[int] = []

            async def publish(number: int) -> None:
                try:
                    await orders.publish(number, key="k")
                except InahoError as error:
                    (maybe if error.maybe_executed else refused).append(number)
                else:
                    acknowledged.append(number)

            await publish(0)
            sim.partition({near}, {keeper})
            for number in range(1, COUNT):
                await publish(number)
                await asyncio.sleep(1.0)
            sim.heal()
            assert refused, "publishes wait for a keeper that cannot be reached"
            while acknowledged[-1] < 1000:
                await publish(1000 + len(refused))
                await asyncio.sleep(0.5)
            await sim.until(lambda: acknowledged[-1] in values, within_s=LONG_S)
            assert set(acknowledged) <= set(values) <= {*acknowledged, *maybe}
            assert values == sorted(values)
            assert not set(values) & set(refused)
            reading.cancel()

        sim.run(story(), within_s=2000.0)
        check_keepers(sim)


@pytest.mark.parametrize("when_cut_off", ["drop", "queue"])
def test_what_is_acknowledged_through_a_long_cut_is_stored_once(when_cut_off: str, simulation_seed: int):
    """The node is cut off from both others for a minute; afterwards there is one log with all that was acknowledged."""
    with SimCluster(nodes=3, seed=simulation_seed) as sim:

        async def story() -> None:
            near, keeper = await other_than_keeper(sim, await orders_at(sim, 0, when_cut_off))
            orders = await orders_at(sim, near, when_cut_off)
            far = await orders_at(sim, keeper, when_cut_off)
            values: list[int] = []
            reading = asyncio.ensure_future(read_into(far, values))
            acknowledged: list[int] = []
            maybe: set[int] = set()
            sim.partition({near}, {0, 1, 2} - {near})
            for number in range(120):
                try:
                    await orders.publish(number, key="k")
                    acknowledged.append(number)
                except InahoError as error:
                    maybe |= {number} if error.maybe_executed else set()
                await asyncio.sleep(0.5)
                if sim.time > 60.0:
                    sim.heal()
            sim.heal()
            await sim.until(sim.converged, within_s=LONG_S)
            while not acknowledged or acknowledged[-1] < 1000:
                try:
                    await orders.publish(1000, key="k")
                    acknowledged.append(1000)
                except InahoError:
                    await asyncio.sleep(0.5)
            await sim.until(lambda: 1000 in values, within_s=LONG_S)
            assert set(acknowledged) <= set(values) <= {*acknowledged, *maybe}
            first = list(dict.fromkeys(values))
            assert first == sorted(first)
            assert len(acknowledged) > 10
            stored = (await orders.partition(0)).end
            assert len(acknowledged) <= stored <= len(acknowledged) + len(maybe)
            reading.cancel()

        sim.run(story(), within_s=2000.0)
        check_keepers(sim)
