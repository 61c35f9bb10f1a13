"""A hundred control planes in one process: they converge, and what each sends does not grow with their number."""

from __future__ import annotations

import pytest

from inaho.core.inputs import BlockNode
from inaho.testing.control_plane.simulation import ControlSimulation, Network
from inaho.types import MemberStatus

COUNT = 120
LOOK_S = 0.05


@pytest.fixture(scope="module")
def large() -> ControlSimulation:
    """A formed cluster; the tests of this module use it one after another, and leave it whole."""
    network = Network(loss=0.01)
    simulation = ControlSimulation(5, network=network, check_every=997, keep_history=False, measure_bytes=True)
    simulation.start_many(COUNT, seed_count=3)
    assert simulation.run_until(simulation.converged, 2.0, every_s=LOOK_S)
    simulation.run(10.0)
    return simulation


def per_node_and_second(simulation: ControlSimulation, duration_s: float) -> tuple[float, float]:
    messages, size = simulation.traffic.sent, simulation.traffic.encoded_bytes
    simulation.run(duration_s)
    share = len(simulation.nodes) * duration_s
    return (simulation.traffic.sent - messages) / share, (simulation.traffic.encoded_bytes - size) / share


def test_a_hundred_and_twenty_nodes_are_quiet(large: ControlSimulation) -> None:
    small = ControlSimulation(5, network=Network(loss=0.01), keep_history=False, measure_bytes=True)
    small.start_many(10, seed_count=3)
    small.run(15.0)
    few_messages, few_bytes = per_node_and_second(small, 30.0)
    many_messages, many_bytes = per_node_and_second(large, 30.0)
    # Two probes and two answers per second, a mark now and then, and helpers for what was lost.
    assert many_messages <= 5.5
    assert many_messages <= 1.2 * few_messages
    assert many_bytes <= 1.2 * few_bytes
    assert {node.gossip_phase for node in large.nodes.values()} == {"confirmed"}


def test_a_change_reaches_all_within_two_seconds(large: ControlSimulation) -> None:
    started = large.now
    large.give(large.authority(77), BlockNode(large.authority(5)))
    assert large.run_until(large.converged, 5.0, every_s=LOOK_S)
    assert large.now - started <= 2.0


def test_one_more_joins_within_two_seconds(large: ControlSimulation) -> None:
    started = large.now
    large.start(large.authority(COUNT), [large.authority(1)])
    assert large.run_until(large.converged, 5.0, every_s=LOOK_S)
    assert large.now - started <= 2.0


def test_a_crash_is_detected_and_removed_by_all(large: ControlSimulation) -> None:
    victim, started = large.authority(33), large.now
    large.crash(victim)

    def unreachable() -> bool:
        return all(node.table.get(victim).status >= MemberStatus.UNREACHABLE for node in large.nodes.values())  # type: ignore[union-attr]

    assert large.run_until(unreachable, 5.0, every_s=LOOK_S)
    assert large.now - started <= 3.0
    assert large.run_until(large.converged, 10.0, every_s=LOOK_S)
    assert large.now - started <= 9.0
    for node in large.nodes.values():
        node.check()
