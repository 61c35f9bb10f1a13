"""Storages that are used while their servers fail: names of records, limits of time, and calls that are repeated."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count
from typing import Any

from inaho.config import StorageConfig
from inaho.errors import StorageFailed
from inaho.storage import MemoryStorage
from inaho.testing.storage.faults import FaultyStorage
from inaho.types import ClusterIdentity

LIMIT_S = 30.0
SHORT = StorageConfig(operation_timeout_s=2.0, connections_max=2)
_kinds = count(1)


def names(number: int) -> list[ClusterIdentity]:
    """Identities that no other test has used."""
    kind = f"Failing{next(_kinds)}"
    return [ClusterIdentity(kind, str(each)) for each in range(number)]


async def answered(operation: Callable[[], Any]) -> Any:
    """Repeats what may be repeated until the storage answers; it reconnects by itself."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            try:
                return await operation()
            except StorageFailed:
                await asyncio.sleep(0.02)


class MemoryDamage:
    """Loses what is in memory; see `Damage` of the conformance suites."""

    def __init__(self, storage: MemoryStorage | FaultyStorage) -> None:
        self.storage = storage

    async def lose(self) -> None:
        self.storage.lose()

    async def snapshot(self) -> Any:
        return self.storage.snapshot()

    async def restore(self, snapshot: Any) -> None:
        self.storage.restore(snapshot)
