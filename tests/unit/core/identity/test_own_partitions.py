"""What one member owns, found out from change to change, is what a table of all owners says."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from inaho.core.identity.own_partitions import STEP_SCORES, OwnPartitions
from inaho.core.identity.partitions import PartitionTable
from inaho.types import Member, MemberStatus

PARTITIONS = 128
ME = f"{0:016x}"


def host(number: int, weight: float = 1.0, boot: int | None = None) -> Member:
    node_id = f"{number if boot is None else boot:016x}"
    return Member(f"10.0.0.{number + 100}:7700", node_id, 1, MemberStatus.UP, ("Cart",), weight)


def by_table(hosts: list[Member], partitions: int = PARTITIONS) -> tuple[int, ...]:
    if not hosts:
        return ()
    table = PartitionTable(hosts, partitions)
    return tuple(number for number in range(partitions) if table.owner(number).node_id == ME)


def found(
    hosts: list[Member], previous: OwnPartitions | None = None, partitions: int = PARTITIONS
) -> tuple[OwnPartitions, int]:
    """What is owned, and how many scores that took."""
    own = OwnPartitions(ME, partitions, hosts, previous)
    scores = sum(own.search())
    own.check()
    return own, scores


weights = st.sampled_from([0.5, 1.0, 1.0, 1.0, 2.0, 3.7])
host_sets = st.dictionaries(st.integers(0, 12), st.tuples(weights, st.sampled_from([None, 99])), max_size=9).map(
    lambda chosen: [host(number, *chosen[number]) for number in sorted(chosen)]
)
equal_sets = st.sets(st.integers(0, 12), max_size=9).map(lambda chosen: [host(number) for number in sorted(chosen)])


@settings(max_examples=300)
@given(st.lists(host_sets | equal_sets, min_size=1, max_size=6))
def test_any_chain_of_changes_gives_what_the_whole_table_gives(changes: list[list[Member]]) -> None:
    own: OwnPartitions | None = None
    for hosts in changes:
        own, _ = found(hosts, own)
        assert own.owned == by_table(hosts)


def test_a_thousand_hosts_take_a_few_scores_per_partition() -> None:
    hosts = sorted((host(number) for number in range(1_000)), key=lambda one: one.authority)
    own = OwnPartitions(ME, 4_096, hosts)
    steps = list(own.search())
    assert own.owned == by_table(hosts, 4_096)
    assert sum(steps) < 4_096 * 15, "a table of owners takes 1,000 for each"
    assert len(steps) > 5
    assert max(steps) < 2 * 4_096 + STEP_SCORES, "at first every partition is compared with one host at once"


def test_a_change_costs_what_it_moves() -> None:
    hosts = sorted((host(number) for number in range(1_000)), key=lambda one: one.authority)
    own, _ = found(hosts, partitions=4_096)
    steps = OwnPartitions(ME, 4_096, sorted([*hosts, host(1_001)], key=lambda one: one.authority), own)
    assert sum(steps.search()) < 100, "a newcomer is compared in the few partitions that are owned"
    rival = max(own._rivals, key=lambda name: len(own._rivals[name]))
    left = [one for one in hosts if one.authority != rival]
    _, scores = found(left, own, 4_096)
    assert scores < len(own._rivals[rival]) * 20
    _, scores = found(hosts, own, 4_096)
    assert scores == 0, "nothing has changed"


def test_a_member_that_hosts_nothing_owns_nothing_and_begins_again() -> None:
    hosts = [host(number) for number in range(5)]
    own, _ = found(hosts)
    assert own.owned
    out, scores = found(hosts[1:], own)
    assert (out.owned, scores) == ((), 0)
    again, _ = found(hosts, out)
    assert again.owned == own.owned
