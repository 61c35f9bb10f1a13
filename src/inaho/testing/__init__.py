"""What users test with: `SimCluster`, the pytest plugin and the conformance suites.

`SimCluster` and its errors are imported at their first use. So a conformance suite, or the plugin in a project that
does not use it, starts quickly.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from inaho.testing.cluster.sim_cluster import Faults, SimCluster, SimEvent
    from inaho.testing.plugin import ClusterFactory
    from inaho.testing.simulation.errors import Deadlock, Livelock, NotConverged, OutOfTime, SimulationFailed
    from inaho.testing.storage.faults import FaultyStorage, StorageFaults

__all__ = [
    "ClusterFactory",
    "Deadlock",
    "Faults",
    "FaultyStorage",
    "Livelock",
    "NotConverged",
    "OutOfTime",
    "SimCluster",
    "SimEvent",
    "SimulationFailed",
    "StorageFaults",
]

_HOMES: Final[dict[str, str]] = {
    "ClusterFactory": "plugin",
    "Deadlock": "simulation.errors",
    "Faults": "cluster.sim_cluster",
    "FaultyStorage": "storage.faults",
    "Livelock": "simulation.errors",
    "NotConverged": "simulation.errors",
    "OutOfTime": "simulation.errors",
    "SimCluster": "cluster.sim_cluster",
    "SimEvent": "cluster.sim_cluster",
    "SimulationFailed": "simulation.errors",
    "StorageFaults": "storage.faults",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
