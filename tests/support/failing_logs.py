"""A log storage in memory whose next appends wait or fail, and the node of its writer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from inaho import ClusterConfig
from inaho.actor import EventStream
from inaho.errors import InahoError, StorageFailed
from inaho.runtime.local.clock import SystemEntropy
from inaho.runtime.local.local_node import LocalNode
from inaho.storage.log import LogBounds
from inaho.storage.log.memory import MemoryLog

__all__ = ["FailingLog", "local_node", "refused", "unanswered"]


class FailingLog(MemoryLog):
    """As `MemoryLog`.

    Attributes:
        outcomes: errors of the next appends.
        commits: whether an append that fails with `maybe_executed` is in the log all the same.
        gate: appends wait for it.
        sizes: records of each append that reached the log.
        open_failures: how many times opening the log fails.
    """

    def __init__(self) -> None:
        super().__init__(ClusterConfig().storage, lambda log: None, lambda log: None)
        self.outcomes: list[InahoError] = []
        self.commits = True
        self.gate = asyncio.Event()
        self.gate.set()
        self.sizes: list[int] = []
        self.open_failures = 0

    async def _append(self, log: str, records: Sequence[bytes], *, offset: int, epoch: int) -> None:
        await self.gate.wait()
        error = self.outcomes.pop(0) if self.outcomes else None
        if error is None or (error.maybe_executed and self.commits):
            await super()._append(log, records, offset=offset, epoch=epoch)
            self.sizes.append(len(records))
        if error is not None:
            raise error

    async def _open_log(self, log: str, epoch: int) -> LogBounds:
        if self.open_failures:
            self.open_failures -= 1
            raise StorageFailed("down")
        return await super()._open_log(log, epoch)


def refused() -> StorageFailed:
    return StorageFailed("refused", maybe_executed=False)


def unanswered() -> StorageFailed:
    return StorageFailed("no answer", maybe_executed=True)


def local_node(config: ClusterConfig | None = None) -> LocalNode:
    """The shared objects of a node that has nothing else."""
    loop = asyncio.get_running_loop()
    return LocalNode(config or ClusterConfig(), events=EventStream(), entropy=SystemEntropy(), loop=loop)
