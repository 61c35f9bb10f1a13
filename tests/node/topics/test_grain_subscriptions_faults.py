"""Grains that are subscribed to topics, while members crash and come back. In virtual time."""

from __future__ import annotations

import asyncio
import random

import pytest

from inaho import Grain, InahoError, Message, Struct, subscribe
from inaho.config import ClusterConfig, PubSubConfig
from inaho.events import MessagesDropped, SubscriptionStarted
from inaho.testing.cluster.sim_cluster import SimCluster
from inaho.testing.histories.topic_grains import HostedByOddNodes
from inaho.testing.simulation.simulated_network import Faults
from inaho.testing.simulation.simulated_process import DEAD

ONCE: dict[str, list[tuple[str, int]]] = {}
"""By grain: publishers and numbers of messages at most once, as they came."""

STORED: dict[str, list[int]] = {}
"""By grain: numbers of messages at least once, as they came."""


class Reading(Struct, frozen=True):
    device: str
    number: int


class Device(Grain):
    @subscribe("live", key=lambda reading: reading.device)
    async def on_live(self, message: Message[Reading]) -> None:
        ONCE.setdefault(self.key, []).append((message.publisher, message.value.number))

    @subscribe("kept", key=lambda reading: reading.device)
    async def on_kept(self, reading: Reading) -> None:
        STORED.setdefault(self.key, []).append(reading.number)


def test_messages_of_a_grain_keep_their_order_and_what_is_stored_is_not_lost(simulation_seed: int):
    chance = random.Random(simulation_seed)
    ONCE.clear()
    STORED.clear()
    acknowledged: dict[str, set[int]] = {}
    with SimCluster(nodes=4, seed=simulation_seed, grains=(Device,)) as sim:

        async def publish_live() -> None:
            live = await sim.node(0).topic("live", Reading, allow_no_subscribers=True)
            for number in range(300):
                await live.publish(Reading(f"d{number % 4}", number))
                await asyncio.sleep(0.05)

        async def publish_kept() -> None:
            kept = await sim.node(0).topic("kept", Reading, delivery="at_least_once", partitions=4, retry_base_s=0.1)
            for number in range(150):
                device = f"d{number % 4}"
                try:
                    await kept.publish(Reading(device, number), key=device)
                except InahoError:
                    continue  # it may be stored or not
                acknowledged.setdefault(device, set()).add(number)
                await asyncio.sleep(0.1)

        async def faults() -> None:
            for _ in range(3):
                await asyncio.sleep(chance.uniform(1.0, 4.0))
                victim = chance.randrange(1, 4)
                sim.crash(victim, silent=chance.random() < 0.5)
                await asyncio.sleep(chance.uniform(0.0, 3.0))
                sim.restart(victim)
                await sim.until(lambda victim=victim: sim.is_member(victim))

        async def story() -> None:
            await asyncio.gather(publish_live(), publish_kept(), faults())

        sim.run(story())
        sim.wait_converged()
        sim.wait_until(
            lambda: all(acknowledged[device] <= set(STORED.get(device, ())) for device in acknowledged), 120.0
        )
        assert sum(map(len, acknowledged.values())) > 100
        for device, came in ONCE.items():
            numbers = [number for _, number in came]
            assert numbers == sorted(set(numbers)), f"{device}: not in order, or twice"
        assert sum(map(len, ONCE.values())) > 150
        for device, kept in STORED.items():
            firsts = list(dict.fromkeys(kept))
            assert firsts == sorted(firsts), f"{device}: first deliveries out of order"
        sim.check()


def test_nothing_on_its_way_to_a_member_that_leaves_is_lost_untold():
    """It is the member of its group that passes messages on; others publish to it until they know that it leaves."""
    ONCE.clear()
    published: list[int] = []
    with HostedByOddNodes(nodes=4, seed=2, grains=(Device,), faults=Faults(delay_most_s=0.05)) as sim:

        async def publish() -> None:
            live = await sim.node(0).topic("live", Reading)
            number = 0
            while True:
                await live.publish(Reading(f"d{number % 4}", number))
                published.append(number)
                number += 1
                await asyncio.sleep(0.002)

        async def story() -> None:
            publishing = asyncio.ensure_future(publish())
            for leaver in (1, 3, 1, 3):
                await asyncio.sleep(1.0)
                process = sim._nodes[leaver].process
                sim.leave(leaver)
                await sim.until(lambda process=process: process.state is DEAD, within_s=30.0)
                sim.restart(leaver)
                await sim.until(lambda leaver=leaver: sim.is_member(leaver))
            publishing.cancel()
            await asyncio.sleep(2.0)

        sim.run(story())
        got = {number for came in ONCE.values() for _, number in came}
        dropped = [each.event for each in sim.events if isinstance(each.event, MessagesDropped)]
        assert {each.reason for each in dropped} <= {"out_of_order"}, "others have overtaken them, as is documented"
        assert len(got) + sum(each.count for each in dropped) == len(published) > 3000


def test_a_member_joins_though_another_one_does_not_confirm_its_groups(caplog: pytest.LogCaptureFixture):
    config = ClusterConfig(pubsub=PubSubConfig(subscribe_timeout_s=0.5))
    ONCE.clear()
    with SimCluster(nodes=3, seed=5, grains=(Device,), config=config) as sim:

        async def story() -> None:
            sim.crash(1, silent=False)
            await sim.until(lambda: len(sim.members_seen_by(0)) == 2)
            began = sim.time
            sim.pause(2, 3.0)
            sim.restart(1)
            await sim.until(lambda: sim.is_member(1))
            await sim.until(lambda: "grains may miss messages" in caplog.text)
            assert sim.time - began < 2.0
            assert f"(pubsub.subscribe_timeout_s): {sim.authority(2)}" in caplog.text
            assert any(e.at > began and isinstance(e.event, SubscriptionStarted) for e in list(sim.events))
            await asyncio.sleep(3.0)
            live = await sim.node(2).topic("live", Reading)
            await live.publish(Reading("d0", 1))
            await sim.until(lambda: "d0" in ONCE, within_s=60.0)

        sim.run(story())
