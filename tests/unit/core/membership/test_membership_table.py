"""The merged table: any order, repetition, and loss that is repaired, end in the same table."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inaho.core.membership.block_list import BlockList
from inaho.core.membership.delta import lacking
from inaho.core.membership.incarnation import GENERATION_MAX, REFUTATIONS_TOLD_MAX, first_of, next_generation, refuting
from inaho.core.membership.table import MembershipTable
from inaho.core.membership.tombstones import Tombstone
from inaho.core.membership.topology import TopologyPublisher, topology_hash
from inaho.core.messages import BlockNotice, Entry, MembershipDelta
from inaho.errors import IllegalTransition
from inaho.types import MemberStatus
from support.members import CONFIG, STATUSES, up


def exchange(left: MembershipTable, right: MembershipTable, now: float = 0.0) -> None:
    """What gossip does while digests differ, and a whole table when they do not but contents do."""
    for source, target in ((left, right), (right, left)):
        lines = [msgspec.structs.replace(line) for line in source.snapshot(now).versions]
        for want in lacking(target.digest(now), lines):
            target.apply(now, source.delta(now, want.origin, want.version))
    if left.content_hash() != right.content_hash() and left.digest(now) == right.digest(now):
        right.merge(now, left.snapshot(now))
        left.merge(now, right.snapshot(now))


# Merging.

SUBJECTS = {"a:1": "origin-0", "b:1": "origin-1", "c:1": "node-c"}
statements = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["a:1", "b:1", "c:1"]), st.sampled_from(STATUSES), st.booleans()),
    max_size=14,
)
schedules = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3), st.integers(0, 9), st.booleans()), max_size=40
)


def write(tables: list[MembershipTable], script: list[tuple[int, str, MemberStatus, bool]]) -> list[MembershipDelta]:
    """Every author says what its own table allows; each statement is a rumour of its own."""
    rumours: list[MembershipDelta] = []
    for author, authority, status, bump in script:
        table = tables[author]
        held = table.get(authority)
        node_id = SUBJECTS[authority]
        incarnation = first_of(1) if held is None else held.incarnation
        if bump and held is not None:
            # Its subject may refute; others may only admit it anew.
            incarnation = refuting(incarnation) if table.node_id == node_id else next_generation(incarnation)
        covered = table.covered(table.node_id)
        try:
            table.author(0.0, up(authority, node_id, incarnation, status))
        except IllegalTransition:
            continue
        rumours.append(table.delta(0.0, table.node_id, covered))
    return rumours


@settings(max_examples=120, deadline=None)
@given(statements, schedules, st.randoms(use_true_random=False))
def test_any_order_repetition_and_repaired_loss_give_one_table(script, schedule, chance) -> None:  # type: ignore[no-untyped-def]
    tables = [MembershipTable(f"origin-{index}", CONFIG) for index in range(4)]
    rumours = write(tables, script)
    versions = [table.version for table in tables]
    for target, source, _, pick, pull in schedule:
        if rumours:
            # Whichever rumour, to whomever, again or never: those not picked are lost.
            tables[target].apply(0.0, rumours[pick % len(rumours)])
        if pull:
            exchange(tables[target], tables[source])
        assert tables[target].version >= versions[target]
        versions[target] = tables[target].version
        tables[target].check()
    for _ in range(3):
        for left in tables:
            for right in chance.sample(tables, len(tables)):
                exchange(left, right)
    assert len({table.content_hash() for table in tables}) == 1
    assert len({table.version for table in tables}) == 1
    assert all(table.live == tables[0].live for table in tables)
    assert all(table.digest(0.0) == tables[0].digest(0.0) for table in tables)


@settings(max_examples=60, deadline=None)
@given(statements)
def test_a_snapshot_gives_a_joiner_the_same_table(script) -> None:  # type: ignore[no-untyped-def]
    tables = [MembershipTable(f"origin-{index}", CONFIG) for index in range(4)]
    write(tables, script)
    joiner = MembershipTable("joiner", CONFIG)
    joiner.merge(0.0, tables[0].snapshot(0.0))
    joiner.check()
    assert joiner.live == tables[0].live
    assert joiner.content_hash() == tables[0].content_hash()
    assert joiner.version == tables[0].version
    again = joiner.merge(0.0, tables[0].snapshot(0.0))
    assert not again.changes and not again.advanced


def test_a_stale_delta_is_ignored_and_a_gap_is_reported() -> None:
    source, target = MembershipTable("s", CONFIG), MembershipTable("t", CONFIG)
    source.author(0.0, up("a:1"))
    first = source.delta(0.0, "s", 0)
    source.author(0.0, up("b:1"))
    second = source.delta(0.0, "s", 1)
    gap = target.apply(0.0, second)
    assert [(missing.origin, missing.from_version, missing.to_version) for missing in gap.gaps] == [("s", 0, 1)]
    assert not gap.changes and target.version == 0
    assert len(target.apply(0.0, first).changes) == 1
    assert len(target.apply(0.0, second).changes) == 1
    assert not target.apply(0.0, first).changes
    assert target.content_hash() == source.content_hash()


def test_outdone_statements_leave_sparse_ranges() -> None:
    table = MembershipTable("n", CONFIG)
    table.author(0.0, up("a:1"))
    for incarnation in range(2, 50):
        table.author(0.0, up("a:1", incarnation=first_of(incarnation)))
    delta = table.delta(0.0, "n", 0)
    assert (delta.from_version, delta.to_version, len(delta.entries)) == (0, 49, 1)


def test_a_refused_statement_is_not_covered_and_fits_later() -> None:
    source, target = MembershipTable("s", CONFIG), MembershipTable("t", CONFIG)
    target.author(0.0, up("a:1", incarnation=first_of(1)))
    source.author(0.0, up("a:1", incarnation=first_of(1500)))
    delta = source.delta(0.0, "s", 0)
    assert target.apply(0.0, delta).refused
    assert target.covered("s") == 0
    target.author(0.0, up("a:1", incarnation=first_of(900)))
    assert not target.apply(0.0, delta).refused
    assert target.get("a:1") == source.get("a:1")


@pytest.mark.parametrize(
    ("origin", "incarnation", "status", "reason"),
    [
        ("s", refuting(first_of(1)), MemberStatus.UP, "only its subject may refute"),
        ("x", first_of(1) + REFUTATIONS_TOLD_MAX + 1, MemberStatus.UP, "more than a generation can have"),
        ("x", first_of(1) + 1001, MemberStatus.UP, "too far above"),
        ("s", first_of(1002), MemberStatus.JOINING, "too far above"),
        ("s", first_of(GENERATION_MAX + 1), MemberStatus.JOINING, "too far above"),
    ],
)
def test_impossible_incarnations_are_refused(origin: str, incarnation: int, status: MemberStatus, reason: str) -> None:
    table = MembershipTable("t", CONFIG)
    table.author(0.0, up("a:1", "x", first_of(1)))
    entry = Entry(origin, 1, up("a:1", "x", incarnation, status))
    (refusal,) = table.apply(0.0, MembershipDelta(origin, 0, 1, (entry,))).refused
    assert reason in refusal.reason
    assert table.get("a:1") == up("a:1", "x", first_of(1))
    assert table.covered(origin) == 0


def test_an_earlier_generation_of_a_node_that_is_back_is_removed() -> None:
    table = MembershipTable("t", CONFIG)
    table.author(0.0, up("a:1", "x", first_of(1)))
    table.author(0.0, up("a:1", "x", first_of(2)))
    assert table.removed("x", first_of(1)) and not table.removed("x", first_of(2))


BREAKS: dict[str, Callable[[MembershipTable], object]] = {
    "a sum": lambda table: setattr(table, "_covered_sum", table._covered_sum + 1),
    "the hash": lambda table: setattr(table, "_hash", table._hash + 1),
    "the count of the unreachable": lambda table: setattr(table, "_unreachable", 1),
    "the order": lambda table: table._order.reverse(),
    "a live member": lambda table: table._live.pop("b:1"),
    "a live record": lambda table: table._live.update({"b:1": up("b:1", incarnation=9)}),
    "an origin": lambda table: table._covered.pop("n1"),
    "what was told": lambda table: table._told.update({"n1": MembershipDelta("n1", 0, 2)}),
    "a node id": lambda table: table._authority_of.update({"node-b:1": "a:1"}),
    "an index": lambda table: table._by_origin["n1"].pop("b:1"),
    "an entry of an index": lambda table: table._by_origin["n1"].update({"b:1": Entry("n1", 2, up("b:1"))}),
    "an entry": lambda table: table._entries.pop("b:1"),
    "the age of tombstones": lambda table: table.tombstones._stones.update({"old": Tombstone(-1.0, 0.0, 1.0, 1)}),
    "the version of the block list": lambda table: setattr(table.blocks, "version", 7),
}


@pytest.mark.parametrize("part", BREAKS)
def test_a_check_notices_what_broke_since_the_last_one(part: str) -> None:
    table = MembershipTable("n1", CONFIG)
    table.author(0.0, up("a:1"))
    table.author(0.0, up("b:1"))
    table.author(0.0, up("c:1"))
    table.author(0.0, up("c:1", status=MemberStatus.REMOVED))
    table.delta(0.0, "n1", 0)
    table.check()
    table.check()
    BREAKS[part](table)
    with pytest.raises((AssertionError, KeyError)):
        table.check()


def test_the_table_is_bounded() -> None:
    table = MembershipTable("n", CONFIG.replace(members_max=2))
    table.author(0.0, up("a:1"))
    table.author(0.0, up("b:1"))
    with pytest.raises(IllegalTransition):
        table.author(0.0, up("c:1"))
    other = MembershipTable("o", CONFIG)
    other.author(0.0, up("c:1"))
    assert table.apply(0.0, other.delta(0.0, "o", 0)).refused
    assert len(table) == 2


def test_tombstones_fade_then_are_forgotten_and_the_version_never_falls() -> None:
    config = CONFIG.replace(tombstone_s=100.0)
    table, other = MembershipTable("n", config), MembershipTable("o", config)
    table.author(0.0, up("a:1", "x"))
    table.author(1.0, up("a:1", "x", status=MemberStatus.REMOVED))
    version = table.version
    assert table.removed("x", first_of(1) + 5) and not table.removed("x", first_of(2))
    assert len(table.snapshot(40.0).entries) == 1
    assert table.snapshot(60.0).entries == ()
    assert table.next_deadline() == 101.0
    table.expire(101.0)
    assert table.get("a:1") is None
    assert table.version == version
    table.check()
    other.merge(101.0, table.snapshot(101.0))
    assert other.get("a:1") is None


def test_a_forgotten_origin_does_not_lower_the_version_and_peers_catch_up() -> None:
    config = CONFIG.replace(tombstone_s=10.0)
    left, right = MembershipTable("l", config), MembershipTable("r", config)
    gone = MembershipTable("x", config)
    gone.author(0.0, up("a:1", "x"))
    left.apply(0.0, gone.delta(0.0, "x", 0))
    left.author(0.0, up("a:1", "x", status=MemberStatus.REMOVED))
    version = left.version
    left.expire(10.0)
    assert left.version == version and "x" not in left.digest(10.0)
    exchange(left, right, 10.0)
    assert right.version < left.version
    right.adopt_version(left.version)
    assert right.version == left.version


# Blocks and topology.


@given(st.lists(st.builds(BlockNotice, st.sampled_from(["a", "b"]), st.integers(1, 3), st.booleans()), max_size=8))
def test_block_lists_merge_in_any_order(notices: list[BlockNotice]) -> None:
    left, right = BlockList(9), BlockList(9)
    left.merge(notices)
    right.merge(reversed(notices))
    right.merge(notices)
    assert left.notices == right.notices
    assert left.version == right.version
    left.check()


def test_the_topology_hash_counts_what_ownership_depends_on() -> None:
    a, b = up("a:1"), up("b:1")
    base = topology_hash([a, b], ())
    assert topology_hash([b, a], ()) == base
    assert topology_hash([up("a:1", incarnation=9), b], ()) == base
    assert topology_hash([a, b, up("c:1", status=MemberStatus.JOINING)], ()) == base
    assert topology_hash([a], ()) == topology_hash([a, b], ("b:1",)) != base
    assert topology_hash([a, msgspec.structs.replace(b, weight=2.0)], ()) != base
    assert topology_hash([a, msgspec.structs.replace(b, kinds=("Cart",))], ()) != base


def test_a_period_makes_one_snapshot_and_no_change_makes_none() -> None:
    publisher = TopologyPublisher(0.05)
    publisher.changed(1.0)
    publisher.changed(1.04)
    assert publisher.next_deadline() == 1.05
    assert publisher.poll(1.04, 2, (up("a:1"),), ()) is None
    assert publisher.poll(1.05, 2, (up("a:1"),), ()) is not None
    publisher.changed(2.0)
    assert publisher.poll(2.05, 3, (up("a:1"),), ()) is None
    assert publisher.latest.version == 3
    publisher.check()
    publisher.latest = msgspec.structs.replace(publisher.latest, members=(up("b:1"), up("a:1")))
    with pytest.raises(AssertionError):
        publisher.check()
