"""Random trouble, then calm: the control plane keeps its promises by every seed.

`INAHO_TEST_SEEDS` times 20 histories, from `INAHO_TEST_FIRST_SEED` on. A failure prints what was done, and the command
that replays it.
"""

from __future__ import annotations

import os

import pytest

from inaho.core.inputs import BlockNode
from inaho.errors import InahoError
from inaho.testing.control_plane.checkers import (
    BoundedConvergence,
    CheckFailed,
    Conservation,
    Invariants,
    OneContent,
    all_checkers,
)
from inaho.testing.control_plane.scenarios import Scenario, Swarm
from inaho.testing.control_plane.simulation import ControlSimulation, Network

HISTORIES_EACH = 20
FIRST = int(os.environ.get("INAHO_TEST_FIRST_SEED", "0"))
CHUNKS = [FIRST + HISTORIES_EACH * turn for turn in range(int(os.environ.get("INAHO_TEST_SEEDS", "20")))]


def replay(seed: int) -> str:
    return f"INAHO_TEST_FIRST_SEED={seed} INAHO_TEST_SEEDS=1 pytest tests/sim/test_control_swarm.py"


@pytest.mark.simulation
@pytest.mark.parametrize("first", CHUNKS)
def test_trouble_breaks_no_promise_and_calm_makes_one_cluster(first: int) -> None:
    for seed in range(first, first + HISTORIES_EACH):
        scenario = Scenario(seed)
        try:
            scenario.run()
        except (CheckFailed, InahoError) as failure:
            pytest.fail(f"{failure!r}\n{scenario.swarm}\n{scenario.story()}\nreplay: {replay(seed)}")


@pytest.mark.parametrize("seed", [FIRST, FIRST + 1])
def test_one_seed_is_one_history(seed: int) -> None:
    def history() -> tuple[object, ...]:
        scenario = Scenario(seed, safety_s=10.0)
        scenario.run()
        return scenario.trouble.acts, scenario.simulation.history, scenario.simulation.traffic

    assert history() == history()


@pytest.mark.parametrize("seed", [FIRST, FIRST + 1, FIRST + 2])
def test_after_all_kinds_of_trouble_at_once(seed: int) -> None:
    Scenario(seed, Swarm(nodes=6, nodes_max=8, seeds=3, pause_s=0.5)).run()


# The checkers themselves.


def test_a_forgotten_message_is_missed() -> None:
    simulation = ControlSimulation(1)
    simulation.start_many(3)
    simulation.run(1.0)
    Conservation().at_end(simulation)
    simulation.traffic.delivered += 1
    with pytest.raises(CheckFailed, match="unaccounted"):
        Conservation().at_end(simulation)


def test_messages_to_a_paused_process_are_under_way() -> None:
    simulation = ControlSimulation(1, observers=[Conservation(every=1)])
    simulation.start_many(3)
    simulation.run(1.0)
    sleeper = simulation.authority(2)
    simulation.pause(sleeper)
    simulation.run(3.0)
    simulation.resume(sleeper)
    simulation.run(1.0)
    simulation.pause(sleeper)
    simulation.run(3.0)
    simulation.crash(sleeper)
    simulation.run(1.0)
    assert simulation.traffic.outlived > 0
    Conservation().at_end(simulation)


def test_contents_that_differ_are_noticed() -> None:
    simulation = ControlSimulation(1)
    simulation.start_many(3)
    assert simulation.run_until(simulation.converged, 5.0)
    simulation.run(1.0)
    OneContent().at_end(simulation)
    simulation.give(simulation.authority(0), BlockNode(simulation.authority(1)))
    with pytest.raises(CheckFailed, match="one content"):
        OneContent().at_end(simulation)


def test_a_cluster_that_cannot_converge_is_noticed() -> None:
    simulation = ControlSimulation(1, network=Network(loss=1.0))
    simulation.start_many(3)
    with pytest.raises(CheckFailed, match="not converged"):
        BoundedConvergence().settle(simulation, 3.0)


def test_a_broken_machine_is_noticed() -> None:
    simulation = ControlSimulation(1, observers=[Invariants()], check_every=0)
    simulation.start_many(2)
    simulation.run(1.0)
    table = simulation.nodes[simulation.authority(0)].table
    table._hash += 1
    with pytest.raises(CheckFailed, match="invariants"):
        simulation.run(2.0)


def test_each_checker_has_a_name_of_its_own() -> None:
    assert len({checker.name for checker in all_checkers()}) == len(all_checkers())
