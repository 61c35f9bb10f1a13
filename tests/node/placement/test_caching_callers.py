"""Who keeps in its PidCache where a placed activation is hears of its end, whether it subscribes to events or not."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from inaho import Cluster, Grain
from inaho.events import ActivationTerminated, PidInvalidated
from inaho.runtime.placement.caching_callers import CachingCallers
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
    keys = [f"gone{number}" for number in range(ENDS_MAX + 1)]  # more than one frame tells
    for gone in keys:
        identity = msgspec.structs.replace(pid.identity, key=gone)
        caller.runtime.pid_cache.put(msgspec.structs.replace(pid, identity=identity), caller.runtime.local.now)
        connection.keep("Near", gone)
    await eventually(lambda: not any(kept(caller, gone) for gone in keys))
    assert kept(caller, key) == holder.authority
    assert len(callers(holder)) == 1


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
