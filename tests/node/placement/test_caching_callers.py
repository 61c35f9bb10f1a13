"""Who keeps in its PidCache where a placed activation is hears of its end, whether it subscribes to events or not."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from inaho import Cluster, Grain
from inaho.config.transport import FRAME_BYTES_MIN
from inaho.core.identity.identity import KEY_BYTES_MAX
from inaho.events import ActivationTerminated, PidInvalidated
from inaho.runtime.placement.caching_callers import GONE_MIN, CachingCallers
from inaho.wire.frames import ENDS_MAX


class Near(Grain, placement="prefer_local"):
    async def where(self) -> str:
        return self.cluster.authority

    async def leave(self) -> None:
        self.deactivate()


def kept(cluster: Cluster, key: str) -> str | None:
    """Where the PidCache of that node says that the activation is."""
    pid = cluster.runtime.pid_cache.peek("Near", key)
    return None if pid is None else pid.authority


async def call(cluster: Cluster, key: str, at: Cluster) -> None:
    """Calls until it is remembered where the activation is: the first call may have waited in the line of its key."""
    while kept(cluster, key) is None:
        assert await cluster.grain(Near, key).where() == at.authority
    assert kept(cluster, key) == at.authority


def callers(cluster: Cluster) -> CachingCallers:
    """What the node knows of those who keep its activations."""
    known = cluster.runtime.caching_callers
    known.check()
    return known


async def test_an_end_drops_the_entries_of_all_who_keep_it(fleet: Any, eventually: Any):
    owner, holder, third = await fleet.members(3, Near)
    client = await fleet.client()
    key = fleet.key_at(owner, Near)
    assert await holder.grain(Near, key).where() == holder.authority
    for caller in (owner, third, client):
        await call(caller, key, holder)
        assert not caller.system.events.wants(ActivationTerminated)
    await eventually(
        lambda: (
            set(callers(holder)._callers["Near", key])
            == {caller.runtime.local.node_id for caller in (owner, third, client)}
        )
    )
    with client.system.events.subscribe(PidInvalidated) as told:
        await holder.grain(Near, key).leave()
        event = await anext(told)
    assert (event.kind, event.key, event.authority, event.reason) == ("Near", key, holder.authority, "terminated")
    await eventually(lambda: not any(kept(caller, key) for caller in (owner, third, client)))
    assert len(callers(holder)) == 0
    assert await third.grain(Near, key).where() == third.authority
    assert await client.grain(Near, key).where() == third.authority
    assert client.context.retries == third.context.retries == 0


async def test_an_end_that_follows_the_answer_at_once_is_not_overtaken_by_it(fleet: Any, eventually: Any):
    owner, holder = await fleet.members(2, Near)
    client = await fleet.client()
    key = fleet.key_at(owner, Near)
    with client.system.events.subscribe(PidInvalidated) as told:
        reasons: set[str] = set()
        while "terminated" not in reasons:  # a call that waits in the line of its key does not remember where it went
            await holder.grain(Near, key).where()
            await asyncio.gather(*(client.grain(Near, key).leave() for _ in range(3)))
            await eventually(lambda: not holder.runtime.hosts["Near"].activations and not kept(client, key))
            reasons.update(event.reason for event in told.drain())
    assert len(callers(holder)) == 0


async def test_who_keeps_what_is_not_there_hears_so_at_once(fleet: Any, eventually: Any):
    holder, caller = await fleet.members(2, Near)
    key = fleet.key_at(holder, Near)
    await holder.grain(Near, key).where()
    await call(caller, key, holder)
    connection = caller.runtime.peers.connections[holder.authority]
    pid = caller.runtime.pid_cache.peek("Near", key)
    assert pid is not None
    await eventually(lambda: not connection.used_lately)  # else only `LINES_MAX` entries are dropped
    keys = [f"gone{number}" for number in range(ENDS_MAX + 1)]  # more than one frame tells
    for gone in keys:
        identity = msgspec.structs.replace(pid.identity, key=gone)
        caller.runtime.pid_cache.put(msgspec.structs.replace(pid, identity=identity), caller.runtime.local.now)
        connection.keep("Near", gone)
    await eventually(lambda: not any(kept(caller, gone) for gone in keys))
    assert kept(caller, key) == holder.authority
    assert len(callers(holder)) == 1


async def test_ends_fit_into_the_smallest_frames(fleet: Any, eventually: Any):
    small = {"transport": {"frame_bytes_max": FRAME_BYTES_MIN}}
    holder, caller = await fleet.members(2, Near, **small)
    here = fleet.key_at(holder, Near)
    await holder.grain(Near, here).where()
    await call(caller, here, holder)
    pid = caller.runtime.pid_cache.peek("Near", here)
    connection = caller.runtime.peers.connections[holder.authority]
    await eventually(lambda: not connection.used_lately)
    keys = [f"{number:x}".rjust(KEY_BYTES_MAX, "x") for number in range(40)]
    for gone in keys:
        identity = msgspec.structs.replace(pid.identity, key=gone)
        caller.runtime.pid_cache.put(msgspec.structs.replace(pid, identity=identity), caller.runtime.local.now)
    for gone in keys:  # they end in one iteration of the loop
        callers(holder)._notify(caller.runtime.local.node_id, ("Near", gone))
    await eventually(lambda: not any(kept(caller, gone) for gone in keys))
    assert caller.runtime.peers.connections[holder.authority] is connection and not connection.closed


@pytest.mark.parametrize("lacking", ["caller", "holder"])
async def test_with_a_peer_of_an_older_release_the_next_call_finds_out(fleet: Any, eventually: Any, lacking: str):
    owner, holder = await fleet.members(2, Near)
    client = await fleet.client()
    key, other = (fleet.key_at(owner, Near, prefix) for prefix in ("a", "b"))
    for each in (key, other):
        await holder.grain(Near, each).where()
    await client.runtime.peers.connect(holder.authority, "")
    dialled = client.runtime.peers.connections[holder.authority]
    for connection in [dialled] if lacking == "holder" else holder.runtime.acceptor.connections:
        connection.peer = msgspec.structs.replace(connection.peer, features={})
    await call(client, key, holder)
    await client.grain(Near, key).where()
    assert len(callers(holder)) == (lacking == "caller")
    await holder.grain(Near, key).leave()
    await client.grain(Near, other).where()  # what could have come has come
    assert kept(client, key) == holder.authority
    assert client.context.retries == 0
    assert await client.grain(Near, key).where()
    assert client.context.retries == 1


async def test_an_activation_that_has_begun_again_is_not_told_as_ended(fleet: Any, eventually: Any):
    holder, caller = await fleet.members(2, Near)
    key = fleet.key_at(holder, Near)
    await holder.grain(Near, key).where()
    await call(caller, key, holder)
    known, host = callers(holder), holder.runtime.hosts["Near"]
    await eventually(lambda: len(known) == 1)
    former = host.activations[key]
    host.activations.pop(key)
    known.ended("Near", key)
    assert len(known) == 0
    host.activations[key] = former  # before the loop turns
    await eventually(lambda: len(known) == 1)
    known.check()
    assert kept(caller, key) == holder.authority


async def test_callers_that_left_are_forgotten(fleet: Any):
    (holder,) = await fleet.members(1, Near)
    client = await fleet.client()
    key = fleet.key_at(holder, Near)
    await holder.grain(Near, key).where()
    known = callers(holder)
    known.keeps(client.runtime.local.node_id, "Near", key)
    for number in range(1_000):
        known.keeps(f"gone{number}", "Near", key)
        assert len(known) <= 2 * len(holder.runtime.acceptor.callers) + GONE_MIN + 1
    known.check()
    assert client.runtime.local.node_id in known._callers["Near", key]
    known.ended("Near", key)
    assert set(known._due) == {client.runtime.local.node_id}


async def test_remembered_callers_are_bounded(fleet: Any):
    (holder,) = await fleet.members(1, Near, activation={"pid_cache_size": 10})
    keys = [f"k{number}" for number in range(30)]
    for key in keys:
        await holder.grain(Near, key).where()
        callers(holder).keeps("caller", "Near", key)
    assert list(callers(holder)._callers) == [("Near", key) for key in keys[-10:]]


async def test_many_ends_are_sent_in_slices_and_wait_for_a_caller_that_does_not_read(fleet: Any, eventually: Any):
    (holder,) = await fleet.members(1, Near)
    client = await fleet.client()
    known = callers(holder)
    node_id = client.runtime.local.node_id
    await eventually(lambda: node_id in holder.runtime.acceptor.callers)
    connection = holder.runtime.acceptor.callers[node_id]
    count = 100 * ENDS_MAX
    connection.pause_writing()
    for number in range(count):
        known.keeps(node_id, "Near", f"gone{number}")
    for _ in range(10):
        await asyncio.sleep(0)
    known.check()
    assert known._due_count == count
    connection.resume_writing()
    known.tick()
    await asyncio.sleep(0)
    assert 0 < known._due_count < count
    await eventually(lambda: not known._due_count)
    assert not known._due
