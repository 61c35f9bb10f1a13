"""What nodes ask of each other about activations: a system actor, one per node, called like any grain.

It is a grain of a reserved kind whose one activation exists from the start of the node, so requests between nodes have
the deadlines, the authentication, the bounds and the errors of any call, and nothing of their own.
"""

from __future__ import annotations

from typing import Final

from inaho.runtime.activation.records import ActivationRecord
from inaho.runtime.grains.grain import Grain, method
from inaho.types import Pid, Struct

__all__ = ["PLACEMENT_KEY", "ActivationRequest", "ActivationResponse", "PlacementActor"]

PLACEMENT_KEY: Final = "placement"

LONG_S: Final = 600.0
"""For what may wait for an activation to come up or to end. Whoever asks has a shorter limit."""


class ActivationRequest(Struct, frozen=True, array_like=True):
    """An owner has another node host an activation (SPEC BS-3.1).

    Attributes:
        kind, key: the identity.
        epoch: of the lease that the owner has granted to the node.
        topology_hash: by which it is the owner.
        granted_by: node id of the owner.
        record: what the activation goes on from; None for none.
    """

    kind: str
    key: str
    epoch: int
    topology_hash: int
    granted_by: str
    record: ActivationRecord | None = None


class ActivationResponse(Struct, frozen=True, array_like=True):
    """What became of an `ActivationRequest`.

    Attributes:
        epoch: of the activation, which is up; not below what was granted unless it was up before.
        code: of the error because of which it is not up; empty when it is.
        reason: of that error.
    """

    epoch: int = 0
    code: str = ""
    reason: str = ""


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
    async def through(self, kind: str, partitions: list[int], topology_version: int) -> list[int]:
        """Which of these partitions this node has let go of: for who missed to be told that they are `drained`.

        Args:
            kind, partitions: which the asker waits for.
            topology_version: by which it gained them; this node waits until it has seen as much.
        """
        return await self._inaho_host.node.bridge.through(kind, partitions, topology_version)

    @method(idempotent=True)
    async def superseded(self, kind: str, versions: dict[str, int], authority: str) -> None:
        """The node `authority` has ended activations of this node's identities, of which it had saved `versions`."""
        self._inaho_host.node.saved_versions.heard(kind, versions, authority)

    @method(idempotent=True)
    async def reconcile(self, node_id: str, incarnation: int) -> bool:
        """Whether this node has let go of all that it took over while it and the asker had lost sight of each other.

        Args:
            node_id: of the asker.
            incarnation: of this node when the asker found it unreachable; -1 if it did not.
        """
        return self._inaho_host.node.freshness.reconciliation.asked(node_id, incarnation)

    @method(idempotent=True)
    async def doubted(self) -> list[tuple[str, str]]:
        """Node ids and authorities of the members that this node doubts: a node that joins doubts them too."""
        return self._inaho_host.node.freshness.reconciliation.doubted()

    # Placed kinds (`directory`, `holdings`). Asked of the owner:

    @method(idempotent=True, timeout=LONG_S)
    async def locate(self, kind: str, key: str, asker: str, verify: bool) -> Pid:
        """Where the identity is active; it is activated if it is not.

        Args:
            kind, key: the identity, of a placed kind or not.
            asker: node id of the caller.
            verify: the caller was refused where it was last, so the owner makes sure.
        """
        return await self._inaho_host.node.directory.locate(kind, key, asker, verify=verify)

    @method(idempotent=True)
    async def announce(self, kind: str, epochs: dict[str, int], node_id: str, topology_hash: int) -> list[str]:
        """The node holds these identities of this owner; answers which it is to give up since another has them."""
        return await self._inaho_host.node.holdings.announced(kind, epochs, node_id, topology_hash)

    @method(idempotent=True)
    async def terminated(self, kind: str, ends: dict[str, tuple[int, int]], node_id: str) -> None:
        """These activations have ended on the node (SPEC BS-3.3): by key, epoch and saved version, 0 for none."""
        await self._inaho_host.node.directory.terminated(kind, ends, node_id)

    # Asked of a host:

    @method(idempotent=True, timeout=LONG_S)
    async def activate(self, request: ActivationRequest) -> ActivationResponse:
        """Activates the identity here; a failure is an answer, not an error. Again is the same as once."""
        return await self._inaho_host.node.holdings.activate(request)

    @method(idempotent=True, timeout=LONG_S)
    async def recall(self, kind: str, key: str, epoch: int) -> ActivationRecord:
        """Ends the activation after its running turns; a request of that epoch or below that comes later is refused."""
        return await self._inaho_host.node.holdings.recall(kind, key, epoch)

    @method(idempotent=True)
    async def holds(self, kind: str, key: str) -> bool:
        """Whether the identity is active here and stays so."""
        return await self._inaho_host.node.holdings.holds(kind, key)

    @method(idempotent=True)
    async def held(self, kind: str, asker: str, topology_hash: int) -> dict[str, int]:
        """The asker's identities that are active here, and their epochs. Many are announced first, a page at a time."""
        return await self._inaho_host.node.holdings.held(kind, asker, topology_hash)
