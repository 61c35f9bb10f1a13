"""Simulated clusters with reminders, checked and ended after each test."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from inaho import ActivationConfig, ClusterConfig
from inaho.runtime.reminders.shard import KEEPER
from inaho.testing.cluster.sim_cluster import SimCluster
from support.reminders import FAIL, LOG, SIM, TASKS, Alarm, Start


@pytest.fixture(autouse=True)
def empty() -> None:
    LOG.clear()
    FAIL.clear()
    TASKS.clear()


@pytest.fixture
def start() -> Generator[Start]:
    """A simulated cluster with few shards."""

    def begin(*grains: Any, nodes: int = 1, seed: int = 0, storage: Any = None, **activation: Any) -> SimCluster:
        config = ClusterConfig(activation=ActivationConfig(**{"reminder_shards": 8, **activation}))
        sim = SimCluster(nodes=nodes, seed=seed, grains=grains or (Alarm,), config=config, storage=storage)
        SIM.append(sim)
        sim.__enter__()
        return sim

    yield begin
    for sim in SIM:
        for index in range(len(sim._nodes)):
            if sim.is_member(index) and KEEPER in sim.node(index)._node.hosts:
                for keeper in sim.node(index)._node.hosts[KEEPER].activations.values():
                    if hasattr(keeper, "_schedule"):
                        keeper._schedule.check()
        sim.check()
        sim.__exit__(None, None, None)
    SIM.clear()
