"""Whom a node doubts, which markers are foreign, and when a doubt is over."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inaho.core.activation.doubt import DOUBT, Doubts, Marker, Markers, add_marker

ME, X, Y = "me", "x", "y"


def marker(node_id: str, at: float = 0.0, authority: str = "") -> Marker:
    return Marker(node_id, authority or f"{node_id}:1", DOUBT, at)


def doubts(doubt_s: float = 100.0, most: int = 8) -> Doubts:
    return Doubts(ME, doubt_s, most)


def test_without_doubt_nothing_is_open_and_unknown_writers_are_foreign():
    machine = doubts()
    assert not machine
    assert machine.foreign([marker(X), marker(ME)], ()) == [marker(X)]
    assert machine.foreign([marker(X)], (X,)) == []


def test_a_doubted_member_is_foreign_though_it_is_live():
    machine = doubts()
    assert machine.begin(1.0, X, "x:1")
    assert not machine.begin(2.0, X, "x:1", incarnation=4)
    assert machine.foreign([marker(X), marker(Y)], (X, Y)) == [marker(X)]
    doubt = machine.get(X)
    assert doubt is not None
    assert (doubt.since, doubt.incarnation) == (1.0, 4)


def test_a_node_never_doubts_itself():
    machine = doubts()
    assert not machine.begin(1.0, ME, "me:1")
    assert not machine


def test_a_doubt_that_is_over_counts_until_a_read_began_after_it():
    machine = doubts()
    machine.begin(1.0, X, "x:1")
    assert machine.end(5.0, X, "confirmed")
    assert machine
    assert not machine.open()
    assert machine.foreign([marker(X)], (X,)) == [marker(X)]
    assert machine.settle(4.9) == []
    assert [doubt.node_id for doubt in machine.settle(5.0)] == [X]
    assert not machine
    assert machine.foreign([marker(X)], ()) == []
    machine.check()


def test_a_process_that_has_ended_is_foreign_until_it_is_known_to_be_harmless():
    machine = doubts()
    old = marker("old", authority="x:1")
    assert machine.foreign([old], (X,)) == [old]
    machine.begin(1.0, "old", "x:1")
    machine.end(1.0, "old", "replaced")
    machine.settle(1.0)
    assert machine.foreign([old], (X,)) == []


def test_a_doubt_that_begins_again_is_open_again():
    machine = doubts()
    machine.begin(1.0, X, "x:1")
    machine.end(2.0, X, "confirmed")
    assert machine.begin(3.0, X, "x:1")
    assert machine.settle(10.0) == []
    assert machine.get(X) is not None
    machine.check()


def test_an_episode_begins_with_the_first_doubt_of_a_time():
    machine = doubts()
    machine.begin(1.0, X, "x:1")
    machine.begin(1.0, Y, "y:1")
    assert machine.episode == 1
    for node_id in (X, Y):
        machine.end(2.0, node_id, "left")
    machine.settle(3.0)
    machine.begin(4.0, X, "x:1")
    assert machine.episode == 2


def test_doubts_expire_after_the_documented_time():
    machine = doubts(doubt_s=10.0)
    machine.begin(1.0, X, "x:1")
    assert machine.expire(10.9) == []
    assert [doubt.why_over for doubt in machine.expire(11.0)] == ["expired"]
    assert machine.expire(12.0) == []


def test_markers_are_replaced_dropped_by_age_and_bounded():
    markers = Markers(markers=(marker(X, 0.0), marker(Y, 50.0), marker("z", 60.0)))
    later = add_marker(markers, marker(Y, 100.0), keep_s=99.0, markers_max=9)
    assert later.markers == (marker("z", 60.0), marker(Y, 100.0))
    assert add_marker(markers, marker("q", 61.0), keep_s=99.0, markers_max=2).markers == (
        marker("z", 60.0),
        marker("q", 61.0),
    )


@given(
    st.lists(
        st.tuples(
            st.sampled_from(("begin", "end", "expire", "settle")), st.sampled_from("abcdef"), st.floats(0.0, 50.0)
        ),
        max_size=60,
    )
)
def test_the_invariants_hold_and_nobody_open_is_forgotten_by_a_read(steps: list[tuple[str, str, float]]):
    machine = doubts(doubt_s=40.0, most=4)
    now = 0.0
    for what, node_id, wait in steps:
        now += wait
        if what == "begin":
            machine.begin(now, node_id, f"{node_id}:1")
            assert machine.get(node_id) is not None
        elif what == "end":
            machine.end(now, node_id, "left")
            assert machine.get(node_id) is None
        elif what == "expire":
            machine.expire(now)
            assert all(now < doubt.since + 40.0 for doubt in machine.open())
        else:
            before = machine.open()
            machine.settle(now)
            assert machine.open() == before
            assert len(machine) == len(before)
        machine.check()
