"""The end of an activation drops the entries of its callers at once, and no call overtakes one that is on its way."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from inaho import Cluster, Grain
from inaho.testing import SimCluster


class Near(Grain, placement="prefer_local"):
    """Remembers what ran, over all nodes."""

    ran: ClassVar[list[int]] = []

    async def put(self, number: int) -> None:
        self.ran.append(number)

    async def where(self) -> str:
        return self.cluster.authority

    async def end(self) -> None:
        self.deactivate()


def kept(cluster: Cluster, key: str) -> str | None:
    """Where the PidCache of that node says that the activation is."""
    pid = cluster.runtime.pid_cache.peek("Near", key)
    return None if pid is None else pid.authority


def test_a_call_on_its_way_to_an_ended_activation_is_not_overtaken(simulation_seed: int) -> None:
    Near.ran.clear()
    with SimCluster(nodes=3, seed=simulation_seed, grains=[Near]) as sim:
        client, holder, other = sim.client(), sim.node(1), sim.node(2)

        async def scenario() -> None:
            lookup = sim.node(0).runtime.topology.lookup
            key = next(key for key in map(str, range(100)) if lookup.owner("Near", key).authority == sim.authority(0))
            assert await holder.grain(Near, key).where() == holder.authority
            while kept(client, key) is None:  # the first call may have waited in the line of its key
                await client.grain(Near, key).where()
            await sim.until(lambda: len(holder.runtime.caching_callers) == 1)
            sim.cut(client, 1)  # what the client sends to the holder is on its way until it heals
            first = asyncio.create_task(client.grain(Near, key).put(1))
            await asyncio.sleep(0)
            await holder.grain(Near, key).end()
            await sim.until(lambda: kept(client, key) is None)
            assert not first.done()
            assert await other.grain(Near, key).where() == other.authority
            second = asyncio.create_task(client.grain(Near, key).put(2))
            await asyncio.sleep(0.3)  # virtual seconds, in which the second call could run many times
            assert Near.ran == []
            sim.heal()
            await asyncio.gather(first, second)
            assert Near.ran == [1, 2]
            assert kept(client, key) == other.authority

        sim.run(scenario())


def test_an_entry_that_no_call_uses_is_dropped_without_a_line(simulation_seed: int) -> None:
    with SimCluster(nodes=3, seed=simulation_seed, grains=[Near]) as sim:
        client, holder = sim.client(), sim.node(1)

        async def scenario() -> None:
            assert await holder.grain(Near, "a").where() == holder.authority
            while kept(client, "a") is None:
                await client.grain(Near, "a").where()
            connection = client.runtime.peers.connections[holder.authority]
            await sim.until(lambda: len(holder.runtime.caching_callers) == 1 and not connection.used_lately)
            await holder.grain(Near, "a").end()
            await sim.until(lambda: kept(client, "a") is None)
            assert not client.runtime.hosts["Near"].lines
            assert await client.grain(Near, "a").where()
            assert client.context.retries == 0

        sim.run(scenario())
