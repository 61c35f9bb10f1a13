"""Events of a storage as a whole."""

from __future__ import annotations

from inaho.events.base import Event

__all__ = ["StorageAccepted", "StorageDataLost"]


class StorageDataLost(Event, frozen=True, kw_only=True):
    """The storage of this node has lost what it had acknowledged: grains with a state are refused (`StorageLost`).

    `storage`: its name, without secrets. `reason`: what was seen before, and what is there now.
    """

    storage: str
    reason: str


class StorageAccepted(Event, frozen=True, kw_only=True):
    """An operator has accepted what the storage of this node has now; activations with a state begin again.

    `reason`: what had been found; empty where this node had noticed no loss.
    """

    storage: str
    reason: str
