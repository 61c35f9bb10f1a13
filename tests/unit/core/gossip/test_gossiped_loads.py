"""Loads of the members: told on what is sent anyway, bounded, and unknown again in time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inaho.core.gossip.loads import Loads
from inaho.core.inputs import LoadChanged
from inaho.core.messages import LOADS_MAX, LoadNotice
from inaho.testing.control_plane.simulation import ControlSimulation, Network


def loads_of(simulation: ControlSimulation, authority: str) -> dict[str, int]:
    """By authority, as that node knows them."""
    names = {node.member.node_id: where for where, node in simulation.nodes.items()}
    known = simulation.nodes[authority].loads()
    assert list(known) == sorted(known)
    return {names[node_id]: load for node_id, load in known}


def test_an_unknown_load_is_absent() -> None:
    simulation = ControlSimulation(1)
    simulation.start_many(3)
    simulation.run(5.0)
    assert all(not node.loads() for node in simulation.nodes.values())


def test_loads_are_known_to_all_after_a_round_of_probes() -> None:
    simulation = ControlSimulation(1, network=Network(loss=0.01))
    simulation.start_many(5)
    simulation.run(3.0)
    expected = {authority: 10 * index for index, authority in enumerate(simulation.nodes)}
    for authority, load in expected.items():
        simulation.give(authority, LoadChanged(load))
    assert simulation.run_until(lambda: all(loads_of(simulation, a) == expected for a in simulation.nodes), 3.0)


def test_in_a_large_cluster_a_change_is_passed_on_without_a_message_of_its_own() -> None:
    quiet, told = (ControlSimulation(2, check_every=0, keep_history=False, measure_bytes=True) for _ in range(2))
    for simulation in (quiet, told):
        simulation.start_many(40, seed_count=3)
        simulation.run(6.0)
    for index, authority in enumerate(told.nodes):
        told.give(authority, LoadChanged(1000 + index))

    def known() -> bool:
        return all(len(node.loads()) == len(told.nodes) for node in told.nodes.values())

    started = told.now
    assert told.run_until(known, 12.0, every_s=0.25)
    told.run(14.0 - (told.now - started))
    quiet.run(14.0)
    assert told.messages <= 1.02 * quiet.messages
    sent, size = told.messages, told.traffic.encoded_bytes
    told.run(6.0)
    # All has been told: only the marks still carry it.
    assert (told.traffic.encoded_bytes - size) / (told.messages - sent) <= quiet.traffic.encoded_bytes / quiet.messages


def test_small_changes_are_not_told_and_many_are_told_once_per_interval() -> None:
    loads = Loads("me", 0.5, 10)
    loads.set_own(0.0, 100)
    assert loads.own(0.0) == (1, 100)
    loads.set_own(1.0, 110)
    assert loads.own(1.0) == (1, 100)
    for load in range(111, 200):
        loads.set_own(1.1, load)
    assert loads.own(1.2) == (2, 111)
    assert loads.own(1.7) == (3, 199)
    assert loads.known(2.0, ["me"], 1) == (("me", 199),)
    loads.set_own(3.0, 0)
    assert loads.own(3.0) == (4, 0)


def test_a_load_is_unknown_when_nobody_confirms_it_or_its_member_goes() -> None:
    loads = Loads("me", 0.5, 10)
    loads.heard(0.0, "a", 1, 7)
    loads.heard(0.0, "b", 1, 8)
    loads.heard(20.0, "b", 1, 8)
    assert loads.known(30.0, ["a", "b"], 3) == (("a", 7), ("b", 8))
    assert loads.known(31.0, ["a", "b"], 3) == (("b", 8),)
    assert loads.known(31.0, ["a", "b"], 1000) == (("a", 7), ("b", 8))
    loads.forget("b")
    assert loads.known(31.0, ["b"], 1000) == ()
    loads.check()


def test_its_own_mouth_holds_over_what_is_passed_on() -> None:
    loads = Loads("me", 0.5, 10)
    loads.merge(0.0, [LoadNotice("a", 1 << 40, 0), LoadNotice("stranger", 1, 1)], lambda node_id: node_id == "a")
    assert loads.known(0.0, ["a", "stranger"], 3) == (("a", 0),)
    loads.heard(0.1, "a", 3, 50)
    loads.merge(0.2, [LoadNotice("a", 2, 9), LoadNotice("me", 9, 9)], lambda node_id: True)
    assert loads.known(0.2, ["a", "me"], 3) == (("a", 50),)


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5), st.integers(0, 99), st.floats(0, 2), st.booleans())),
    st.integers(1, 5),
)
def test_what_is_kept_and_told_is_bounded(told: list[tuple[int, int, int, float, bool]], size_max: int) -> None:
    loads, now = Loads("n0", 0.5, size_max), 0.0
    for node, version, load, pause_s, direct in told:
        now += pause_s
        if node == 0:
            loads.set_own(now, load)
        elif direct:
            loads.heard(now, f"n{node}", version, load)
        else:
            loads.merge(now, [LoadNotice(f"n{node}", version, load)], lambda node_id: True)
        loads.check()
        assert len(loads.collect(3, 1)) <= LOADS_MAX
    for _ in range(3 * (size_max + 1)):
        loads.collect(3, 1)
    assert loads.collect(3, 1) == ()
