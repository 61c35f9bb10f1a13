"""The parts of a node that answer the requests to its placement actor.

Protocols, because the parts themselves call placement actors of other nodes, and so import `placement_actor`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from inaho.runtime.activation.records import ActivationRecord
    from inaho.runtime.placement.activation_requests import ActivationRequest, ActivationResponse
    from inaho.types import Pid

__all__ = [
    "NewOwnerRole",
    "PlacementDirectory",
    "PlacementHost",
    "PlacementSurvey",
    "PreviousOwnerRole",
    "Reconciler",
    "SavedElsewhere",
]


class PreviousOwnerRole(Protocol):
    """This node as the previous owner of partitions."""

    async def release(self, kind: str, key: str, version: int, askers: list[str]) -> ActivationRecord:
        """See `PlacementActor.release`."""
        ...

    async def through(self, kind: str, partitions: list[int], version: int) -> list[int]:
        """See `PlacementActor.through`."""
        ...


class NewOwnerRole(Protocol):
    """This node as the new owner of partitions."""

    async def drained(self, kind: str, partitions: list[int], node_id: str, version: int) -> None:
        """See `PlacementActor.drained`."""
        ...


class SavedElsewhere(Protocol):
    """Receives the versions that other nodes have saved."""

    def heard(self, kind: str, versions: dict[str, int], authority: str) -> None:
        """See `PlacementActor.superseded`."""
        ...


class Reconciler(Protocol):
    """Answers members that found this node unreachable; in the room `freshness`."""

    def asked(self, node_id: str, incarnation: int) -> bool:
        """See `PlacementActor.reconcile`."""
        ...

    def doubted(self) -> list[tuple[str, str]]:
        """See `PlacementActor.doubted`."""
        ...


class PlacementDirectory(Protocol):
    """Knows where activations of placed kinds are, for identities that this node owns."""

    async def locate(self, kind: str, key: str, asker: str, *, verify: bool) -> Pid:
        """See `PlacementActor.locate`."""
        ...

    async def terminated(self, kind: str, ends: dict[str, tuple[int, int]], node_id: str) -> None:
        """See `PlacementActor.terminated`."""
        ...


class PlacementSurvey(Protocol):
    """Learns about activations from their holders."""

    async def announced(self, kind: str, epochs: dict[str, int], node_id: str, topology_hash: int) -> list[str]:
        """See `PlacementActor.announce`."""
        ...


class PlacementHost(Protocol):
    """Hosts activations of placed kinds for their owners."""

    async def activate(self, request: ActivationRequest) -> ActivationResponse:
        """See `PlacementActor.activate`."""
        ...

    async def recall(self, kind: str, key: str, epoch: int) -> ActivationRecord:
        """See `PlacementActor.recall`."""
        ...

    async def holds(self, kind: str, key: str) -> bool:
        """See `PlacementActor.holds`."""
        ...

    async def held(self, kind: str, asker: str, topology_hash: int) -> dict[str, int]:
        """See `PlacementActor.held`."""
        ...
