"""Durable sends in real processes with SQLite: members are killed, and what was acknowledged reaches its grain."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import inaho
from inaho.errors import InahoError
from support.member_processes import MemberProcess, Processes, client, settings, until
from support.programs.durable_send_node import Cart

KEYS = [f"k{number}" for number in range(12)]


def config(tmp_path: Path) -> dict[str, Any]:
    return {"program": "durable_send_node.py", "storage": f"sqlite:{tmp_path / 'state.sqlite'}", "config": settings()}


def added(members: list[MemberProcess], key: str) -> list[int]:
    """What that cart has been given in any of these processes, in the order of time."""
    lines = [line for member in members for line in member.said("added", key=key)]
    return [line["item"] for line in sorted(lines, key=lambda line: line["at"])]


class Senders:
    """One sender for each key, which waits for each acknowledgement."""

    def __init__(self, cluster: inaho.Cluster) -> None:
        self.stored: dict[str, list[int]] = {key: [] for key in KEYS}
        self._cluster = cluster
        self._over = False

    async def run(self) -> None:
        await asyncio.gather(*(self._send(key) for key in KEYS))

    def end(self) -> None:
        self._over = True

    async def _send(self, key: str) -> None:
        cart, number = self._cluster.grain(Cart, key), 0
        while not self._over:
            try:
                await self._cluster.send(cart.add, number, durable=True)
                self.stored[key].append(number)
            except InahoError:  # not acknowledged: it may have been stored
                await asyncio.sleep(0.05)
            number += 1

    def missing(self, members: list[MemberProcess]) -> list[str]:
        return [f"{key}/{item}" for key in KEYS for item in set(self.stored[key]) - set(added(members, key))]

    def check_order(self, members: list[MemberProcess]) -> None:
        for key in KEYS:
            acknowledged = set(self.stored[key])
            assert [item for item in dict.fromkeys(added(members, key)) if item in acknowledged] == self.stored[key]


async def test_members_are_killed_one_after_another(processes: Processes, tmp_path: Path) -> None:
    members = await processes.cluster(3, **config(tmp_path))
    everybody = list(members)
    async with client(*members) as cluster:
        await until(lambda: len(cluster.members()) == 3, "the client knows all")
        senders = Senders(cluster)
        load = asyncio.ensure_future(senders.run())
        await until(lambda: all(len(stored) >= 20 for stored in senders.stored.values()), "sends are acknowledged")
        for victim in (members[1], members[2]):
            victim.kill()
            count = {key: len(stored) for key, stored in senders.stored.items()}
            await until(
                lambda count=count: all(len(stored) > count[key] + 5 for key, stored in senders.stored.items()),
                "all senders go on after the death",
            )
            everybody.append(await processes.start(seeds=(members[0].authority,), **config(tmp_path)))
        senders.end()
        await load
        await until(lambda: not senders.missing(everybody), f"everything arrives: {senders.missing(everybody)[:5]}")
    senders.check_order(everybody)
    everybody[-1].check_unharmed()


async def test_everything_is_killed_and_delayed_sends_come_afterwards(processes: Processes, tmp_path: Path) -> None:
    members = await processes.cluster(2, **config(tmp_path))
    async with client(*members) as cluster:
        for key in KEYS:
            await cluster.send(cluster.grain(Cart, key).add, 2, durable=True, after=3.0)
            await cluster.send(cluster.grain(Cart, key).add, 1, durable=True)
        cancelled = await cluster.send(cluster.grain(Cart, "other").add, 9, durable=True, after=3.0)
        assert await cluster.cancel_send(cancelled)
        stored_at = time.time()
    for member in members:
        member.kill()
    for member in members:
        await member.ended()
    started = await processes.start(**config(tmp_path))
    everybody = [*members, started]
    await until(lambda: all(2 in added(everybody, key) for key in KEYS), "the delayed ones come")
    assert all(1 in added(everybody, key) for key in KEYS)
    early = [line for line in started.said("added", item=2) if line["at"] < stored_at + 2.0]
    assert early == []
    assert added(everybody, "other") == []
    started.check_unharmed()
