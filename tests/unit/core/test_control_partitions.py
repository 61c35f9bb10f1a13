"""Control planes after a partition: both sides become one again, or an operator settles their conflict."""

from __future__ import annotations

import pytest

from inaho.core.inputs import BlockNode, ResolveConflict, UnblockNode
from inaho.errors import IllegalTransition
from inaho.events import SelfRemoved, ViewConflict, ViewRefused
from inaho.testing.control_plane.simulation import ControlSimulation
from support.control_planes import SEEDS, cluster


@pytest.mark.parametrize(("left", "count"), [(2, 5), (3, 6), (1, 2), (1, 4)])
@pytest.mark.parametrize("seed", SEEDS)
def test_after_a_long_partition_both_sides_are_one_again(left: int, count: int, seed: int) -> None:
    simulation = cluster(count, seed)
    near = [simulation.authority(index) for index in range(left)]
    far = [simulation.authority(index) for index in range(left, count)]
    simulation.partition(near, far)
    simulation.run(20.0)
    for authority in near:
        assert {member.authority for member in simulation.nodes[authority].table.live} == set(near)
    for authority in far:
        assert {member.authority for member in simulation.nodes[authority].table.live} == set(far)
    simulation.heal()
    assert simulation.run_until(simulation.converged, 30.0)
    # The side with the seed held; only the other had to join again (SPEC CL-7.4).
    assert simulation.effects(ViewRefused)
    for authority in near:
        assert not simulation.effects(SelfRemoved, authority)
    for authority in far:
        assert simulation.effects(SelfRemoved, authority)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_short_partition_removes_nobody(seed: int) -> None:
    simulation = cluster(6, seed)
    near = [simulation.authority(index) for index in range(3)]
    far = [simulation.authority(index) for index in range(3, 6)]
    simulation.partition(near, far)
    simulation.run(4.0)
    simulation.heal()
    assert simulation.run_until(simulation.converged, 10.0)
    assert not simulation.effects(SelfRemoved)


def test_an_operator_settles_what_no_rule_can() -> None:
    simulation = ControlSimulation(1)
    founder, left, right = (simulation.authority(index) for index in range(3))
    simulation.start_many(3)
    assert simulation.run_until(simulation.converged, 5.0)
    # The only seed dies; what is left splits in two halves of one node, and no rule prefers either.
    simulation.crash(founder)
    assert simulation.run_until(simulation.converged, 15.0)
    simulation.partition([left], [right])
    simulation.run(20.0)
    simulation.heal()
    simulation.run(30.0)
    assert simulation.effects(ViewConflict)
    assert not simulation.effects(SelfRemoved)
    simulation.give(left, ResolveConflict(right, keep=True))
    assert simulation.run_until(simulation.converged, 10.0)
    assert simulation.effects(SelfRemoved, right) and not simulation.effects(SelfRemoved, left)


def test_an_operator_settles_a_split_into_equal_halves_at_one_member() -> None:
    simulation = cluster(5)
    founder, *others = (simulation.authority(index) for index in range(5))
    left, right = others[:2], others[2:]
    simulation.crash(founder)
    assert simulation.run_until(simulation.converged, 15.0)
    simulation.partition(left, right)
    simulation.run(20.0)
    simulation.heal()
    simulation.run(30.0)
    conflicts = simulation.effects(ViewConflict, right[0])
    assert conflicts and not simulation.effects(SelfRemoved)
    simulation.give(right[0], ResolveConflict(left[0], keep=True))
    assert simulation.run_until(simulation.converged, 30.0)
    for authority in right:
        assert not simulation.effects(SelfRemoved, authority)


def test_an_operator_may_also_give_a_view_up() -> None:
    simulation = cluster(3)
    founder, left, right = (simulation.authority(index) for index in range(3))
    simulation.crash(founder)
    assert simulation.run_until(simulation.converged, 15.0)
    simulation.partition([left], [right])
    simulation.run(20.0)
    simulation.heal()
    simulation.run(20.0)
    simulation.give(left, ResolveConflict(right, keep=False))
    assert simulation.run_until(simulation.converged, 10.0)
    assert simulation.effects(SelfRemoved, left) and not simulation.effects(SelfRemoved, right)


@pytest.mark.parametrize("later_s", [0.0, 40.0, 200.0])
def test_what_an_operator_decides_during_a_split_holds_when_it_is_over(later_s: float) -> None:
    """Nobody on the other side can be told yet, and an operator is not asked twice."""
    simulation = cluster(5)
    founder, *others = (simulation.authority(index) for index in range(5))
    left, right = others[:2], others[2:]
    simulation.crash(founder)
    assert simulation.run_until(simulation.converged, 15.0)
    simulation.partition(left, right)
    simulation.run(20.0)
    simulation.give(right[0], ResolveConflict(left[0], keep=True))
    simulation.run(later_s)
    simulation.heal()
    assert simulation.run_until(simulation.converged, 60.0)
    assert not any(simulation.effects(SelfRemoved, authority) for authority in right)


def test_a_view_is_not_given_up_for_one_that_cannot_be_joined() -> None:
    """During the split its own side would take it back, and the order would be lost."""
    simulation = cluster(5)
    founder, *others = (simulation.authority(index) for index in range(5))
    left, right = others[:2], others[2:]
    simulation.crash(founder)
    assert simulation.run_until(simulation.converged, 15.0)
    simulation.partition(left, right)
    simulation.run(20.0)
    with pytest.raises(IllegalTransition, match="no conflict"):
        simulation.give(left[0], ResolveConflict(right[0], keep=False))
    simulation.heal()
    assert simulation.run_until(lambda: bool(simulation.effects(ViewConflict, left[0])), 30.0)
    against = simulation.effects(ViewConflict, left[0])[-1][2].event.authority  # type: ignore[union-attr]
    simulation.give(left[0], ResolveConflict(against, keep=False))
    assert simulation.run_until(simulation.converged, 60.0)
    assert simulation.effects(SelfRemoved, left[0])
    assert not any(simulation.effects(SelfRemoved, authority) for authority in right)


def test_an_operators_word_ends_with_its_conflict() -> None:
    simulation = cluster(5)
    founder, *others = (simulation.authority(index) for index in range(5))
    left, right = others[:2], others[2:]
    simulation.crash(founder)
    assert simulation.run_until(simulation.converged, 15.0)
    simulation.partition(left, right)
    simulation.run(20.0)
    simulation.give(right[0], ResolveConflict(left[0], keep=True))
    simulation.heal()
    assert simulation.run_until(simulation.converged, 60.0)
    simulation.run(60.0)
    simulation.partition(left, right)
    simulation.run(20.0)
    simulation.heal()
    simulation.run(30.0)
    assert not simulation.converged()  # another conflict, of which nobody has decided


@pytest.mark.parametrize("kept", [True, False])
def test_an_operator_is_told_when_there_is_no_conflict(kept: bool) -> None:
    simulation = cluster(3)
    for authority in (simulation.authority(1), simulation.authority(0), "10.9.9.9:1"):
        with pytest.raises(IllegalTransition, match="no conflict"):
            simulation.give(simulation.authority(0), ResolveConflict(authority, keep=kept))
    simulation.run(5.0)
    assert simulation.converged()
    assert not simulation.effects(SelfRemoved)


def test_a_block_outlives_the_blocked_process() -> None:
    simulation = cluster(4)
    barred, operator = simulation.authority(3), simulation.authority(1)
    simulation.give(operator, BlockNode(barred))
    assert simulation.run_until(simulation.converged, 2.0)
    simulation.crash(barred)
    simulation.run(1.0)
    simulation.start(barred, [simulation.authority(0)])
    assert simulation.run_until(simulation.converged, 15.0)
    simulation.run(1.0)
    for node in simulation.nodes.values():
        assert node.topology.blocked == (barred,)
    simulation.give(barred, UnblockNode(barred))
    assert simulation.run_until(simulation.converged, 2.0)
    simulation.run(1.0)
    assert all(node.topology.blocked == () for node in simulation.nodes.values())
