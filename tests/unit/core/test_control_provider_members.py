"""Control planes whose membership is a provider: who is up, who owns nothing, who stops its activations."""

from __future__ import annotations

import pytest

from inaho.core.effects import Joined, StopActivations
from inaho.core.inputs import ProviderMembers
from inaho.events import MemberReachable, MemberRemoved, MemberUnreachable, SelfRemoved
from inaho.testing.control_plane.checkers import MonotonicViews, NoReturn, StopsBeforeReturn, TwoSources
from inaho.testing.control_plane.simulation import ControlSimulation
from inaho.types import Member, MemberStatus
from support.provider_members import ProviderWorld

SEEDS = range(3)


def world(seed: int) -> ProviderWorld:
    return ProviderWorld(seed, (MonotonicViews(), NoReturn(), StopsBeforeReturn(), TwoSources()))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("period_s", [0.0, 0.5])
def test_nodes_that_register_are_members(seed: int, period_s: float) -> None:
    made = world(seed)
    made.period_s = period_s
    members = made.cluster(5)
    made.run(10.0)
    assert made.agreed(), made.show()
    assert [made.joined(authority) for authority in members] == [1] * 5
    assert not made.simulation.effects(SelfRemoved)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_split_network_with_a_common_provider_changes_nothing(seed: int) -> None:
    made = world(seed)
    members = made.cluster(5)
    made.simulation.partition(members[:2], members[2:])
    made.run(60.0)
    assert made.simulation.effects(MemberUnreachable)  # gossip says so, and the topology stays
    assert all(made.up(authority) == members for authority in members), made.show()
    made.simulation.heal()
    assert made.until(lambda: made.agreed() and made.simulation.converged(), 30.0), made.show()
    assert not made.simulation.effects(SelfRemoved) and not made.simulation.effects(StopActivations)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_node_that_is_cut_off_from_all_members_keeps_its_place_while_it_is_listed(seed: int) -> None:
    made = world(seed)
    members = made.cluster(4)
    made.simulation.partition(members[:1], members[1:])
    made.run(60.0)
    assert made.up(members[0]) == made.up(members[1]) == members
    made.simulation.heal()
    assert made.until(lambda: made.agreed() and made.simulation.converged(), 30.0), made.show()
    assert made.stopped(members[0]) == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_a_node_that_joins_on_one_side_of_a_split_is_a_member_on_both(seed: int) -> None:
    made = world(seed)
    members = made.cluster(4)
    late = made.authority(4)
    made.simulation.partition(members[:2], [*members[2:], late])
    made.run(5.0)
    made.start(4)
    assert made.until(lambda: all(late in made.up(authority) for authority in members), 10.0), made.show()
    made.simulation.heal()
    assert made.until(lambda: made.agreed() and made.simulation.converged(), 30.0), made.show()
    assert not made.simulation.effects(SelfRemoved)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_member_that_dies_is_up_until_its_registration_expires(seed: int) -> None:
    made = world(seed)
    members = made.cluster(4)
    made.simulation.crash(members[3])
    made.run(2.0)
    assert all(made.up(authority) == members for authority in members[:3])
    assert made.until(lambda: all(made.up(authority) == members[:3] for authority in members[:3]), 2.0), made.show()
    assert made.until(lambda: all(len(node.topology.members) == 3 for node in made.nodes.values()), 20.0), made.show()
    assert made.agreed(), made.show()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_process_that_replaces_another_one_is_a_member(seed: int) -> None:
    made = world(seed)
    members = made.cluster(4)
    made.simulation.crash(members[1])
    made.start(1)
    assert made.until(made.agreed, 30.0), made.show()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("count", [2, 5])
def test_a_member_that_is_listed_no_more_is_told_by_the_others_and_comes_back(count: int, seed: int) -> None:
    """It cannot read the back end, so it does not see that its registration has expired."""
    made = world(seed)
    members = made.cluster(count)
    lost = members[-1]
    generation = made.nodes[lost].member.incarnation >> 20
    made.away[lost] = None
    assert made.until(lambda: lost not in made.up(members[0]), 5.0)
    assert made.until(lambda: made.stopped(lost) == 1, 3.0), made.show()
    made.run(20.0)
    assert made.joined(lost) == 1
    made.away.clear()
    assert made.until(made.agreed, 30.0), made.show()
    assert made.nodes[lost].member.incarnation >> 20 > generation
    assert made.joined(lost) == 2


@pytest.mark.parametrize("seed", SEEDS)
def test_a_registration_that_lapses_while_its_member_lives(seed: int) -> None:
    made = world(seed)
    members = made.cluster(5)
    made.run(3.0)
    made.expire(members[2])
    assert made.until(lambda: made.stopped(members[2]) == 1, 3.0), made.show()
    assert made.until(made.agreed, 30.0), made.show()
    assert made.joined(members[2]) == 2
    assert [made.stopped(authority) for authority in members if authority != members[2]] == [0] * 4


def test_a_lapse_that_only_one_other_member_has_seen_ends_by_itself() -> None:
    made = world(1)
    members = made.cluster(4)
    observer, lapsed = members[0], members[3]
    present = made._given[observer]
    made.simulation.give(observer, ProviderMembers(tuple(m for m in present if m.authority != lapsed)))
    made.simulation.run(0.5)
    assert made.up(observer) == members[:3] and made.up(members[1]) == members
    made.simulation.give(observer, ProviderMembers(present))
    assert made.until(made.agreed, 10.0), made.show()
    assert not made.simulation.effects(SelfRemoved)
    assert made.simulation.effects(MemberReachable, observer)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_back_end_that_is_away_removes_nobody(seed: int) -> None:
    made = world(seed)
    members = made.cluster(4)
    made.down = True
    made.run(30.0)
    made.simulation.crash(members[3])
    made.run(30.0)
    assert all(made.up(authority) == members for authority in members[:3]), made.show()
    for authority in members:
        made._expires_at[authority] = made.simulation.now + 3.0  # as etcd gives leases their time again
    made.down = False
    assert made.until(made.agreed, 30.0), made.show()
    assert not made.simulation.effects(SelfRemoved)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_process_that_was_stopped_for_longer_than_its_registration_lasts(seed: int) -> None:
    made = world(seed)
    members = made.cluster(4)
    made.simulation.pause(members[1])
    assert made.until(lambda: members[1] not in made.up(members[0]), 5.0)
    made.run(2.0)
    made.simulation.resume(members[1])
    assert made.until(made.agreed, 30.0), made.show()
    assert made.joined(members[1]) == 1 + made.stopped(members[1])


def test_a_member_that_leaves_is_gone() -> None:
    made = world(1)
    members = made.cluster(4)
    made.simulation.leave(members[2])
    assert made.until(lambda: made.nodes[members[2]].stage == "left", 10.0)
    made.simulation.crash(members[2])
    assert made.until(made.agreed, 30.0), made.show()
    removed = [e.event for _, _, e in made.simulation.effects(MemberRemoved, members[0])]  # type: ignore[union-attr]
    assert [(event.authority, event.reason) for event in removed] == [(members[2], "left")]


def test_a_node_that_is_not_listed_neither_joins_nor_founds() -> None:
    made = world(1)
    made.away[made.authority(0)] = None
    made.start(0)
    made.run(10.0)
    assert not made.simulation.effects(Joined)
    made.away.clear()
    assert made.until(made.agreed, 2.0), made.show()


def test_beside_gossip_the_input_has_no_effect() -> None:
    simulation = ControlSimulation(1)
    simulation.start_many(3)
    assert simulation.run_until(simulation.converged, 5.0)
    authority = simulation.authority(0)
    simulation.give(authority, ProviderMembers((Member("10.9.9.9:1", "f" * 16, 1 << 20, MemberStatus.UP),)))
    simulation.run(5.0)
    assert simulation.converged() and len(simulation.nodes[authority].topology.members) == 3
