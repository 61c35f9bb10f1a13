"""Storages that are used while their servers fail: names of records, limits of time, and calls that are repeated."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count
from typing import Any

from inaho.config import StorageConfig
from inaho.errors import StorageFailed
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
