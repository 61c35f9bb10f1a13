"""What the control room needs of the node as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from inaho.types import TopologySnapshot

__all__ = ["TopologyEffects"]


class TopologyEffects(Protocol):
    """Applies a topology to all parts of a node."""

    def apply(self, snapshot: TopologySnapshot) -> None:
        """A new topology is in force."""
        ...

    def stop_activations(self, reason: str) -> None:
        """The others have removed this node: they may run its activations."""
        ...
