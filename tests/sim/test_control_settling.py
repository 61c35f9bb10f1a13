"""Histories after which members must come to agree though hardly anybody can tell them what happened."""

from __future__ import annotations

import pytest

from inaho.core.effects import StopActivations
from inaho.events import MemberUnreachable
from inaho.testing.control_plane.simulation import ControlSimulation, Network
from inaho.types import MemberStatus


def formed(seed: int, *, evidence: bool = True) -> tuple[ControlSimulation, str, str, str]:
    """Three members at rest."""
    simulation = ControlSimulation(seed, network=Network(evidence=evidence))
    simulation.start_many(3)
    assert simulation.run_until(simulation.converged, 20.0)
    simulation.run(3.0)
    return simulation, simulation.authority(0), simulation.authority(1), simulation.authority(2)


@pytest.mark.parametrize("seed", range(3))
def test_a_view_of_two_is_heard_by_one_that_knows_only_one_of_them(seed: int) -> None:
    simulation, seed_node, fellow, returned = formed(seed)
    simulation.leave(returned)
    simulation.run(5.0)
    simulation.crash(returned)
    simulation.partition([fellow], [seed_node, returned])
    simulation.crash(seed_node)
    simulation.start(seed_node, [seed_node])  # founds anew, and its fellow is cut off
    simulation.run(1.0)
    simulation.start(returned, [seed_node])
    simulation.run(2.0)
    assert simulation.status(seed_node, returned) is MemberStatus.UP
    simulation.partition([seed_node], [returned])
    assert simulation.run_until(lambda: simulation.status(seed_node, returned) is MemberStatus.UNREACHABLE, 20.0)
    simulation.links.mend(seed_node, fellow)
    simulation.links.mend(fellow, seed_node)
    simulation.run(40.0)  # the fellow says that the one which left has left, and never calls it
    simulation.heal()
    assert simulation.run_until(simulation.converged, 60.0)


@pytest.mark.parametrize("evidence", [True, False])
@pytest.mark.parametrize("seed", range(2))
def test_a_process_that_was_replaced_is_given_up_by_the_only_one_that_misses_it(seed: int, evidence: bool) -> None:
    simulation, first, second, third = formed(seed, evidence=evidence)
    simulation.crash(second)
    unreachable = MemberStatus.UNREACHABLE
    assert simulation.run_until(
        lambda: {simulation.status(each, second) for each in (first, third)} == {unreachable}, 20
    )
    simulation.crash(first)
    simulation.start(first, [first])
    simulation.start(second, [first])
    assert simulation.run_until(simulation.converged, 20.0)


@pytest.mark.parametrize("evidence", [True, False])
@pytest.mark.parametrize("seed", range(2))
def test_a_leave_that_only_one_member_heard_is_believed_by_one_that_misses_it(seed: int, evidence: bool) -> None:
    simulation, deaf, leaver, _ = formed(seed, evidence=evidence)
    simulation.partition([deaf], [leaver])
    simulation.leave(leaver)
    assert simulation.run_until(lambda: simulation.nodes[leaver].stage == "left", 20.0)
    simulation.crash(leaver)
    simulation.heal()
    assert simulation.run_until(simulation.converged, 10.0)


@pytest.mark.parametrize("seed", range(20))
def test_a_process_that_paused_and_was_taken_for_unreachable_ends_what_others_may_have_taken_over(seed: int) -> None:
    simulation = ControlSimulation(seed, network=Network(loss=0.02))
    simulation.start_many(5, 2)
    assert simulation.run_until(simulation.converged, 20.0)
    simulation.run(3.0 + 0.13 * (seed % 7))
    sleeper = simulation.authority(3)
    simulation.pause(sleeper)
    simulation.run(4.0 + 0.2 * seed)
    simulation.resume(sleeper)
    simulation.run(6.0)
    assert any(effect.event.authority == sleeper for _, _, effect in simulation.effects(MemberUnreachable))  # type: ignore[union-attr]
    assert simulation.effects(StopActivations, sleeper)
