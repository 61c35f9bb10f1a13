"""The system actor on each node that answers other nodes about activations, called like any grain.

It is a grain of a reserved kind whose one activation exists from the start of the node. So requests between nodes have
the deadlines, the authentication, the bounds and the errors of any call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from inaho.runtime.activation.records import ActivationRecord
from inaho.runtime.grains.grain import Grain, method
from inaho.runtime.placement.activation_requests import ActivationRequest, ActivationResponse
from inaho.types import Pid

if TYPE_CHECKING:
    from inaho.runtime.placement.ports import (
        NewOwnerRole,
        PlacementDirectory,
        PlacementHost,
        PlacementSurvey,
        PreviousOwnerRole,
        Reconciler,
        SavedElsewhere,
    )

__all__ = ["PLACEMENT_KEY", "PlacementActor"]

PLACEMENT_KEY: Final = "placement"

LONG_S: Final = 600.0
"""Time limit of methods that may wait until an activation has started or ended. Their callers set shorter ones."""


class PlacementActor(Grain, name="inaho.placement", reentrant=True, idle_ttl_s=0):
    """Answers other nodes about activations on this one (SPEC VA-2, BS-3).

    Args:
        release: this node as the previous owner.
        taking_over: this node as the new owner.
        saved_versions: receives the versions that other nodes have saved.
        reconciler: answers members that found this node unreachable.
        directory, survey: of this node, which owns partitions.
        placed: activations of placed kinds on this node.
    """

    def __init__(
        self,
        release: PreviousOwnerRole,
        taking_over: NewOwnerRole,
        saved_versions: SavedElsewhere,
        reconciler: Reconciler,
        directory: PlacementDirectory,
        survey: PlacementSurvey,
        placed: PlacementHost,
    ) -> None:
        self._release = release
        self._taking_over = taking_over
        self._saved_versions = saved_versions
        self._reconciler = reconciler
        self._directory = directory
        self._survey = survey
        self._placed = placed

    @method(idempotent=True)
    async def release(self, kind: str, key: str, topology_version: int, askers: list[str]) -> ActivationRecord:
        """Ends the activation, after its running turns, because the asker owns the identity now.

        Args:
            kind, key: the identity.
            topology_version: by which the asker owns it; this node waits until it has seen that version.
            askers: node ids that wait for the answer; the first one owns the identity. This node asks none of them: if
                a partition returns to a node that owned it before, they would wait for each other.
        """
        return await self._release.release(kind, key, topology_version, askers)

    @method(idempotent=True)
    async def drained(self, kind: str, partitions: list[int], node_id: str, topology_version: int) -> None:
        """The node has no activation of these partitions any more; it need not be asked again.

        Args:
            kind, partitions: of the released identities.
            node_id: of the previous owner.
            topology_version: by which it lost them; this node waits until it has seen that version.
        """
        await self._taking_over.drained(kind, partitions, node_id, topology_version)

    @method(idempotent=True)
    async def through(self, kind: str, partitions: list[int], topology_version: int) -> list[int]:
        """Which of these partitions this node has released: for a new owner that missed the report (`drained`).

        Args:
            kind, partitions: those that the asker waits for.
            topology_version: by which it gained them; this node waits until it has seen that version.
        """
        return await self._release.through(kind, partitions, topology_version)

    @method(idempotent=True)
    async def superseded(self, kind: str, versions: dict[str, int], authority: str) -> None:
        """The node `authority` has ended activations of this owner's identities. It had saved `versions` of them."""
        self._saved_versions.heard(kind, versions, authority)

    @method(idempotent=True)
    async def reconcile(self, node_id: str, incarnation: int) -> bool:
        """Whether this node has released all that it took over while it and the asker could not reach each other.

        Args:
            node_id: of the asker.
            incarnation: of this node when the asker found it unreachable; -1 if it did not.
        """
        return self._reconciler.asked(node_id, incarnation)

    @method(idempotent=True)
    async def doubted(self) -> list[tuple[str, str]]:
        """Node ids and authorities of the members that this node doubts: a node that joins doubts them too."""
        return self._reconciler.doubted()

    # Placed kinds (`directory`, `placed_activations`). Asked of the owner:

    @method(idempotent=True, timeout=LONG_S)
    async def locate(self, kind: str, key: str, asker: str, verify: bool) -> Pid:
        """Returns where the identity is active; if it is not, it is activated.

        Args:
            kind, key: the identity, of a placed kind or not.
            asker: node id of the caller.
            verify: the node that had it last has refused the call, so the owner asks that node.
        """
        return await self._directory.locate(kind, key, asker, verify=verify)

    @method(idempotent=True)
    async def announce(self, kind: str, epochs: dict[str, int], node_id: str, topology_hash: int) -> list[str]:
        """The node has activations of this owner's identities. Returns those to end: another node has them, too."""
        return await self._survey.announced(kind, epochs, node_id, topology_hash)

    @method(idempotent=True)
    async def terminated(self, kind: str, ends: dict[str, tuple[int, int]], node_id: str) -> None:
        """These activations have ended on the node (SPEC BS-3.3): by key, epoch and saved version, 0 for none."""
        await self._directory.terminated(kind, ends, node_id)

    # Asked of a host:

    @method(idempotent=True, timeout=LONG_S)
    async def activate(self, request: ActivationRequest) -> ActivationResponse:
        """Activates the identity here. A failure is returned, not raised. A repeated request has no further effect."""
        return await self._placed.activate(request)

    @method(idempotent=True, timeout=LONG_S)
    async def recall(self, kind: str, key: str, epoch: int) -> ActivationRecord:
        """Ends the activation after its running turns. A later request with that epoch or a lower one is refused."""
        return await self._placed.recall(kind, key, epoch)

    @method(idempotent=True)
    async def holds(self, kind: str, key: str) -> bool:
        """Whether the identity is active here and is not ending."""
        return await self._placed.holds(kind, key)

    @method(idempotent=True)
    async def held(self, kind: str, asker: str, topology_hash: int) -> dict[str, int]:
        """The asker's identities that are active here, with their epochs. If they are many, most come by `announce`."""
        return await self._placed.held(kind, asker, topology_hash)
