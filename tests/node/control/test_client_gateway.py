"""A client finds another gateway when its own goes silent."""

from __future__ import annotations

import asyncio
from typing import Any

from inaho import DetectionConfig

TIMES = {"probe_interval_s": 0.1, "probe_timeout_s": 0.09, "lag_wedged_s": 0.5}


async def client_of_first(fleet: Any, eventually: Any) -> tuple[Any, Any, Any]:
    """Two members, and a client that is connected with the first alone."""
    one, other = await fleet.members(2)
    plain = fleet.config
    fleet.config = lambda **groups: plain(**groups).replace(detection=DetectionConfig(**TIMES))
    client = await fleet.client()
    connections = client._node.peers.connections

    def with_first_alone() -> bool:
        for authority, connection in list(connections.items()):
            if authority != one.authority:
                connection.close()  # it dials all seeds at once
        return set(connections) == {one.authority}

    await eventually(with_first_alone)
    return one, other, client


def name_of(fleet: Any, client: Any, member: Any) -> str:
    """Under which the network knows the client."""
    [name] = {
        end
        for pair in fleet.network.connections
        for end in pair
        if member.authority in pair and not any(end == known.authority for known in fleet.clusters if known.authority)
    }
    return str(name)


async def test_a_silent_home_is_replaced(fleet: Any, eventually: Any):
    one, other, client = await client_of_first(fleet, eventually)
    peers = client._node.peers
    name = name_of(fleet, client, one)
    fleet.network.cut(one.authority, name)  # it hears, and is not heard
    await eventually(lambda: other.authority in peers.connections)
    assert one.authority in peers.connections, "the members judge it, and not the client"
    assert client._node.topology.snapshot is not None
    fleet.network.heal_all()


async def test_a_quiet_home_answers_and_is_kept(fleet: Any, eventually: Any):
    one, _, client = await client_of_first(fleet, eventually)
    peers = client._node.peers
    connection = peers.connections[one.authority]
    before = connection.bytes_received
    await eventually(lambda: connection.bytes_received > before)
    loop = asyncio.get_running_loop()
    until = loop.time() + TIMES["lag_wedged_s"] * 2
    await eventually(lambda: loop.time() > until)
    assert set(peers.connections) == {one.authority}
    assert not client.system.dead_letters.counts and not one.system.dead_letters.counts
