"""The choice of a host: never one that may not have it, and even loads from old reports."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inaho.core.activation.placement import (
    LEAST_LOADED,
    OWNER,
    PREFER_LOCAL,
    STRATEGIES,
    LoadBook,
    check_strategy,
    choose,
    hosts_of,
)
from inaho.errors import InvalidGrain, TopologyUnavailable
from inaho.types import Member, MemberStatus, TopologySnapshot


def member(number: int, status: MemberStatus = MemberStatus.UP, weight: float = 1.0, kinds: tuple[str, ...] = ("K",)):
    return Member(
        authority=f"host-{number}:7700",
        node_id=f"n{number}",
        incarnation=1,
        status=status,
        kinds=kinds,
        weight=weight,
    )


def snapshot(*members: Member, blocked: tuple[str, ...] = ()) -> TopologySnapshot:
    return TopologySnapshot(version=1, hash=1, members=members, blocked=blocked)


members_of = st.lists(
    st.tuples(st.sampled_from(MemberStatus), st.booleans(), st.booleans(), st.floats(0.1, 10.0)), max_size=8
)


@given(members_of, st.sampled_from(STRATEGIES), st.integers(0, 9), st.integers(0, 9), st.randoms(use_true_random=False))
def test_nobody_is_chosen_who_may_not_have_it(drawn, strategy, asker, owner, chance):
    members, blocked = [], []
    for number, (status, hosts, is_blocked, weight) in enumerate(drawn):
        members.append(member(number, status, weight, ("K",) if hosts else ("Other",)))
        if is_blocked:
            blocked.append(members[-1].authority)
    able = hosts_of(snapshot(*members, blocked=tuple(blocked)), "K")
    arguments = {"asker": f"n{asker}", "owner": f"n{owner}", "loads": LoadBook(), "random": chance}
    if not able:
        with pytest.raises(TopologyUnavailable):
            choose(strategy, able, **arguments)
        return
    chosen = choose(strategy, able, **arguments)
    assert chosen in members
    assert chosen.status is MemberStatus.UP
    assert "K" in chosen.kinds
    assert chosen.authority not in blocked


def test_without_a_topology_there_are_no_hosts():
    assert hosts_of(None, "K") == []


def test_of_two_boots_of_one_authority_the_later_counts():
    old = member(1)
    new = Member(authority=old.authority, node_id="later", incarnation=2, status=MemberStatus.UP, kinds=("K",))
    assert hosts_of(snapshot(new, old), "K") == [new]
    assert hosts_of(snapshot(old, new), "K") == [new]


def test_prefer_local_takes_who_asks_then_the_owner():
    hosts = [member(number) for number in range(3)]
    loads, chance = LoadBook(), random.Random(1)
    for asker, expected in (("n2", "n2"), ("a client", "n1"), ("n0", "n0")):
        chosen = choose(PREFER_LOCAL, hosts, asker=asker, owner="n1", loads=loads, random=chance)
        assert chosen.node_id == expected
    assert choose(OWNER, hosts, asker="n2", owner="n1", loads=loads, random=chance).node_id == "n1"
    assert choose(OWNER, hosts, asker="n2", owner="gone", loads=loads, random=chance).node_id == "n0"


def test_one_host_is_no_choice():
    only = member(1)
    assert choose(LEAST_LOADED, [only], asker="", owner="n1", loads=LoadBook(), random=random.Random(0)) is only


@given(st.integers(2, 10), st.integers(0, 1_000))
def test_the_most_loaded_of_all_gets_nothing(count: int, seed: int):
    hosts = [member(number) for number in range(count)]
    loads = LoadBook()
    loads.report({f"n{number}": 10.0 for number in range(count)} | {"n1": 1_000.0})
    chance = random.Random(seed)
    for _ in range(50):
        chosen = choose(LEAST_LOADED, hosts, asker="", owner="n0", loads=loads, random=chance)
        assert chosen.node_id != "n1"


def test_two_choices_keep_loads_even_where_one_does_not():
    hosts = [member(number) for number in range(20)]
    chance = random.Random(7)
    loads = LoadBook()
    for _ in range(4_000):
        loads.granted(choose(LEAST_LOADED, hosts, asker="", owner="n0", loads=loads, random=chance).node_id)
    counts = [loads.of(host.node_id) for host in hosts]
    assert sum(counts) == 4_000
    assert max(counts) - min(counts) <= 10, counts
    alone = [0] * 20
    for _ in range(4_000):
        alone[chance.randrange(20)] += 1
    assert max(alone) - min(alone) > 10


def test_weights_share_the_load():
    hosts = [member(0, weight=1.0), member(1, weight=3.0)]
    loads, chance = LoadBook(), random.Random(3)
    for _ in range(400):
        loads.granted(choose(LEAST_LOADED, hosts, asker="", owner="n0", loads=loads, random=chance).node_id)
    assert 290 <= loads.of("n1") <= 310


def test_a_herd_does_not_follow_an_old_report():
    """Ten nodes with the same old report, in which one host is empty, do not all send everything there."""
    hosts = [member(number) for number in range(10)]
    received = dict.fromkeys((host.node_id for host in hosts), 0)
    for node in range(10):
        loads, chance = LoadBook(), random.Random(node)
        loads.report({host.node_id: 20.0 for host in hosts} | {"n0": 0.0})
        for _ in range(20):
            chosen = choose(LEAST_LOADED, hosts, asker="", owner="n0", loads=loads, random=chance)
            loads.granted(chosen.node_id)
            received[chosen.node_id] += 1
    assert received["n0"] <= 80, "with the best of all it would be 200"


def test_a_new_report_takes_the_place_of_what_was_counted():
    loads = LoadBook()
    loads.report({"n1": 5.0})
    loads.granted("n1")
    loads.granted("n1")
    assert loads.of("n1") == 7.0
    loads.report({"n1": 5.0})
    assert loads.of("n1") == 7.0, "the same report again says nothing new"
    loads.ended("n1")
    assert loads.of("n1") == 6.0
    loads.report({"n1": 6.0})
    assert loads.of("n1") == 6.0
    loads.ended("n1")
    assert loads.of("n1") == 6.0, "it is in the report"
    loads.check()
    loads.retain(["n2"])
    assert loads.of("n1") == 0.0


def test_only_known_strategies():
    for strategy in STRATEGIES:
        assert check_strategy("K", strategy) == strategy
    with pytest.raises(InvalidGrain, match="K: placement must be one of"):
        check_strategy("K", "nearest")
