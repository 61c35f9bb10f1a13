"""Grains that come up and end when a test lets them, and a check of the ledgers of leases."""

# ruff: noqa: RUF012  Structs copy mutable defaults

from __future__ import annotations

import asyncio
from typing import Any

from inaho import Grain, Struct


class Count(Struct):
    value: int = 0
    marks: list[str] = []


class Counter(Grain[Count]):
    async def add(self) -> int:
        self.state.value += 1
        await self.save()
        return self.state.value

    async def mark(self, text: str) -> None:
        """Not saved."""
        self.state.marks.append(text)

    async def look(self) -> Count:
        return self.state

    async def stop(self) -> None:
        self.deactivate()

    async def epoch(self) -> int:
        return self.context.epoch


class Gate:
    """What grains of a test wait at."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.reached = 0

    async def wait(self) -> None:
        self.reached += 1
        await self.open.wait()


GATES: dict[str, Gate] = {}


class Waiting(Grain[Count]):
    async def on_activate(self) -> None:
        await self._at("start")

    async def on_deactivate(self, reason: str) -> None:
        await self._at("stop")

    async def _at(self, where: str) -> None:
        gate = GATES.get(where)
        if gate is not None:
            await gate.wait()

    async def ask(self) -> int:
        return self.context.epoch

    async def stop(self) -> None:
        self.deactivate()

    async def save_at_gate(self) -> None:
        self.state.value += 1
        await self._at("turn")
        await self.save()


def ledger_agrees(fleet: Any) -> bool:
    """Every activation has its lease in the ledger of its node, and every lease its activation."""
    for cluster in fleet.clusters:
        node = cluster._node
        node.leases.ledger.check()
        hosts = [host for host in node.hosts.values() if not host.system]
        active = [grain._inaho_lease for host in hosts for grain in host.activations.values()]
        if len(node.leases.ledger) != len(active) or not all(
            node.leases.ledger.get(held.kind, held.key) is held for held in active
        ):
            return False
    return True
