"""Whole nodes under every fault that the simulator has, as seen in their membership."""

from __future__ import annotations

import functools

import pytest

from inaho.events import MemberRemoved, MemberUnreachable, NodePaused, SelfRemoved
from inaho.testing import Faults, SimCluster
from inaho.types import MemberStatus

UP = MemberStatus.UP


def removed(sim: SimCluster) -> set[str]:
    return {happened.event.authority for happened in sim.events if isinstance(happened.event, MemberRemoved)}


def somebody_is_unreachable(sim: SimCluster) -> bool:
    return any(isinstance(happened.event, MemberUnreachable) for happened in sim.events)


@pytest.mark.parametrize("nodes", [1, 2, 3, 5])
def test_all_join_and_see_each_other(nodes: int, simulation_seed: int):
    with SimCluster(nodes=nodes, seed=simulation_seed) as sim:
        for index in range(nodes):
            assert sim.members_seen_by(index) == dict.fromkeys(range(nodes), UP)
        assert sim.time < 3.0
        sim.check()


def test_one_more_node_joins_a_running_cluster(simulation_seed: int):
    with SimCluster(nodes=3, seed=simulation_seed) as sim:
        assert sim.add() == 3
        assert sim.wait_converged(within_s=2.0) < 2.0
        assert sim.members_seen_by(3) == dict.fromkeys(range(4), UP)


def test_a_quiet_cluster_removes_nobody(simulation_seed: int):
    with SimCluster(nodes=3, seed=simulation_seed) as sim:
        sim.run_for(120.0)
        assert sim.converged()
        assert not removed(sim)


def test_a_partition_divides_the_views_and_heals(simulation_seed: int):
    with SimCluster(nodes=3, seed=simulation_seed) as sim:
        sim.partition({0, 1}, {2})
        sim.wait_until(lambda: sim.members_seen_by(0) == {0: UP, 1: UP} == sim.members_seen_by(1), within_s=15.0)
        assert [index for index, status in sim.members_seen_by(2).items() if status is UP] == [2]
        sim.heal()
        sim.wait_converged(within_s=15.0)
        sim.check()


def test_a_partition_that_outlives_tcp_breaks_connections_and_heals_too(simulation_seed: int):
    with SimCluster(nodes=3, seed=simulation_seed, faults=Faults(reset_after_s=5.0)) as sim:
        sim.partition({0}, {1, 2})
        sim.run_for(60.0)
        assert sim.members_seen_by(1) == {1: UP, 2: UP}
        sim.heal()
        sim.wait_converged(within_s=30.0)


def test_a_split_of_minutes_heals_in_seconds(simulation_seed: int):
    """Dials of those who were removed fail all the time, and must not quarantine them."""
    with SimCluster(nodes=3, seed=simulation_seed) as sim:
        sim.partition({0, 1}, {2})
        sim.run_for(200.0)
        assert not any(sim.node(index).quarantine() for index in range(3))
        sim.heal()
        sim.wait_converged(within_s=6.0)


def test_a_crashed_node_is_removed_and_nobody_else(simulation_seed: int):
    with SimCluster(nodes=5, seed=simulation_seed) as sim:
        sim.crash(3)
        sim.wait_converged(within_s=10.0)
        assert removed(sim) == {sim.authority(3)}
        assert sorted(sim.members_seen_by(0)) == [0, 1, 2, 4]


def test_a_crash_is_noticed_sooner_by_a_reset_than_by_silence(simulation_seed: int):
    noticed_s: list[float] = []
    for silent in (False, True):
        with SimCluster(nodes=5, seed=simulation_seed) as sim:
            sim.crash(4, silent=silent)
            noticed_s.append(sim.wait_until(functools.partial(somebody_is_unreachable, sim), within_s=10.0))
    assert noticed_s[0] < noticed_s[1]


@pytest.mark.parametrize("silent", [False, True])
def test_a_new_process_at_the_authority_of_a_crashed_one_replaces_it(simulation_seed: int, silent: bool):
    with SimCluster(nodes=3, seed=simulation_seed) as sim:
        before = sim.node(2).self.node_id
        sim.crash(2, silent=silent)
        sim.run_for(1.0)
        sim.restart(2)
        sim.wait_converged(within_s=10.0)
        after = sim.node(2).self.node_id
        assert before != after
        assert {member.node_id for member in sim.node(0).members() if member.authority == sim.authority(2)} == {after}


def test_a_pause_of_30_s_ends_in_a_new_incarnation(simulation_seed: int):
    with SimCluster(nodes=3, seed=simulation_seed) as sim:
        before = sim.node(1).self
        sim.pause(1, 30.0)
        sim.run_for(20.0)
        assert sim.members_seen_by(0) == {0: UP, 2: UP}
        assert sim.node(1).self == before, "nothing of a paused process runs"
        sim.run_for(10.0)
        sim.wait_converged(within_s=5.0)
        after = sim.node(1).self
        assert after.node_id == before.node_id
        assert after.incarnation > before.incarnation
        mine = [type(happened.event) for happened in sim.events if happened.node == 1]
        assert NodePaused in mine
        assert SelfRemoved in mine


def test_a_short_pause_costs_no_membership(simulation_seed: int):
    with SimCluster(nodes=3, seed=simulation_seed) as sim:
        sim.pause(1, 1.0)
        sim.run_for(15.0)
        assert sim.converged()
        assert not removed(sim)


def test_a_flapping_link_removes_nobody(simulation_seed: int):
    with SimCluster(nodes=3, seed=simulation_seed) as sim:
        sim.flap(0, 1, down_s=1.0, up_s=1.0, for_s=60.0)
        sim.run_for(62.0)
        sim.wait_converged(within_s=10.0)
        assert not removed(sim)


def test_a_fifth_of_control_lost_repeated_and_reordered_removes_nobody(simulation_seed: int):
    with SimCluster(nodes=5, seed=simulation_seed) as sim:
        sim.faults = Faults(control_loss=0.2, control_repeat=0.1, control_reorder=0.2, control_reorder_s=0.1)
        sim.run_for(120.0)
        assert not removed(sim)
        assert sim.network.control_lost > 100
        assert sim.network.control_repeated > 50
        assert sim.network.control_held_up > 100
        sim.faults = Faults()
        sim.wait_converged(within_s=15.0)
        sim.check()


def test_all_join_although_a_fifth_of_control_is_lost(simulation_seed: int):
    with SimCluster(nodes=5, seed=simulation_seed, faults=Faults(control_loss=0.2, control_reorder=0.2)) as sim:
        assert sim.time < 10.0
        sim.check()


def test_a_cut_link_between_two_of_three_is_bridged_by_the_third(simulation_seed: int):
    with SimCluster(nodes=3, seed=simulation_seed) as sim:
        sim.partition({0}, {1})
        sim.run_for(30.0)
        assert sim.converged(), "indirect probes pass through node 2"
        assert not removed(sim)


def test_a_one_way_cut_ends_in_one_view(simulation_seed: int):
    with SimCluster(nodes=3, seed=simulation_seed) as sim:
        sim.cut(0, 1)
        sim.run_for(30.0)
        assert len(removed(sim)) <= 1
        sim.heal(0, 1)
        sim.wait_converged(within_s=15.0)


def test_a_slow_node_stays_a_member(simulation_seed: int):
    with SimCluster(nodes=3, seed=simulation_seed) as sim:
        sim.slow(2, 0.15)
        sim.run_for(60.0)
        assert not removed(sim)
        sim.slow(2, 0.0)
        sim.wait_converged(within_s=5.0)


def test_a_node_that_leaves_is_gone_at_once(simulation_seed: int):
    with SimCluster(nodes=3, seed=simulation_seed) as sim:
        sim.leave(0)
        assert sim.wait_converged(within_s=2.0) < 2.0
        assert sim.members_seen_by(1) == {1: UP, 2: UP}
        assert not somebody_is_unreachable(sim)
        sim.restart(0)
        sim.wait_converged(within_s=5.0)
