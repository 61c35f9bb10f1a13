"""What activations need of parts of the node in higher rooms."""

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
"""Gives the storage, opened. Raises `StorageFailed`."""


class Ownership(Protocol):
    """Who had an identity before, and what its activations had saved."""

    def has_previous(self, kind: str, key: str) -> bool:
        """Whether a previous owner may still have it, and must be asked before an activation comes up here."""
        ...

    def waits(self, kind: str, key: str) -> bool:
        """Whether an activation here waits for its previous owner to release it."""
        ...

    async def take_over(self, kind: str, key: str) -> ActivationRecord:
        """Has the previous owner release it; gives what it had. Raises `InahoError`."""
        ...

    def newer(self, kind: str, key: str, handed: ActivationRecord) -> ActivationRecord:
        """What must be found in the storage: what was handed over, or what others have said since."""
        ...

    def expected(self, kind: str, key: str) -> ActivationRecord | None:
        """What must be found in the storage of an identity without a previous owner; None when nobody has said."""
        ...

    def expect(self, kind: str, key: str, record: ActivationRecord) -> None:
        """The next activation must find what `record` says."""
        ...

    def found(self, kind: str, key: str) -> None:
        """What was expected has been found."""
        ...

    def ended(self, kind: str, grain: Activation, *, asked_for: bool) -> None:
        """An activation has ended. `asked_for`: its next owner waits for what it had."""
        ...

    def placed_looked_at(self, kind: str, grain: Activation) -> None:
        """Owners have changed: the new owner of a placed activation is told of it."""
        ...

    def placed_ended(self, kind: str, grain: Activation) -> None:
        """A placed activation is gone, or has not come up: its owner is told."""
        ...

    def drained(self, kind: str) -> None:
        """No activation of a kind is here any more that others own."""
        ...


class Freshness(Protocol):
    """Whether activations have what is stored."""

    @property
    def in_doubt(self) -> bool:
        """Whether others may have saved without this node's knowing."""
        ...

    async def before_activation(self) -> None:
        """Returns when state may be loaded. Raises `InahoError`."""
        ...

    def begins(self, kind: str, key: str, grain: Activation) -> None:
        """An activation of a placed kind begins."""
        ...

    def ended(self, kind: str, key: str) -> None:
        """An activation of a placed kind is gone."""
        ...

    def started(self, grain: Activation, loaded_at: float) -> None:
        """An activation has what was stored at `loaded_at`, seconds of the loop's clock."""
        ...

    def want(self, grain: Activation) -> None:
        """A turn waits for the proof of this activation."""
        ...

    async def passed(self, grain: Activation) -> None:
        """Returns when the activation is proved or has ended. Raises `InahoError`."""
        ...

    def storage_silent(self, error: InahoError) -> None:
        """The storage did not answer when it was asked for versions."""
        ...

    def answered_unproved(self) -> None:
        """Something is answered unproved, since the storage did not answer."""
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
        """An activation was made here. Calls may be on their way to where the identity was before, and come first."""
        ...

    def refused_here(self, turn: Turn) -> None:
        """A call that waited here is refused; none that is made before its caller knows may overtake it."""
        ...

    def start_failed(self, identity: ClusterIdentity, error: BaseException) -> None:
        """An activation did not come up: a line for the log, within its limits."""
        ...
