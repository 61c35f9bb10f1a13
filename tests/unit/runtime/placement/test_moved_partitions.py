"""In whatever order partitions are looked at, each change is noted once per partition and in its order."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inaho.config import ActivationConfig
from inaho.core.identity.lookup import IdentityLookup
from inaho.runtime.local.history import TopologyChange
from inaho.runtime.placement.moved_partitions import Move, MovedPartitions
from inaho.types import Member, MemberStatus, TopologySnapshot

PARTITIONS = 32
CONFIG = ActivationConfig(partitions=PARTITIONS)
KINDS = ("A", "B")
ME = f"{0:016x}"


def host(number: int, kinds: tuple[str, ...], status: MemberStatus = MemberStatus.UP) -> Member:
    return Member(f"10.0.0.{number + 100}:7700", f"{number:016x}", 1, status, kinds)


class Noted:
    """What has moved, by kind and partition, in the order in which it was told."""

    def __init__(self) -> None:
        self.moves: dict[tuple[str, int], list[tuple[object, ...]]] = {}

    def gained(self, kind: str, partition: int, before: Member, now: Member, move: Move) -> None:
        assert now.node_id == ME
        leaving = tuple(member.node_id for member in move.leaving(kind))
        self.moves.setdefault((kind, partition), []).append(("gained", before.node_id, move.version, leaving))

    def lost(self, kind: str, partition: int, now: Member) -> None:
        self.moves.setdefault((kind, partition), []).append(("lost", now.node_id))


class Node:
    """One node's lookup and its moves."""

    def __init__(self) -> None:
        self.noted = Noted()
        self.moved = MovedPartitions(ME, PARTITIONS, self.noted)
        self.lookup = IdentityLookup(CONFIG)
        self.steps: dict[str, Iterator[int]] = {}
        self.before: TopologySnapshot | None = None

    def apply(self, members: tuple[Member, ...]) -> None:
        version = 1 if self.before is None else self.before.version + 1
        snapshot = TopologySnapshot(version, version, members)
        assert self.lookup.update_topology(snapshot)
        move = Move(self.lookup.change(ME), TopologyChange(1.0, self.before, snapshot), snapshot)
        for kind in KINDS:
            self.moved.add(kind, move)
            self.steps.setdefault(kind, self.moved.steps(kind))
        self.before = snapshot

    def step(self, kind: str) -> None:
        if kind in self.steps and next(self.steps[kind], None) is None:
            del self.steps[kind]

    def finish(self) -> None:
        while self.steps:
            self.step(next(iter(self.steps)))
        assert not self.moved.waiting
        self.moved.check()


members = st.dictionaries(
    st.integers(0, 5),
    st.tuples(
        st.sampled_from([("A",), ("B",), KINDS, KINDS]), st.sampled_from([MemberStatus.UP, MemberStatus.LEAVING])
    ),
    max_size=5,
).map(lambda chosen: tuple(host(number, *chosen[number]) for number in sorted(chosen)))

meanwhile = st.lists(
    st.one_of(
        st.sampled_from(KINDS),
        st.tuples(st.sampled_from(KINDS), st.integers(0, PARTITIONS - 1)),
    ),
    max_size=30,
)


@settings(max_examples=200)
@given(st.lists(st.tuples(members, meanwhile), min_size=1, max_size=5))
def test_slices_and_questions_note_what_a_walk_at_once_notes(
    changes: list[tuple[tuple[Member, ...], list[str | tuple[str, int]]]],
) -> None:
    at_once, in_slices = Node(), Node()
    for members_now, between in changes:
        at_once.apply(members_now)
        at_once.finish()
        in_slices.apply(members_now)
        for what in between:
            if isinstance(what, str):
                in_slices.step(what)
            else:
                in_slices.moved.settle(*what)
                assert in_slices.noted.moves.get(what) == at_once.noted.moves.get(what), "all is known of this one"
    in_slices.finish()
    assert in_slices.noted.moves == at_once.noted.moves


@given(st.lists(members, min_size=1, max_size=5))
def test_what_is_noted_is_what_the_owners_say(changes: list[tuple[Member, ...]]) -> None:
    node, expected = Node(), Noted()
    for members_now in changes:
        node.apply(members_now)
        node.finish()
        change = node.lookup.change(ME)
        assert node.before is not None
        move = Move(change, TopologyChange(1.0, None, node.before), node.before)
        for kind in KINDS:
            for partition in range(PARTITIONS):
                owners = change.owners(kind, partition)
                if owners is None or owners[0].node_id == owners[1].node_id:
                    continue
                if owners[1].node_id == ME:
                    expected.gained(kind, partition, *owners, move)
                elif owners[0].node_id == ME:
                    expected.lost(kind, partition, owners[1])
    assert node.noted.moves == expected.moves


def test_a_partition_that_went_through_this_node_has_both_of_its_moves() -> None:
    others = tuple(host(number, KINDS) for number in (1, 2))
    node = Node()
    node.apply(others)
    node.finish()
    assert node.noted.moves == {}
    node.apply((host(0, KINDS), *others))
    node.apply(others)
    node.finish()
    moves = [moves for (kind, _), moves in node.noted.moves.items() if kind == "A"]
    assert len(moves) > 3
    assert all([what[0] for what in each] == ["gained", "lost"] for each in moves)


def test_a_step_that_fails_leaves_what_is_to_be_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node()
    node.apply((host(1, KINDS), host(2, KINDS)))
    node.finish()
    node.apply((host(0, KINDS), host(1, KINDS), host(2, KINDS)))
    with monkeypatch.context() as patch:
        patch.setattr(Noted, "gained", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            node.finish()
    assert "A" in node.moved.waiting
    node.steps = {kind: node.moved.steps(kind) for kind in node.moved.waiting}
    node.finish()
    assert any(kind == "A" for kind, _ in node.noted.moves)
