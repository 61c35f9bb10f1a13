"""What follows in all parts of a node when its storage has lost data, and when an operator accepts that."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inaho.runtime.node.parts import NodeParts

__all__ = ["StorageLosses"]


class StorageLosses:
    """Gets the calls of `StorageAccess`, and passes them to the parts of the node.

    Args:
        node: looked up when there is a call, because its parts are made after its `StorageAccess`.
    """

    def __init__(self, node: NodeParts) -> None:
        self._node = node

    def found(self) -> None:
        """An active grain may have state that the storage lost: a proof is refused until an operator accepts."""
        self._node.proofs.require_all()

    def accepted(self) -> None:
        """Activations with a state begin again from the stored state."""
        node = self._node
        node.saved_versions.forget()
        for host in node.hosts.values():
            host.storage_accepted()
