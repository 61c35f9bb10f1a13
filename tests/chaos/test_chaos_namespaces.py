"""A partition without a reset, between members in network namespaces of their own."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from inaho.config import GossipConfig
from support.chaos_processes import ChaosProcess, ChaosProcesses, Refused, key_at
from support.member_processes import settings
from support.network_namespaces import Islands

PORT = 7700


async def started(chaos: ChaosProcesses, islands: Islands, storage: str) -> list[ChaosProcess]:
    """A member on each island; the first is the seed."""
    seeds = (f"{islands.address(0)}:{PORT}",)
    gossip = GossipConfig(anti_entropy_s=1.0)
    members = [
        chaos.spawn(
            settings(authority=f"{islands.address(number)}:{PORT}", seeds=seeds, gossip=gossip),
            storage,
            islands.command(number),
        )
        for number in range(3)
    ]
    for member in members:
        await member.ready()
    for member in members:
        await member.sees_up(members)
    return members


class Counted:
    """One tally as several callers add to it: what was confirmed must be there in the end."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.confirmed = 0
        self.in_doubt = 0

    async def add(self, caller: ChaosProcess, timeout_s: float = 2.0) -> int | None:
        """The new value, or None when the call failed."""
        try:
            value: int = await caller.call("Tally", self.key, "add", 1, timeout_s=timeout_s)
        except Refused as error:
            self.in_doubt += error.maybe_executed
            return None
        self.confirmed += 1
        return value

    async def check(self, caller: ChaosProcess) -> None:
        value = await caller.call("Tally", self.key, "value")
        assert self.confirmed <= value <= self.confirmed + self.in_doubt


@pytest.mark.integration
@pytest.mark.timeout(120)
async def test_a_silent_partition_heals_into_one_cluster(
    chaos: ChaosProcesses, islands: Islands, tmp_path: Path
) -> None:
    """Each side serves while it lasts (`available`); afterwards all agree, and no confirmed addition is missing."""
    members = await started(chaos, islands, f"sqlite:{tmp_path / 'state.sqlite'}")
    first, second, alone = members
    client = await chaos.start(settings(authority="", seeds=(second.authority,)), before=islands.command(1))
    await client.sees_up(members)
    shared = [Counted(await key_at(client, "Tally", member)) for member in members]
    for tally in shared:
        for _ in range(3):
            assert await tally.add(client, timeout_s=10.0) == tally.confirmed

    islands.cut(2)
    await asyncio.gather(*(side.sees_up((first, second)) for side in (first, second, client)), alone.sees_up((alone,)))
    for tally in shared:
        for caller in (client, alone, client, alone):
            await tally.add(caller)
    for number in range(5):  # keys of one side only: nothing contradicts them, so each is served
        assert await client.call("Tally", f"together{number}", "add", 1, timeout_s=10.0) == 1
        assert await alone.call("Tally", f"alone{number}", "add", 1, timeout_s=10.0) == 1

    islands.heal(2)
    await asyncio.gather(*(process.sees_up(members, 30.0) for process in (*members, client)))
    for tally in shared:
        for caller in (client, *members):
            await tally.check(caller)
        homes = {await caller.call("Tally", tally.key, "where") for caller in (client, *members)}
        assert len(homes) == 1
    for number in range(5):
        assert await alone.call("Tally", f"together{number}", "value") == 1
        assert await client.call("Tally", f"alone{number}", "value") == 1
    for member in members:
        member.check_unharmed()
