"""The table is judged against the definition of rendezvous hashing, computed slot by slot from scratch."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inaho.core.identity.hashing import node_digest, rendezvous_score
from inaho.core.identity.partitions import PartitionTable
from inaho.types import Member, MemberStatus

PARTITIONS = 64


def member(number: int, weight: float = 1.0, boot: int = 0, incarnation: int = 1) -> Member:
    return Member(f"10.0.0.{number}:7700", f"{boot:016x}", incarnation, MemberStatus.UP, ("Cart",), weight)


def by_definition(members: list[Member], partition: int) -> str:
    """Schindelhauer and Schomaker's formula as the paper has it."""

    def strength(candidate: Member) -> float:
        score = rendezvous_score(node_digest(candidate.authority), partition)
        return -candidate.weight / math.log(((score >> 12) + 0.5) / 2**52)

    return max(members, key=strength).authority


def owners(table: PartitionTable) -> list[str]:
    return [table.owner(partition).authority for partition in range(table.partitions)]


def complete(table: PartitionTable) -> PartitionTable:
    owners(table)
    return table


def moved(after: PartitionTable, before: PartitionTable) -> list[int]:
    """Partitions that another member owns, or another boot."""

    def owner(table: PartitionTable, partition: int) -> tuple[str, str]:
        return table.owner(partition).authority, table.owner(partition).node_id

    return [partition for partition in range(PARTITIONS) if owner(after, partition) != owner(before, partition)]


weights = st.sampled_from([0.5, 1.0, 1.0, 1.0, 2.0, 3.7])
member_sets = st.dictionaries(st.integers(1, 30), weights, min_size=1, max_size=12).map(
    lambda chosen: [member(number, weight) for number, weight in chosen.items()]
)
equal_sets = st.sets(st.integers(1, 30), min_size=1, max_size=12).map(
    lambda chosen: [member(number) for number in sorted(chosen)]
)


@given(member_sets | equal_sets)
def test_owners_are_those_of_the_formula(members: list[Member]) -> None:
    table = PartitionTable(members, PARTITIONS)
    assert owners(table) == [by_definition(members, partition) for partition in range(PARTITIONS)]
    table.check()


@given(member_sets, st.randoms(use_true_random=False))
def test_the_order_of_members_does_not_matter(members: list[Member], chance: random.Random) -> None:
    shuffled = members.copy()
    chance.shuffle(shuffled)
    one, other = PartitionTable(members, PARTITIONS), PartitionTable(shuffled, PARTITIONS)
    order = list(range(PARTITIONS))
    chance.shuffle(order)
    assert [one.owner(partition) for partition in order] == [other.owner(partition) for partition in order]


@given(member_sets, st.integers(31, 40), weights, st.integers(0, PARTITIONS))
def test_a_join_moves_partitions_to_the_joiner_only(
    members: list[Member], number: int, weight: float, decided: int
) -> None:
    before = PartitionTable(members, PARTITIONS)
    for partition in range(decided):
        before.owner(partition)
    joiner = member(number, weight)
    after = before.derive([*members, joiner])
    for partition in range(PARTITIONS):
        assert after.owner(partition) in (before.owner(partition), joiner)
    assert moved(after, before) == [partition for partition in range(PARTITIONS) if after.owner(partition) is joiner]


@given(member_sets, st.data())
def test_a_leave_moves_partitions_from_the_leaver_only(members: list[Member], data: st.DataObject) -> None:
    if len(members) == 1:
        members.append(member(40))
    leaver = data.draw(st.sampled_from(members))
    before = PartitionTable(members, PARTITIONS)
    held = [partition for partition in range(PARTITIONS) if before.owner(partition) is leaver]
    after = before.derive([other for other in members if other is not leaver])
    assert moved(after, before) == held
    assert after.scored == len(held) * (len(members) - 1), "a leave costs the leaver's partitions and no more"


@settings(max_examples=150)
@given(st.lists(st.tuples(member_sets, st.sets(st.integers(0, PARTITIONS - 1), max_size=20)), min_size=2, max_size=6))
def test_a_chain_of_changes_with_lazy_slots_equals_a_table_from_scratch(
    steps: list[tuple[list[Member], set[int]]],
) -> None:
    table = PartitionTable(steps[0][0], PARTITIONS)
    for members, asked in steps:
        table = table.derive(members)
        scratch = PartitionTable(members, PARTITIONS)
        for partition in sorted(asked):
            assert table.owner(partition) is scratch.owner(partition)
        table.check()
    assert owners(table) == owners(scratch)
    table.check()


def test_a_join_costs_one_score_per_partition() -> None:
    before = complete(PartitionTable([member(number) for number in range(1, 101)], 4096))
    assert before.scored == 4096 * 100
    after = before.derive([*before.members, member(200)])
    assert after.scored == 0, "deriving decides nothing"
    complete(after)
    assert after.scored == 4096
    assert before.scored == 4096 * 100, "the table before is left as it was"


def test_a_decision_is_made_once() -> None:
    first = complete(PartitionTable([member(number) for number in range(1, 6)], PARTITIONS))
    joined = complete(first.derive([*first.members, member(9)]))
    same = joined.derive(joined.members)
    assert owners(same) == owners(joined)
    assert same.scored == 0


def test_a_member_that_rejoins_gets_its_partitions_back() -> None:
    members = [member(number) for number in range(1, 6)]
    first = complete(PartitionTable(members, PARTITIONS))
    without = first.derive(members[1:])
    again = without.derive(members)
    assert owners(again) == owners(first)
    assert moved(again, first) == []


def test_a_restart_moves_the_partitions_of_that_authority_and_an_incarnation_moves_none() -> None:
    members = [member(1), member(2), member(3)]
    before = complete(PartitionTable(members, PARTITIONS))
    refuted = before.derive([member(1, incarnation=2), *members[1:]])
    assert moved(refuted, before) == []
    assert refuted.scored == 0
    assert {owner.incarnation for owner in refuted.slots if owner and owner.authority == "10.0.0.1:7700"} == {2}
    restarted = before.derive([member(1, boot=9), *members[1:]])
    held = [partition for partition in range(PARTITIONS) if before.owner(partition) is members[0]]
    assert moved(restarted, before) == held
    assert owners(restarted) == owners(before)


def test_shares_follow_the_weights() -> None:
    members = [member(1, 1.0), member(2, 2.0), member(3, 5.0)]
    shares = Counter(owners(PartitionTable(members, 1 << 14)))
    for one in members:
        expected = (1 << 14) * one.weight / 8
        assert abs(shares[one.authority] - expected) < 5 * math.sqrt(expected), (one.authority, shares)


def test_equal_weights_of_any_size_give_the_owners_of_weight_one() -> None:
    light = PartitionTable([member(number, 1.0) for number in range(1, 9)], 1024)
    heavy = PartitionTable([member(number, 7.3) for number in range(1, 9)], 1024)
    assert owners(light) == owners(heavy)


def test_raising_one_weight_moves_partitions_to_that_member_only() -> None:
    before = PartitionTable([member(1), member(2), member(3)], 1024)
    heavier = member(2, 1.5)
    after = before.derive([member(1), heavier, member(3)])
    gained = [p for p in range(1024) if after.owner(p).authority != before.owner(p).authority]
    assert len(gained) > 50
    assert all(after.owner(partition) is heavier for partition in gained)


@pytest.mark.parametrize(
    ("members", "partitions", "reason"),
    [
        ([], 64, "at least one member"),
        ([member(1), member(1, boot=2)], 64, "two members have the authority"),
        ([member(1, 0.0)], 64, "weight"),
        ([member(1, -1.0)], 64, "weight"),
        ([member(1, math.inf)], 64, "weight"),
        ([member(1, math.nan)], 64, "weight"),
        ([member(1)], 63, "power of two"),
        ([member(1)], 0, "power of two"),
    ],
)
def test_impossible_tables_are_refused(members: list[Member], partitions: int, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        PartitionTable(members, partitions)


def test_a_table_is_not_derived_from_one_of_another_size() -> None:
    small = PartitionTable([member(1)], 32)
    with pytest.raises(ValueError, match="cannot derive"):
        PartitionTable([member(1)], 64, small)


def test_check_finds_a_slot_that_was_tampered_with() -> None:
    table = complete(PartitionTable([member(1), member(2)], 16))
    mine, other = table.members
    table.slots[3] = other if table.slots[3] is mine else mine
    with pytest.raises(AssertionError, match="partition 3"):
        table.check()
