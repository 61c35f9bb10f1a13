"""Control planes and the authorities that a provider lists: joining, healing long splits, restarts, stale entries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest

from inaho.config import ClusterConfig, MembershipConfig
from inaho.core.effects import Effect, Joined, JoinFailed, Send
from inaho.core.inputs import AuthorityNotReached, Discovered, FoundCluster, Input
from inaho.core.node import ControlNode
from inaho.errors import WrongCluster
from inaho.events import SelfRemoved
from inaho.testing.control_plane.simulation import ControlSimulation
from support.control_planes import SEEDS

SHORT_TOMBSTONES = ClusterConfig(membership=MembershipConfig(tombstone_s=20.0))


class Dials:
    """Counts the messages to each authority."""

    def __init__(self) -> None:
        self.to: Counter[str] = Counter()

    def on_step(
        self, simulation: ControlSimulation, authority: str, node: ControlNode, happening: Input, effects: list[Effect]
    ) -> None:
        self.to.update(effect.authority for effect in effects if isinstance(effect, Send))


def founded(simulation: ControlSimulation) -> list[str]:
    return [who for _, who, effect in simulation.effects(Joined) if isinstance(effect, Joined) and effect.founded]


def listed_by_all(simulation: ControlSimulation, authorities: Iterable[str]) -> None:
    for authority in tuple(simulation.nodes):
        simulation.give(authority, Discovered(tuple(authorities)))


def discovering(count: int, seed: int = 1, config: ClusterConfig | None = None) -> ControlSimulation:
    """A cluster whose nodes have no seeds and know each other by discovery only."""
    simulation = ControlSimulation(seed, config)
    authorities = [simulation.authority(index) for index in range(count)]
    for authority in authorities:
        simulation.start(authority, discovered=authorities)
    assert simulation.run_until(simulation.converged, 5.0)
    return simulation


@pytest.mark.parametrize("seed", SEEDS)
def test_nodes_without_seeds_find_each_other(seed: int) -> None:
    simulation = discovering(20, seed)
    assert founded(simulation) == [simulation.authority(0)]


@pytest.mark.parametrize("seed", SEEDS)
def test_nodes_that_are_listed_one_after_the_other_join(seed: int) -> None:
    simulation = ControlSimulation(seed)
    authorities = [simulation.authority(index) for index in range(6)]
    for count, authority in enumerate(reversed(authorities), 1):
        simulation.start(authority, discovered=authorities[-count:])
        listed_by_all(simulation, authorities[-count:])
        assert simulation.run_until(simulation.converged, 1.0)
    assert founded(simulation) == authorities[-1:]


@pytest.mark.parametrize("seed", SEEDS)
def test_two_founders_that_a_list_names_late_become_one_cluster(seed: int) -> None:
    simulation = ControlSimulation(seed)
    authorities = [simulation.authority(index) for index in range(4)]
    for authority in authorities:
        simulation.start(authority, discovered=(authority,))
    simulation.run(2.0)
    assert sorted(founded(simulation)) == sorted(authorities)
    listed_by_all(simulation, authorities)
    assert simulation.run_until(simulation.converged, 15.0)


@pytest.mark.parametrize(("left", "count"), [(2, 5), (3, 6), (1, 2)])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_split_longer_than_the_tombstones_heals_through_discovery(left: int, count: int, seed: int) -> None:
    simulation = discovering(count, seed, SHORT_TOMBSTONES)
    everybody = tuple(simulation.nodes)
    near, far = everybody[:left], everybody[left:]
    simulation.partition(near, far)
    simulation.run(60.0)
    assert all(simulation.nodes[near[0]].table.get(authority) is None for authority in far)
    listed_by_all(simulation, everybody)
    simulation.heal()
    assert simulation.run_until(simulation.converged, 30.0)
    simulation.run(5.0)
    assert simulation.converged()


def test_without_discovery_such_a_split_does_not_heal() -> None:
    simulation = discovering(4, 1, SHORT_TOMBSTONES)
    everybody = tuple(simulation.nodes)
    simulation.partition(everybody[:2], everybody[2:])
    simulation.run(60.0)
    listed_by_all(simulation, ())
    simulation.heal()
    simulation.run(60.0)
    assert not simulation.converged()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_restart_of_all_at_the_same_authorities(seed: int) -> None:
    simulation = discovering(5, seed)
    everybody = tuple(simulation.nodes)
    simulation.run(5.0)
    before = len(founded(simulation))
    for authority in everybody:
        simulation.crash(authority)
    for authority in reversed(everybody):
        simulation.start(authority, discovered=everybody)
    assert simulation.run_until(simulation.converged, 5.0)
    assert len(founded(simulation)) == before + 1


@pytest.mark.parametrize("gone", ["refuses", "silent"])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_restart_of_all_at_other_authorities_while_the_old_ones_are_listed(gone: str, seed: int) -> None:
    simulation = discovering(4, seed)
    old = tuple(simulation.nodes)
    new = tuple(simulation.authority(index) for index in range(4, 8))
    for authority in old:
        simulation.crash(authority)
    if gone == "silent":
        simulation.partition(old, new)
    before = len(founded(simulation))
    for authority in new:
        simulation.start(authority, discovered=old + new)
    if gone == "silent":
        simulation.run(5.0)
        assert len(founded(simulation)) == before  # the first of the list may be alive
        listed_by_all(simulation, new)  # until its entry has expired
    assert simulation.run_until(simulation.converged, 5.0)
    assert len(founded(simulation)) == before + 1


@pytest.mark.parametrize("seed", SEEDS)
def test_stale_entries_do_no_harm_and_cost_few_dials(seed: int) -> None:
    dials = Dials()
    simulation = ControlSimulation(seed, observers=(dials,))
    everybody = [simulation.authority(index) for index in range(5)]
    dead, silent = "10.1.0.1:1", "10.1.0.2:1"
    for authority in everybody:
        simulation.cut(authority, silent)
        simulation.start(authority, discovered=(*everybody, dead, silent))
    assert simulation.run_until(simulation.converged, 5.0)
    assert founded(simulation) == everybody[:1]
    simulation.run(60.0)
    simulation.steps, before = 0, Counter(dials.to)
    simulation.run(600.0)
    assert simulation.converged() and not simulation.effects(SelfRemoved)
    for stale in (dead, silent):
        rate_per_min = (dials.to[stale] - before[stale]) / 10
        assert 0 < rate_per_min <= 60.0, rate_per_min  # of five members together


def test_an_entry_of_another_cluster_does_no_harm() -> None:
    simulation = ControlSimulation(1)
    everybody = [simulation.authority(index) for index in range(3)]
    stranger = "10.1.0.1:1"
    refusal = AuthorityNotReached(stranger, "handshake", WrongCluster.code, "another cluster")
    for authority in everybody:
        simulation.cut(authority, stranger)
        simulation.start(authority, discovered=(*everybody, stranger))
        simulation.give(authority, refusal)
    assert simulation.run_until(simulation.converged, 5.0)
    for authority in everybody:
        simulation.give(authority, refusal)
    simulation.run(5.0)
    assert simulation.converged()


def test_an_entry_that_another_process_has_now_is_a_member() -> None:
    simulation = discovering(3)
    everybody = tuple(simulation.nodes)
    simulation.crash(everybody[1])
    simulation.start(everybody[1], discovered=everybody)
    assert simulation.run_until(simulation.converged, 15.0)


@pytest.mark.parametrize("seeds", [(), ("10.0.0.0:7700",)])
def test_with_a_record_the_winner_founds_and_the_others_join(seeds: tuple[str, ...]) -> None:
    simulation = ControlSimulation(1)
    everybody = [simulation.authority(index) for index in range(20)]
    for authority in everybody:
        simulation.start(authority, seeds, discovered=everybody, by_record=True)
    simulation.run(2.0)
    assert not founded(simulation)
    winner = everybody[11]
    simulation.give(winner, FoundCluster())
    for authority in everybody:
        simulation.give(authority, Discovered((winner, *everybody)))
    assert simulation.run_until(simulation.converged, 1.0)
    assert founded(simulation) == [winner]
    for authority in everybody:
        simulation.give(authority, FoundCluster())  # without effect on a member
    simulation.run(1.0)
    assert simulation.converged() and founded(simulation) == [winner]


def test_with_a_record_a_search_ends_in_time_with_what_was_tried() -> None:
    simulation = ControlSimulation(1)
    simulation.start("10.0.0.1:1", ("10.0.0.2:1",), discovered=("10.0.0.1:1", "10.0.0.3:1"), by_record=True)
    simulation.run(44.9)  # the time-out, and twice the time of a registration
    assert not simulation.effects(JoinFailed)
    simulation.run(0.2)
    (failure,) = [effect for _, _, effect in simulation.effects(JoinFailed)]
    assert isinstance(failure, JoinFailed) and failure.code == "topology_unavailable"
    assert "10.0.0.2:1" in failure.reason and "10.0.0.3:1" in failure.reason


def test_more_authorities_than_the_bound_are_not_used() -> None:
    dials = Dials()
    config = ClusterConfig(membership=MembershipConfig(members_max=4))
    simulation = ControlSimulation(1, config, observers=(dials,))
    simulation.start("10.9.0.0:1", discovered=[f"10.9.1.{number}:1" for number in range(9)])
    simulation.run(20.0)
    simulation.give("10.9.0.0:1", Discovered(tuple(f"10.9.2.{number}:1" for number in range(9))))
    simulation.run(60.0)
    assert len(dials.to) == 8
