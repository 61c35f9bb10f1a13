"""The storage of one node: watched for losses, and accepted on an operator's word.

A storage that has lost what it had acknowledged refuses every operation (`inaho.storage.instances`). The node says so
once, in the log and as an event. When an operator accepts what is there, whatever the node knows of earlier versions is
forgotten, and its activations end without saving and begin again from what is stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from inaho.events import StorageAccepted, StorageDataLost
from inaho.observe.audit import audit_order
from inaho.types import Struct

if TYPE_CHECKING:
    from inaho.runtime.node.node import Node
    from inaho.storage import Storage

__all__ = ["StorageAccess", "StorageReport"]

MARKS_MAX: Final = 8
"""Marks that one report lists; a Redis Cluster has one for each slot."""


class StorageReport(Struct, frozen=True):
    """The storage of one member as that member sees it.

    Attributes:
        authority: of the member.
        storage: its name, without secrets.
        lost: what was found missing, one sentence; empty in the usual case. Then everything is refused.
        marks: what was seen of the instances of the storage, the first few of them; none before the first use, or
            where the back end has none.
    """

    authority: str
    storage: str
    lost: str
    marks: tuple[str, ...]


class StorageAccess:
    """Tells the operators of a node of losses, and does what they say about them.

    Args:
        node: the node.
        storage: durable state of its grains.
    """

    def __init__(self, node: Node, storage: Storage) -> None:
        self._node = node
        self._local = node.local
        self._storage = storage
        self._watching = False

    def begin(self) -> None:
        """The storage is about to be opened."""
        if not self._watching:
            self._watching = True
            self._storage.instances.watch(self._found_loss)

    def end(self) -> None:
        """This node uses it no more."""
        if self._watching:
            self._watching = False
            self._storage.instances.unwatch(self._found_loss)

    def report(self) -> StorageReport:
        """What this node knows of its storage."""
        instances = self._storage.instances
        marks = tuple(str(mark) for mark in instances.marks()[:MARKS_MAX])
        return StorageReport(self._local.authority, repr(self._storage), instances.lost, marks)

    async def accept(self) -> StorageReport:
        """Accepts what the storage has now, and begins all activations with a state again.

        Returns:
            The report from before: what was accepted.

        Raises:
            StorageFailed: the storage cannot be opened or asked; nothing was accepted.
        """
        node = self._node
        storage = await node.open_storage()
        before = self.report()
        await storage.accept()
        audit_order("accept the data of", before.storage, self._local.authority)
        self._local.publish(StorageAccepted(storage=before.storage, reason=before.lost))
        node.saved_versions.forget()
        for host in node.hosts.values():
            for grain in list(host.activations.values()):
                record = grain._inaho_record
                if record is None:
                    continue
                record.version = 0  # what it had is not expected of the storage any more
                record.version_unknown = True
                host.deactivate_soon(grain, "stale")
        return before

    def _found_loss(self, reason: str) -> None:
        node = self._node
        self._local.log.error(
            "the storage has lost what it had acknowledged, and grains with a state are refused: %s; bring back the "
            "newest data, or accept what is there with `inaho storage accept`",
            reason,
        )
        self._local.publish(StorageDataLost(storage=repr(self._storage), reason=reason))
        node.proofs.require_all()  # what is active may have what is lost; a proof is refused until an operator accepts
