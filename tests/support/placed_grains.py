"""A grain that lives with its first caller, and who holds the lease of it."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any, ClassVar

from inaho import Grain, MemberStatus, Struct


class Count(Struct):
    value: int = 0


class Near(Grain[Count], placement="prefer_local"):
    failing: ClassVar[set[str]] = set()
    gates: ClassVar[dict[str, asyncio.Event]] = {}

    async def on_activate(self) -> None:
        if gate := self.gates.get(self.key):
            await gate.wait()
        if self.cluster.authority in self.failing or self.key in self.failing:
            raise ValueError("not today")

    async def where(self) -> str:
        return self.cluster.authority

    async def add(self, hold: str = "") -> int:
        if hold:
            await self.gates[hold].wait()
        self.state.value += 1
        await self.save()
        return self.state.value

    async def bump(self) -> int:
        self.state.value += 1
        return self.state.value

    async def epoch(self) -> int:
        return self.context.epoch

    async def leave(self) -> None:
        self.deactivate()


def lease_of(cluster: Any, key: str, kind: str = "Near") -> Any:
    return cluster._node.leases.ledger.get(kind, key)


def key_at(cluster: Any, kind: str = "Near", prefix: str = "k") -> str:
    return next(
        f"{prefix}{number}" for number in itertools.count() if cluster._node.leases.owns(kind, f"{prefix}{number}")
    )


def up(cluster: Any) -> int:
    return sum(member.status is MemberStatus.UP for member in cluster.members())
