"""Opens the storage of one node, watches it for losses, and accepts its content on an operator's order.

A storage that has lost acknowledged data refuses every operation (`inaho.storage.instances`). The node reports it once,
in the log and as an event. When an operator accepts the present content, the node forgets what it knows of earlier
versions; its activations end without saving, and the next ones load what is stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from inaho.errors import StorageFailed
from inaho.errors.inspection import describe
from inaho.events import StorageAccepted, StorageDataLost
from inaho.observe.audit import audit_order
from inaho.runtime.local.local_node import LocalNode
from inaho.storage import Storage
from inaho.types import Struct

__all__ = ["StorageAccess", "StorageReport"]

MARKS_MAX: Final = 8
"""Bound of the marks that one report lists; a Redis Cluster has one for each slot."""


class StorageReport(Struct, frozen=True):
    """The storage of one member as that member sees it.

    Attributes:
        authority: of the member.
        storage: its name, without secrets.
        lost: the loss that was found, in one sentence; empty in the usual case. With a loss everything is refused.
        marks: the marks of the storage that were seen, the first few of them; none before the first use, or if the back
            end has none.
    """

    authority: str
    storage: str
    lost: str
    marks: tuple[str, ...]


class StorageAccess:
    """The storage of one node: opened when first needed, watched for losses, accepted on an operator's order.

    Args:
        local: the node.
        storage: durable state of its grains.
        lost: called when the storage has lost data: no activation counts as proved any more.
        accepted: called when an operator has accepted the content of the storage: known versions are void.

    Attributes:
        storage: as given; see `opened` for its use.
    """

    def __init__(
        self, local: LocalNode, storage: Storage, *, lost: Callable[[], None], accepted: Callable[[], None]
    ) -> None:
        self.storage = storage
        self._local = local
        self._lost = lost
        self._accepted = accepted
        self._opening: asyncio.Task[None] | None = None
        self._watching = False

    async def opened(self) -> Storage:
        """The storage, opened; after a failed attempt this is the next one. Raises as `Storage.open`."""
        opening = self._opening
        if opening is None or _failed(opening):
            if not self._watching:
                self._watching = True
                self.storage.instances.watch(self._found_loss)
            opening = self._opening = self._local.loop.create_task(self.storage.open(), name="inaho-open-storage")
        await asyncio.shield(opening)
        return self.storage

    async def open_early(self) -> None:
        """Finds problems of the storage before a call does. Raises `InvalidConfig`."""
        try:
            await self.opened()
        except StorageFailed as error:
            self._local.log.warning("opening the storage failed, retrying when a grain needs it: %s", describe(error))

    async def close(self) -> None:
        """This node does not use the storage any more."""
        if self._watching:
            self._watching = False
            self.storage.instances.unwatch(self._found_loss)
        if self._opening is not None:
            await asyncio.gather(self._opening, return_exceptions=True)
            if not _failed(self._opening):  # otherwise it would end the use of another node
                await self.storage.close()

    def report(self) -> StorageReport:
        """What this node knows of its storage."""
        instances = self.storage.instances
        marks = tuple(str(mark) for mark in instances.marks()[:MARKS_MAX])
        return StorageReport(self._local.authority, repr(self.storage), instances.lost, marks)

    async def accept(self) -> StorageReport:
        """Accepts the present content of the storage; all activations with state begin again.

        Returns:
            The report from before: the loss that was accepted.

        Raises:
            StorageFailed: the storage cannot be opened or asked; nothing was accepted.
        """
        storage = await self.opened()
        before = self.report()
        await storage.accept()
        audit_order("accept the data of", before.storage, self._local.authority)
        self._local.publish(StorageAccepted(storage=before.storage, reason=before.lost))
        self._accepted()
        return before

    def _found_loss(self, reason: str) -> None:
        self._local.log.error(
            "the storage has lost acknowledged data, and grains with a state are refused: %s; bring back the "
            "newest data, or accept what is there with `inaho storage accept`",
            reason,
        )
        self._local.publish(StorageDataLost(storage=repr(self.storage), reason=reason))
        self._lost()


def _failed(task: asyncio.Task[None]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
