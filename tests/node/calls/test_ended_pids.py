"""Entries of the PidCache whose activations have ended: which are dropped, and how many lines that opens."""

from __future__ import annotations

from typing import Any

import msgspec

from inaho import Cluster, Grain
from inaho.runtime.calls.ended_pids import LINES_MAX


class Near(Grain, placement="prefer_local"):
    async def where(self) -> str:
        return self.cluster.authority


async def kept_keys(caller: Cluster, holder: Cluster, key: str, count: int) -> list[str]:
    """Puts entries for further identities into the PidCache of the caller, which has just called the holder."""
    await holder.grain(Near, key).where()
    while (pid := caller.runtime.pid_cache.peek("Near", key)) is None:
        await caller.grain(Near, key).where()
    keys = [f"gone{number}" for number in range(count)]
    for gone in keys:
        identity = msgspec.structs.replace(pid.identity, key=gone)
        caller.runtime.pid_cache.put(msgspec.structs.replace(pid, identity=identity), caller.runtime.local.now)
    await caller.grain(Near, key).where()
    assert caller.runtime.peers.connections[holder.authority].used_lately
    return keys


async def test_ends_open_a_bounded_number_of_lines(fleet: Any, eventually: Any):
    holder, caller = await fleet.members(2, Near)
    key = fleet.key_at(holder, Near)
    keys = await kept_keys(caller, holder, key, 3 * LINES_MAX)
    node, host = caller.runtime, caller.runtime.hosts["Near"]

    def left() -> list[str]:
        return [gone for gone in keys if node.pid_cache.peek("Near", gone) is not None]

    node.ended_pids.drop(holder.runtime.local.node_id, [("Near", gone) for gone in keys])
    assert set(host.lines) == set(keys[:LINES_MAX])
    assert left() == keys[LINES_MAX:]
    lines = dict(host.lines)
    node.ended_pids.drop(holder.runtime.local.node_id, [("Near", gone) for gone in keys])
    assert host.lines == lines
    assert left() == keys[LINES_MAX:]
    await eventually(lambda: not host.lines)
    await caller.grain(Near, key).where()
    node.ended_pids.drop(holder.runtime.local.node_id, [("Near", gone) for gone in keys])
    assert left() == keys[2 * LINES_MAX :]
    assert await caller.grain(Near, keys[-1]).where() in (holder.authority, caller.authority)
    assert node.context.retries == 1  # a kept entry costs its caller one refusal


async def test_an_end_on_another_node_or_boot_drops_nothing(fleet: Any):
    holder, caller = await fleet.members(2, Near)
    keys = await kept_keys(caller, holder, fleet.key_at(holder, Near), 1)
    for node_id in (caller.runtime.local.node_id, "an earlier boot"):
        caller.runtime.ended_pids.drop(node_id, [("Near", keys[0]), ("Near", "unknown"), ("NoKind", keys[0])])
    assert caller.runtime.pid_cache.peek("Near", keys[0]) is not None
    assert not caller.runtime.hosts["Near"].lines


async def test_an_open_line_is_not_disturbed(fleet: Any):
    holder, caller = await fleet.members(2, Near)
    keys = await kept_keys(caller, holder, fleet.key_at(holder, Near), 1)
    host = caller.runtime.hosts["Near"]
    connection = caller.runtime.peers.connections[holder.authority]
    line = caller.context.order.hold(host, keys[0], connection)
    caller.runtime.ended_pids.drop(holder.runtime.local.node_id, [("Near", keys[0])])
    assert host.lines[keys[0]] is line
    assert line.former == [connection]
