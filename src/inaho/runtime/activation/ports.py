"""What activations need from parts of the node in higher rooms."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from inaho.errors import InahoError
    from inaho.runtime.activation.records import ActivationRecord
    from inaho.runtime.grains.activation import Activation, Reminders, Turn
    from inaho.storage import Storage
    from inaho.types import ClusterIdentity

__all__ = ["Freshness", "OpenStorage", "Ownership", "Services"]

OpenStorage = Callable[[], Awaitable["Storage"]]
"""Returns the opened storage. Raises `StorageFailed`."""


class Ownership(Protocol):
    """Knows the previous owners of identities, and the versions that their activations had saved."""

    def has_previous(self, kind: str, key: str) -> bool:
        """Whether a previous owner may still have an activation, and must be asked before one starts here."""
        ...

    def waits(self, kind: str, key: str) -> bool:
        """Whether an activation here waits for its previous owner to release it."""
        ...

    async def take_over(self, kind: str, key: str) -> ActivationRecord:
        """Has the previous owner release the identity; returns its record. Raises `InahoError`."""
        ...

    def newer(self, kind: str, key: str, handed: ActivationRecord) -> ActivationRecord:
        """The record with the version that the storage must have: `handed`, or a newer one that others reported."""
        ...

    def expected(self, kind: str, key: str) -> ActivationRecord | None:
        """As `newer`, for an identity without a previous owner; None when no node has reported a version."""
        ...

    def expect(self, kind: str, key: str, record: ActivationRecord) -> None:
        """The next activation must find the version of `record` in the storage."""
        ...

    def found(self, kind: str, key: str) -> None:
        """The storage has the expected version."""
        ...

    def ended(self, kind: str, grain: Activation, *, asked_for: bool) -> None:
        """An activation has ended. `asked_for`: whether its next owner waits for its record."""
        ...

    def placed_looked_at(self, kind: str, grain: Activation) -> None:
        """Owners have changed: reports a placed activation to its new owner."""
        ...

    def placed_ended(self, kind: str, grain: Activation) -> None:
        """Reports to its owner that a placed activation has ended or failed to start."""
        ...

    def drained(self, kind: str) -> None:
        """The last activation of the kind that other nodes own has ended here."""
        ...


class Freshness(Protocol):
    """Decides whether activations have the stored state."""

    @property
    def in_doubt(self) -> bool:
        """Whether other nodes may have saved without the knowledge of this node."""
        ...

    async def before_activation(self) -> None:
        """Returns when state may be loaded. Raises `InahoError`."""
        ...

    def begins(self, kind: str, key: str, grain: Activation) -> None:
        """An activation of a placed kind starts."""
        ...

    def ended(self, kind: str, key: str) -> None:
        """An activation of a placed kind has ended."""
        ...

    def started(self, grain: Activation, loaded_at: float) -> None:
        """An activation has started with the state stored at `loaded_at`, seconds of the loop's clock."""
        ...

    def want(self, grain: Activation) -> None:
        """A turn waits for the proof of this activation."""
        ...

    async def passed(self, grain: Activation) -> None:
        """Returns when the activation is proved or has ended. Raises `InahoError`."""
        ...

    def storage_silent(self, error: InahoError) -> None:
        """The storage did not answer a request for versions."""
        ...

    def answered_unproved(self) -> None:
        """An activation answers without a proof, since the storage did not answer."""
        ...


class Services(Protocol):
    """What a node offers to the hosts of its kinds."""

    @property
    def cluster(self) -> Any:
        """See `GrainHost.cluster`."""
        ...

    @property
    def reminders(self) -> Reminders:
        """See `GrainHost.reminders`."""
        ...

    @property
    def is_stopping(self) -> bool:
        """Whether code of grains is cancelled because the node or its program ends."""
        ...

    def came_here(self, kind: str, key: str) -> None:
        """An activation was made here. Earlier calls may be on their way to its previous node, and must come first."""
        ...

    def refused_here(self, turn: Turn) -> None:
        """A call that waited here is refused. Until its caller knows, no later call may overtake it."""
        ...

    def start_failed(self, identity: ClusterIdentity, error: BaseException) -> None:
        """Logs that an activation failed to start, within the limits of the log."""
        ...
