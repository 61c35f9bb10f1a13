"""Events of a storage as a whole."""

from __future__ import annotations

from inaho.events.base import Event

__all__ = ["StorageAccepted", "StorageDataLost"]


class StorageDataLost(Event, frozen=True, kw_only=True):
    """The storage of this node has lost acknowledged data: grains with state are refused (`StorageLost`).

    `storage`: its name, without secrets. `reason`: what this node had seen before, and what it finds now.
    """

    storage: str
    reason: str


class StorageAccepted(Event, frozen=True, kw_only=True):
    """An operator has accepted the present content of this node's storage; activations with state begin again.

    `reason`: the loss that was found; empty if this node had noticed none.
    """

    storage: str
    reason: str
