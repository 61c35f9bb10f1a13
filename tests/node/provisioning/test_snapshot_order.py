"""Snapshots of a provider that is the membership: in order, applied at once, and refused while the node leaves."""

from __future__ import annotations

import asyncio

import inaho
from inaho import Cluster
from inaho.errors import ProviderUnreachable
from inaho.events import PidInvalidated, ProviderChanged, SnapshotApplied, TopologyChanged
from inaho.providers.base import ProviderRead
from inaho.providers.memory import MemoryProvider, MemoryTopology
from support.provided_fleet import ProvidedFleet
from support.waiting import until

KEYS = 40


class Counted(MemoryProvider):
    """Counts how often it was read."""

    reads = 0

    async def read(self) -> ProviderRead:
        found = await super().read()
        self.reads += 1
        return found


class Slow(inaho.Grain):
    begun = asyncio.Event()
    gate = asyncio.Event()

    async def work(self) -> str:
        self.begun.set()
        await self.gate.wait()
        return self.cluster.authority


def owners(cluster: Cluster) -> set[str]:
    return {member.authority for member in cluster.runtime.topology.lookup.hosts("Where")}


def cached(cluster: Cluster) -> dict[str, str]:
    """Keys in the PidCache, each with the authority."""
    cache, now = cluster.runtime.pid_cache, cluster.runtime.local.now
    found = {key: cache.get("Where", key, now) for key in map("key-{}".format, range(KEYS))}
    return {key: pid.authority for key, pid in found.items() if pid is not None}


async def test_pr_2_1_three_consumers_get_each_snapshot_in_order(listed: ProvidedFleet):
    spare = MemoryTopology()
    first = await listed.member(providers=[listed.provider("first"), MemoryProvider("second", spare)])
    provisioning = listed.provisioning(first)
    await until(lambda: spare.members())
    seen: list[int] = []
    changed = listed.events(first, ProviderChanged)

    def applied(event: SnapshotApplied) -> None:
        seen.append(event.seq_no)
        hub = provisioning.service.feed.hub
        assert hub._delivered == dict.fromkeys(("placement", "partitions", "remoting"), event.seq_no)
        assert provisioning.partitions.newest() is hub.last
        assert provisioning.remoting.log.blocked == first.blocked() == hub.last.blocked_nodes

    first.system.events.subscribe_callback(SnapshotApplied, applied)
    before = listed.snapshot(first).seq_no
    for number in range(1, 4):
        listed.topology.block(f"10.7.7.7:{number}")
        await until(lambda: len(first.blocked()) == number)  # noqa: B023  it is awaited before the next number
    listed.topology.fail(ProviderUnreachable("a test says so"))
    await until(lambda: changed and first.blocked() == ())
    spare.block("10.7.7.7:9")
    await until(lambda: first.blocked() == ("10.7.7.7:9",))
    assert seen == list(range(before + 1, before + 1 + len(seen)))
    assert len(seen) >= 5


async def test_pr_2_3_an_unchanged_snapshot_leaves_the_caches_and_a_changed_one_drops_what_is_wrong(
    listed: ProvidedFleet,
):
    provider = Counted("memory", listed.topology)
    first = await listed.member(providers=[provider])
    second, third = await listed.member(), await listed.member()
    await listed.settled(first, second, third)
    await listed.answers(first, KEYS)
    events = listed.events(first, SnapshotApplied, TopologyChanged, PidInvalidated)
    before, lookup = cached(first), first.runtime.topology.lookup
    assert set(before.values()) == {second.authority, third.authority}
    recomputed, reads = lookup.recomputed, provider.reads

    listed.provisioning(first).service.read_soon()
    await until(lambda: provider.reads >= reads + 3)
    assert events == []
    assert (cached(first), lookup.recomputed) == (before, recomputed)

    listed.topology.block(second.authority)
    await until(lambda: any(isinstance(event, SnapshotApplied) for event in events))
    assert lookup.recomputed == recomputed + 1
    assert cached(first) == {key: at for key, at in before.items() if at != second.authority}
    dropped = [event for event in events if isinstance(event, PidInvalidated)]
    assert {event.authority for event in dropped} == {second.authority}


async def test_pr_3_1_owners_are_those_of_the_snapshot_before_a_request_is_served(listed: ProvidedFleet):
    first, second, third = [await listed.member() for _ in range(3)]
    await listed.settled(first, second, third)
    await until(lambda: all(listed.provisioning(each).service.steady for each in (first, second, third)))
    in_step: list[TopologyChanged] = []
    seen: list[tuple[int, bool, set[str]]] = []
    calls: list[asyncio.Task[set[str]]] = []

    def changed(event: TopologyChanged) -> None:
        in_step.append(event)
        asyncio.get_running_loop().call_soon(in_step.clear)  # the next step of the loop begins

    def applied(event: SnapshotApplied) -> None:
        seen.append((event.seq_no, bool(in_step), owners(first)))
        calls.append(asyncio.create_task(listed.answers(first, KEYS, f"{event.seq_no}-{{}}".format)))

    first.system.events.subscribe_callback(TopologyChanged, changed)
    first.system.events.subscribe_callback(SnapshotApplied, applied)
    all_three = {first.authority, second.authority, third.authority}
    before = listed.snapshot(first).seq_no
    listed.topology.block(second.authority)
    await until(lambda: len(seen) == 1)
    assert await calls[0] == {first.authority, third.authority}
    listed.topology.unblock(second.authority)
    await until(lambda: len(seen) == 2)
    for stream in listed.provisioning(third).service._streams.values():
        stream._member = lambda: None  # it does not register again
    listed.topology.expire(third.authority)
    await until(lambda: len(seen) == 3)
    assert seen == [
        (before + 1, True, all_three - {second.authority}),
        (before + 2, True, all_three),
        (before + 3, True, all_three - {third.authority}),
    ]
    assert await calls[1] <= all_three
    assert await calls[2] == {first.authority, second.authority}


async def test_pr_3_5_a_node_that_leaves_drains_by_its_last_snapshot(listed: ProvidedFleet):
    Slow.begun, Slow.gate = asyncio.Event(), asyncio.Event()
    config = listed.config.replace(activation=listed.config.activation.replace(drain_s=15.0))
    first = await listed.member()
    second = await listed.member(Slow, config=config)
    await listed.settled(first, second)
    provisioning = listed.provisioning(second)
    call = asyncio.create_task(first.grain(Slow, "one").work())
    await Slow.begun.wait()
    leaving = asyncio.create_task(second.close())
    await until(lambda: provisioning.service.feed.hub.closed)
    last, events = listed.snapshot(second), listed.events(second, SnapshotApplied)

    listed.topology.block("10.7.7.7:7700")
    provisioning.service.read_soon()
    await until(lambda: listed.snapshot(first).blocked_nodes == ("10.7.7.7:7700",))
    reports = provisioning.service.reports
    await until(lambda: reports()[0].heard_s is not None and reports()[0].heard_s < 0.1)
    assert events == []
    assert provisioning.partitions.last is listed.snapshot(second) is last
    assert second.authority in {member.authority for member in second.runtime.topology.members}
    assert not leaving.done()

    Slow.gate.set()
    assert await call == second.authority
    await leaving
    assert [authority for authority, _ in listed.topology.members()] == [first.authority]
