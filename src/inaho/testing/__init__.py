"""What users test with: `SimCluster`, the pytest plugin and the conformance suites.

`SimCluster` and its errors are loaded when they are first asked for, so that a conformance suite, or the plugin in a
project that does not use it, costs no more than it must.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from inaho.testing.plugin import ClusterFactory
    from inaho.testing.sim_cluster import Faults, SimCluster, SimEvent
    from inaho.testing.simulation_errors import Deadlock, Livelock, NotConverged, OutOfTime, SimulationFailed
    from inaho.testing.storage_faults import FaultyStorage, StorageFaults

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
    "Deadlock": "simulation_errors",
    "Faults": "sim_cluster",
    "FaultyStorage": "storage_faults",
    "Livelock": "simulation_errors",
    "NotConverged": "simulation_errors",
    "OutOfTime": "simulation_errors",
    "SimCluster": "sim_cluster",
    "SimEvent": "sim_cluster",
    "SimulationFailed": "simulation_errors",
    "StorageFaults": "storage_faults",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
