"""Ends of activations, told to the event streams of whoever listens, wherever they are."""

from __future__ import annotations

import asyncio
from typing import Any

from inaho import ClusterIdentity, Grain, Pid
from inaho.events import ActivationTerminated, TerminationsMissed
from inaho.runtime.operators.terminations import BATCH_MAX, Listener, TerminationBatch


class Brief(Grain):
    async def touch(self) -> str:
        return self.cluster.authority

    async def stop(self) -> None:
        self.deactivate()


def follows(cluster: Any) -> set[str]:
    return set(cluster._terminations._following)


def listeners(cluster: Any) -> int:
    return len(cluster._terminations._listeners)


async def quiet(fleet: Any, eventually: Any) -> None:
    """Nobody listens any more."""
    await eventually(lambda: not any(listeners(cluster) or follows(cluster) for cluster in fleet.clusters))


async def test_an_end_is_told_to_members_and_clients_that_listen_and_to_nobody_else(fleet: Any, eventually: Any):
    one, two, three = await fleet.members(3, Brief)
    client, deaf = await fleet.client(), await fleet.client()
    key = fleet.key_at(two, Brief)
    await client.grain(Brief, key).touch()
    assert [listeners(member) for member in (one, two, three)] == [0, 0, 0]
    with (
        one.system.events.subscribe(ActivationTerminated) as at_member,
        two.system.events.subscribe(ActivationTerminated) as at_home,
        client.system.events.subscribe(ActivationTerminated) as at_client,
    ):
        await eventually(lambda: [listeners(member) for member in (one, two, three)] == [2, 2, 3])
        assert follows(deaf) == follows(three) == set()
        await client.grain(Brief, key).stop()
        for subscription in (at_member, at_home, at_client):
            told = await asyncio.wait_for(anext(subscription), 5)
            assert (str(told.identity), told.authority) == (f"Brief/{key}", two.authority)
            assert told.reason and told.at > 0
        assert not len(at_member) and not len(at_home) and not len(at_client)
    await quiet(fleet, eventually)


async def test_an_end_drops_the_entry_that_points_there_and_no_other(fleet: Any, eventually: Any):
    one, two = await fleet.members(2, Brief)
    client = await fleet.client()
    keys = [fleet.key_at(two, Brief, prefix) for prefix in ("a", "b")]
    for key in keys:
        await client.grain(Brief, key).touch()
    cache = client._node.pid_cache
    with client.system.events.subscribe(ActivationTerminated) as told:
        await eventually(lambda: listeners(one) == listeners(two) == 1)
        elsewhere = Pid(one.authority, one.self.node_id, ClusterIdentity("Brief", keys[1]))
        cache.put(elsewhere, client._node.local.now)  # it is active on another node by now
        for key in keys:
            two._node.hosts["Brief"].deactivate_soon(fleet.activation(Brief, key), "moved")
        for _ in keys:
            await asyncio.wait_for(anext(told), 5)
        assert cache.get("Brief", keys[0], client._node.local.now) is None
        assert cache.get("Brief", keys[1], client._node.local.now) == elsewhere
    await quiet(fleet, eventually)


async def test_newcomers_are_listened_to_and_who_leaves_tells_its_last(fleet: Any, eventually: Any):
    fleet.settle = False
    one = await fleet.member(Brief)
    with one.system.events.subscribe(ActivationTerminated) as told:
        two = await fleet.member(Brief)
        await eventually(lambda: follows(one) == {two.self.node_id} and listeners(two) == 1)
        key = fleet.key_at(two, Brief)
        await one.grain(Brief, key).touch()
        await two.leave()
        last = await asyncio.wait_for(anext(told), 5)
        assert (last.identity.key, last.reason, last.authority) == (key, "shutdown", two.authority)
        await eventually(lambda: not follows(one))


async def test_ten_thousand_at_once_are_all_told_in_bounded_batches(fleet: Any, eventually: Any):
    one, two = await fleet.members(2, Brief)
    count = 10_000
    with one.system.events.subscribe(ActivationTerminated, TerminationsMissed, capacity=count + 1) as told:
        await eventually(lambda: listeners(two) == 1)
        for number in range(count):
            two._terminations.ended("Brief", f"k{number}", "moved")
        await eventually(lambda: len(told) == count)
        assert [event.identity.key for event in told.drain()] == [f"k{number}" for number in range(count)]
        assert one._terminations.missed == 0
    await quiet(fleet, eventually)


async def test_who_reads_too_slowly_loses_the_oldest_and_is_told_how_many(fleet: Any, eventually: Any):
    one = await fleet.member(Brief)
    two = await fleet.member(Brief, activation={"terminations_max": 100})
    count = 10_000
    with one.system.events.subscribe(ActivationTerminated, TerminationsMissed, capacity=count) as told:
        await eventually(lambda: listeners(two) == 1)
        for number in range(count):
            two._terminations.ended("Brief", f"k{number}", "moved")
        await eventually(lambda: len(told) == 101)
        missed, *rest = told.drain()
        assert isinstance(missed, TerminationsMissed)
        assert (missed.authority, missed.count) == (two.authority, count - 100)
        assert [event.identity.key for event in rest] == [f"k{number}" for number in range(count - 100, count)]
        assert one._terminations.missed == count - 100
    await quiet(fleet, eventually)


async def test_a_member_that_dies_takes_its_interest_with_it(fleet: Any, eventually: Any):
    fleet.settle = False
    one, two = await fleet.members(2, Brief)
    with one.system.events.subscribe(ActivationTerminated):
        await eventually(lambda: listeners(two) == 1)
        await one._node.lifecycle.stop()
        await eventually(lambda: listeners(two) == 0)


async def test_a_batch_is_bounded_and_the_rest_waits_for_the_next():
    loop = asyncio.get_running_loop()
    listener = Listener(3 * BATCH_MAX, loop)
    waiting = asyncio.ensure_future(listener.next_batch())
    await asyncio.sleep(0)
    listener.flush()
    assert not waiting.done()
    for number in range(2 * BATCH_MAX + 1):
        listener.add(number)  # type: ignore[arg-type]
    await asyncio.sleep(0)
    assert not waiting.done(), "it waits for the tick"
    listener.flush()
    batches = [await waiting, await listener.next_batch(), await listener.next_batch()]
    assert [len(batch.terminations) for batch in batches if batch is not None] == [BATCH_MAX, BATCH_MAX, 1]
    listener.over = True
    assert await listener.next_batch() is None
    assert TerminationBatch([]).missed == 0
