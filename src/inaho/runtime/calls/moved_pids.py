"""Drops entries of the PidCache that a change of owners has made wrong, in slices.

Until its slice comes, a stale entry costs its caller one refusal (`OwnershipChanged`) and a retry, as it does before
this node has seen the topology.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from inaho.core.identity.pid_cache import PidCache
    from inaho.runtime.calls.call_order import CallOrder
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.local.topology import Topology
    from inaho.types import Pid

__all__ = ["MovedPids"]

PIDS_SLICE: Final = 100
PIDS_US: Final = 250
"""Entries checked in one step (`Slices`), and the cost of that."""

ORDER_US: Final = 5_000
"""The cost of finding to which of a thousand nodes calls are on their way."""

TABLE_US: Final = 1_000
"""The cost of one table of owners."""

SCORES_PER_US: Final = 10
"""Scores computed in a microsecond, for owners that are computed for the first time."""


class MovedPids:
    """Drops stale entries of the PidCache of one node.

    Args:
        local: the node.
        topology: of the node.
        pid_cache: of the node.
        order: of its calls: entries that calls on their way have used are kept.
        still_there: whether a Pid is still valid.
    """

    def __init__(
        self,
        local: LocalNode,
        topology: Topology,
        pid_cache: PidCache,
        order: CallOrder,
        still_there: Callable[[Pid], bool],
    ) -> None:
        self._local = local
        self._topology = topology
        self._pid_cache = pid_cache
        self._order = order
        self._still_there = still_there

    def owners_changed(self) -> None:
        """Begins to check all entries, again if a check is running."""
        self._local.slices.add("pid-cache", self._steps())

    def _steps(self) -> Iterator[int]:
        keep = self._order.still_there(self._still_there)
        yield ORDER_US * len(self._topology.members) // 1_000
        lookup = self._topology.lookup
        while lookup.open_next():
            yield TABLE_US
        for start in range(0, self._pid_cache.places, PIDS_SLICE):
            scored = lookup.scored
            for event in self._pid_cache.retain(keep, "ownership changed", start, PIDS_SLICE):
                self._local.publish(event)
            yield PIDS_US + max(0, lookup.scored - scored) // SCORES_PER_US
