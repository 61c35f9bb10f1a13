"""Simulated clusters, checked and ended after each test."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from inaho import ActivationConfig, ClusterConfig, RpcConfig
from inaho.testing.cluster.sim_cluster import SimCluster
from support.timers import Start


@pytest.fixture
def start() -> Generator[Start]:
    """One node, or more; its invariants hold to the end."""
    started: list[SimCluster] = []

    def begin(*grains: Any, nodes: int = 1, activation: dict[str, Any] | None = None) -> SimCluster:
        config = ClusterConfig(activation=ActivationConfig(**(activation or {})), rpc=RpcConfig(timeout_s=5.0))
        sim = SimCluster(nodes=nodes, grains=grains, config=config)
        sim.__enter__()
        started.append(sim)
        return sim

    yield begin
    for sim in started:
        sim.check()
        sim.__exit__(None, None, None)
