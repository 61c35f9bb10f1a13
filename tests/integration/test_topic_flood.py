"""A member that publishes as fast as it can, in real processes: nobody takes another member for dead."""

from __future__ import annotations

import asyncio
import time

import inaho
from inaho import Cluster
from inaho.config import DetectionConfig, PubSubConfig
from inaho.events import Event, MemberSuspected, MemberUnreachable, MessagesDropped
from support.member_processes import Processes, settings
from support.programs.network_node import Probe
from support.programs.topic_flood_node import LAST, QUICK, flood_topic

FLOOD_S = 4.0
PATIENT = DetectionConfig(probe_interval_s=1.0, probe_timeout_s=0.9, indirect_probes=1)
"""A busy machine delays a probe, but not as long as megabytes of messages before it do."""


async def note(cluster: Cluster, seen: list[Event]) -> None:
    async for event in cluster.events(MemberSuspected, MemberUnreachable, MessagesDropped):
        seen.append(event)


async def call(cluster: Cluster, over: asyncio.Event) -> int:
    answered = 0
    while not over.is_set():
        assert await cluster.grain(Probe, f"probe{answered % 16}").echo(answered) == answered
        answered += 1
    return answered


async def test_members_that_are_flooded_answer_and_quick_subscribers_lose_nothing(processes: Processes) -> None:
    members = await processes.cluster(2, program="topic_flood_node.py", config=settings(detection=PATIENT))
    for member in members:
        await member.says("subscribed")
    own = settings(
        detection=PATIENT,
        pubsub=PubSubConfig(room_wait_s=10.0),  # a busy machine may stop a process for a while
        seeds=tuple(member.authority for member in members),
    )
    over, published, value = asyncio.Event(), 0, bytes(80)
    async with inaho.join(config=own, storage="memory") as cluster:  # as the members: the definition may move
        seen: list[Event] = []
        noting = asyncio.create_task(note(cluster, seen))
        topic = await flood_topic(cluster)
        calls = asyncio.create_task(call(cluster, over))
        until = time.monotonic() + FLOOD_S
        while time.monotonic() < until:
            await topic.publish(value)
            published += 1
        over.set()
        assert await calls > 0
        await topic.publish(LAST)
        for member in members:
            received = await member.says("received")
            assert received["counts"] == [published + 1] * QUICK
        noting.cancel()
    assert not seen
    for member in members:
        member.check_unharmed()
        assert not member.said("MemberSuspected")
        assert not member.said("MemberUnreachable")
        dropped = {(line["reason"], line["subscription"]) for line in member.said("MessagesDropped")}
        assert dropped <= {("slow_subscriber", "slow")}
