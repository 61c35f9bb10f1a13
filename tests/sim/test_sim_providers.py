"""One history with providers: registration, joined, left, blocked, unblocked, fail-over, shutdown (SPEC PR)."""

from __future__ import annotations

import asyncio
from typing import TypeVar

import pytest

import inaho
from inaho.events import (
    Event,
    ProviderChanged,
    ProviderRegistered,
    ProviderTerminated,
    ProvisioningRestored,
    ProvisioningUnavailable,
    RemoteTopologyChanged,
    SnapshotApplied,
)
from inaho.providers.memory import MemoryProvider, MemoryTopology
from inaho.runtime.cluster.provisioning import NodeProvisioning
from inaho.testing import SimCluster

E = TypeVar("E", bound=Event)


class Where(inaho.Grain):
    async def authority(self) -> str:
        return self.cluster.authority


class History:
    """A simulated cluster with two providers, and what its nodes have published."""

    def __init__(self, seed: int) -> None:
        self.first, self.second = MemoryTopology(), MemoryTopology()
        self.sim = SimCluster(nodes=3, seed=seed, grains=[Where], providers=self.providers)

    def providers(self) -> list[MemoryProvider]:
        return [MemoryProvider("first", self.first), MemoryProvider("second", self.second)]

    def of(self, node: int, kind: type[E]) -> list[E]:
        return [entry.event for entry in self.sim.events if entry.node == node and isinstance(entry.event, kind)]

    def changes(self, node: int, name: str) -> list[str]:
        return [event.change for event in self.of(node, RemoteTopologyChanged) if event.authority == name]

    def registered(self) -> list[str]:
        return [authority for authority, _ in self.first.members()]

    def seq_nos(self, node: int) -> list[int]:
        return [event.seq_no for event in self.of(node, SnapshotApplied)]

    def answers(self) -> set[str]:
        async def call() -> set[str]:
            return {await self.sim.node(0).grain(Where, f"key-{number}").authority() for number in range(20)}

        return self.sim.run(call())

    def until(self, condition: object) -> None:
        self.sim.run(self.sim.until(condition))  # type: ignore[arg-type]


@pytest.mark.simulation
@pytest.mark.parametrize("seed", range(3))
def test_one_run_from_registration_to_shutdown(seed: int):
    history = History(seed)
    nodes = range(3)
    with history.sim as sim:
        names = [sim.authority(node) for node in nodes]

        # Registration, joined.
        history.until(lambda: history.registered() == sorted(names))
        assert [authority for authority, _ in history.second.members()] == sorted(names)
        assert [event.provider for event in history.of(0, ProviderRegistered)] == ["first", "second"]
        history.until(lambda: all(history.changes(0, name) == ["join"] for name in names))

        # Joined and left while the others run.
        fourth = sim.add()
        sim.wait_converged()
        name = sim.authority(fourth)
        history.until(lambda: all(history.changes(node, name) == ["join"] for node in nodes))
        sim.leave(fourth)
        history.until(lambda: all(history.changes(node, name) == ["join", "leave"] for node in nodes))
        assert history.registered() == sorted(names)

        # Blocked, unblocked.
        history.first.block(names[1])
        history.until(lambda: all(sim.node(node).blocked() == (names[1],) for node in nodes))
        assert names[1] not in history.answers()
        history.first.unblock(names[1])
        history.until(lambda: all(sim.node(node).blocked() == () for node in nodes))
        assert history.changes(0, names[1]) == ["join", "blocked", "unblocked"]

        # Fail-over, within the time-out and a second.
        paused_at = sim.time
        history.first.pause()
        history.until(lambda: all(history.of(node, ProviderChanged)[-1].provider == "second" for node in nodes))
        assert sim.time - paused_at <= 16
        assert {event.failure for event in history.of(0, ProviderTerminated)} == {"connectivity"}

        # All providers are gone: beside gossip, calls and members go on.
        history.second.pause()
        history.until(lambda: all(history.of(node, ProvisioningUnavailable) for node in nodes))
        assert not history.of(0, ProvisioningUnavailable)[0].placement_paused
        assert history.answers() == set(names)
        history.first.resume()
        history.until(lambda: all(history.of(node, ProvisioningRestored) for node in nodes))

        # In all of this each snapshot came once and in order, on every node.
        for node in nodes:
            assert history.seq_nos(node) == list(range(1, len(history.seq_nos(node)) + 1))

        # Shutdown: the registration ends, later snapshots are refused.
        sim.leave(2)
        history.until(lambda: history.registered() == sorted(names[:2]))
        count = len(history.of(2, SnapshotApplied))
        history.first.block(names[1])
        history.until(lambda: sim.node(0).blocked() == (names[1],))
        assert len(history.of(2, SnapshotApplied)) == count


def test_a_pause_of_a_process_is_no_silence_of_its_providers():
    history = History(seed=5)
    with history.sim as sim:
        history.until(lambda: len(history.registered()) == 3)
        sim.pause(1, 40.0)
        sim.run_for(45.0)
        history.until(lambda: len(history.registered()) == 3)
        assert [event.provider for event in history.of(1, ProviderChanged)] == ["first"]
        assert history.of(1, ProvisioningUnavailable) == []


@pytest.mark.simulation
def test_pr_5_1_the_delay_of_a_snapshot_is_a_metric_with_its_number():
    history = History(7)
    with history.sim as sim:
        sim.run(asyncio.sleep(60.0))  # all registrations are written
        before = history.seq_nos(0)[-1]
        history.first.pause()
        history.first.block("10.7.7.7:7700")
        provisioning = sim.node(0).runtime.lifecycle.provisioning
        assert isinstance(provisioning, NodeProvisioning)
        provisioning.service.read_soon()
        sim.run(asyncio.sleep(3.0))
        history.first.resume()
        history.until(lambda: history.seq_nos(0)[-1] > before)
        applied = history.of(0, SnapshotApplied)[-1]
        assert (applied.provider, applied.seq_no) == ("first", before + 1)
        assert 2.5 < applied.delay_s <= 3.0
        metrics = sim.node(0).metrics()
        assert next(value for _, value in metrics["inaho.provider.snapshot.seq_no"]) == applied.seq_no
        assert next(value for _, value in metrics["inaho.provider.snapshot.delay"]) == pytest.approx(applied.delay_s)
