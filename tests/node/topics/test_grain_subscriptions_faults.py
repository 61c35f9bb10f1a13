"""Grains that are subscribed to topics, while members crash and come back. In virtual time."""

from __future__ import annotations

import asyncio
import random

import pytest

from inaho import Grain, InahoError, Message, Struct, subscribe
from inaho.config import ClusterConfig, PubSubConfig
from inaho.events import SubscriptionStarted
from inaho.testing.cluster.sim_cluster import SimCluster

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
