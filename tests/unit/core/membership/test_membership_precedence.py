"""Of two statements about a member one is the stronger, in any order, and only what the tables allow is said."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inaho.core.membership.incarnation import first_of, generation_of, next_generation, refutations_of, refuting
from inaho.core.membership.member import FIRST, NEXT_GENERATION, REFUTATION, SAME_INCARNATION, advance
from inaho.core.membership.precedence import join, precedence, stronger
from inaho.core.membership.table import MembershipTable
from inaho.errors import IllegalTransition
from inaho.types import Member, MemberStatus
from support.members import CONFIG, STATUSES, up

members = st.builds(
    Member,
    authority=st.just("a:1"),
    node_id=st.sampled_from(["n1", "n2"]),
    incarnation=st.builds(
        lambda generation, refutations: first_of(generation) + refutations, st.integers(0, 2), st.integers(0, 2)
    ),
    status=st.sampled_from(STATUSES),
    kinds=st.sampled_from([(), ("Cart",)]),
    weight=st.sampled_from([1.0, 2.0]),
)


# Precedence.


@given(members, members, members)
def test_the_merge_is_a_semilattice(a: Member, b: Member, c: Member) -> None:
    assert join(a, join(b, c)) == join(join(a, b), c)
    assert join(a, b) == join(b, a)
    assert join(a, a) == a
    assert stronger(a, b) == (join(a, b) == a and a != b)


def test_generation_then_removal_then_incarnation_then_severity() -> None:
    *milder, removed = sorted(STATUSES)
    ranked = [up("a:1", incarnation=1, status=status) for status in milder]
    ranked += [up("a:1", incarnation=2, status=status) for status in milder]
    ranked += [up("a:1", incarnation=1, status=removed), up("a:1", incarnation=2, status=removed)]
    ranked += [up("a:1", incarnation=first_of(1))]
    assert all(stronger(later, earlier) for earlier, later in itertools.pairwise(ranked))
    assert sorted(ranked, key=precedence) == ranked


@given(members, st.integers(1, 900))
def test_no_refutation_outdoes_a_removal_in_its_generation(member: Member, refutations: int) -> None:
    removed = msgspec.structs.replace(member, status=MemberStatus.REMOVED)
    refuted = msgspec.structs.replace(member, status=MemberStatus.UP, incarnation=member.incarnation + refutations)
    assert join(removed, refuted) == removed
    again = msgspec.structs.replace(
        member, status=MemberStatus.JOINING, incarnation=next_generation(member.incarnation)
    )
    assert join(removed, again) == again


def test_an_incarnation_is_a_generation_and_its_refutations() -> None:
    incarnation = refuting(refuting(first_of(3)))
    assert (generation_of(incarnation), refutations_of(incarnation)) == (3, 2)
    assert next_generation(incarnation) == first_of(4)
    with pytest.raises(IllegalTransition):
        refuting(first_of(4) - 1)


# Transitions.


@pytest.mark.parametrize("before", STATUSES)
@pytest.mark.parametrize("after", STATUSES)
@pytest.mark.parametrize("step", [-1, 0, 1, first_of(1)])
def test_only_what_the_tables_allow_is_said(before: MemberStatus, after: MemberStatus, step: int) -> None:
    held = up("a:1", incarnation=5, status=before)
    proposed = up("a:1", incarnation=5 + step, status=after)
    allowed = {-1: (), 0: SAME_INCARNATION[before], 1: REFUTATION[before], first_of(1): NEXT_GENERATION}[step]
    if after in allowed:
        assert advance(held, proposed) == proposed
    else:
        with pytest.raises(IllegalTransition):
            advance(held, proposed)


@pytest.mark.parametrize("status", STATUSES)
def test_first_words(status: MemberStatus) -> None:
    if status in FIRST:
        advance(None, up("a:1", status=status))
    else:
        with pytest.raises(IllegalTransition):
            advance(None, up("a:1", status=status))


def test_nothing_follows_removal_in_one_generation() -> None:
    assert SAME_INCARNATION[MemberStatus.REMOVED] == REFUTATION[MemberStatus.REMOVED] == ()
    assert all(later > status for status, after in SAME_INCARNATION.items() for later in after)


def test_an_illegal_statement_changes_nothing() -> None:
    table = MembershipTable("n", CONFIG)
    table.author(0.0, up("a:1"))
    before = (table.version, table.content_hash(), table.digest(0.0))
    with pytest.raises(IllegalTransition):
        table.author(0.0, up("a:1", incarnation=1, status=MemberStatus.JOINING))
    assert before == (table.version, table.content_hash(), table.digest(0.0))
    table.check()
