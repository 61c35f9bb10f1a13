"""What nodes ask of each other about activations: a system actor, one per node, called like any grain.

It is a grain of a reserved kind whose one activation exists from the start of the node, so requests between nodes have
the deadlines, the authentication, the bounds and the errors of any call, and nothing of their own.
"""

from __future__ import annotations

from typing import Final

from inaho.runtime.grain import Grain, method
from inaho.types import Struct

__all__ = ["PLACEMENT_KEY", "ActivationRecord", "PlacementActor"]

PLACEMENT_KEY: Final = "placement"


class ActivationRecord(Struct, frozen=True, array_like=True):
    """What the last owner tells the next of an activation that it has ended.

    Attributes:
        was_active: whether there was one.
        version: of the state that it had loaded or saved last; 0 for none.
        epoch: its fencing token; the next one must exceed it.
        snapshot: its state as it stood, saved or not; None where there is none, or it is too large to take along.
        authority: of the node that ended it.
        drained: that node has nothing else of the partition, and need not be asked again.
    """

    was_active: bool
    version: int = 0
    epoch: int = 0
    snapshot: bytes | None = None
    authority: str = ""
    drained: bool = False


class PlacementActor(Grain, name="inaho.placement", reentrant=True, idle_ttl_s=0):
    """Answers other nodes about activations on this one (SPEC VA-2, BS-3)."""

    @method(idempotent=True)
    async def release(self, kind: str, key: str, topology_version: int, askers: list[str]) -> ActivationRecord:
        """Ends the activation, after its running turns, because the asker owns the identity now.

        Args:
            kind, key: the identity.
            topology_version: by which the asker owns it; this node waits until it has seen as much.
            askers: node ids that wait for the answer, the first of which owns the identity. None of them is asked
                again: where a partition went round, they would wait for each other.
        """
        return await self._inaho_host.node.bridge.release(kind, key, topology_version, askers)

    @method(idempotent=True)
    async def drained(self, kind: str, partitions: list[int], node_id: str, topology_version: int) -> None:
        """The node runs nothing of these partitions any more; it need not be asked again.

        Args:
            kind, partitions: what it was.
            node_id: of the last owner.
            topology_version: by which it lost them; before this node has seen as much it does not wait for them yet.
        """
        await self._inaho_host.node.bridge.drained(kind, partitions, node_id, topology_version)

    @method(idempotent=True)
    async def superseded(self, kind: str, versions: dict[str, int], authority: str) -> None:
        """The node `authority` has ended activations of this node's identities, of which it had saved `versions`."""
        self._inaho_host.node.bridge.superseded(kind, versions, authority)
