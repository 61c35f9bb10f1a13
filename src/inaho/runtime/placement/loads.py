"""What an owner knows of the load of hosts when it chooses one of them (`core.activation.placement`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from inaho.core.activation.placement import LoadBook
from inaho.runtime.activation.activation_count import ActivationCount
from inaho.runtime.local.local_node import LocalNode

__all__ = ["Loads"]


class Loads:
    """The loads of all hosts, this node included.

    Args:
        local: this node.
        activations: the number of activations of this node.
        reported: the loads that others have reported, by node id.

    Attributes:
        book: the loads, as of the last `report`.
    """

    def __init__(
        self, local: LocalNode, activations: ActivationCount, reported: Callable[[], Mapping[str, float]]
    ) -> None:
        self.book = LoadBook()
        self._local = local
        self._activations = activations
        self._reported = reported
        self._reported_at = -1.0

    def report(self) -> None:
        """Reads the newest loads, once per tick at most."""
        if self._local.now != self._reported_at:
            self._reported_at = self._local.now
            self.book.report({**self._reported(), self._local.node_id: self._activations.count})
