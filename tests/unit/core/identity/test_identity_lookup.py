"""Owners follow the topology, are shared between kinds, and say why there is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inaho.config import ActivationConfig
from inaho.core.identity.hashing import identity_hash, node_digest, partition_of, rendezvous_score
from inaho.core.identity.lookup import IdentityLookup
from inaho.core.identity.pid_cache import PidCache
from inaho.errors import NoSuchKind, TopologyUnavailable
from inaho.types import ClusterIdentity, Member, MemberStatus, Pid, TopologySnapshot

CONFIG = ActivationConfig(partitions=256)
KEYS = [f"key-{number}" for number in range(300)]


def member(
    number: int,
    kinds: tuple[str, ...] = ("Cart",),
    status: MemberStatus = MemberStatus.UP,
    boot: int = 0,
    weight: float = 1.0,
) -> Member:
    return Member(f"10.0.0.{number}:7700", f"{boot:016x}", 1, status, kinds, weight)


def topology(
    version: int, *members: Member, blocked: tuple[str, ...] = (), same_as: int | None = None
) -> TopologySnapshot:
    ordered = tuple(sorted(members, key=lambda one: one.authority))
    return TopologySnapshot(version, same_as if same_as is not None else version * 1_000, ordered, blocked)


def looked_up(*snapshots: TopologySnapshot, config: ActivationConfig = CONFIG) -> IdentityLookup:
    lookup = IdentityLookup(config)
    for snapshot in snapshots:
        lookup.update_topology(snapshot)
    return lookup


def test_the_owner_is_the_highest_score_among_the_hosts() -> None:
    """SPEC VA-1.1, CL-5.1."""
    hosts = [member(number) for number in (1, 2, 3)]
    lookup = looked_up(topology(1, *hosts, member(4, kinds=("Other",))))
    for key in KEYS:
        partition = partition_of(identity_hash("Cart", key), CONFIG.partitions)
        best = max(hosts, key=lambda one: rendezvous_score(node_digest(one.authority), partition))
        assert lookup.owner("Cart", key) is best
        assert lookup.partition("Cart", key) == partition
    lookup.check()


@pytest.mark.parametrize("status", [status for status in MemberStatus if status is not MemberStatus.UP])
def test_only_members_that_are_up_own(status: MemberStatus) -> None:
    lookup = looked_up(topology(1, member(1), member(2, status=status)))
    assert {lookup.owner("Cart", key).authority for key in KEYS} == {"10.0.0.1:7700"}


def test_blocked_members_and_members_without_weight_own_nothing() -> None:
    snapshot = topology(1, member(1), member(2), member(3, weight=0.0), blocked=("10.0.0.2:7700",))
    lookup = looked_up(snapshot)
    assert {lookup.owner("Cart", key).authority for key in KEYS} == {"10.0.0.1:7700"}


def test_an_unchanged_hash_recomputes_nothing() -> None:
    """SPEC BS-2.2."""
    lookup = IdentityLookup(CONFIG)
    assert lookup.update_topology(topology(1, member(1), member(2)))
    owners = [lookup.owner("Cart", key) for key in KEYS]
    scored = lookup._tables["Cart"].scored
    assert not lookup.update_topology(topology(2, member(1), member(2), same_as=1_000))
    assert [lookup.owner("Cart", key) for key in KEYS] == owners
    assert lookup._tables["Cart"].scored == scored
    assert lookup.recomputed == 1
    assert lookup.snapshot is not None
    assert lookup.snapshot.version == 2
    assert lookup.hash == 1_000


def test_an_older_topology_is_ignored() -> None:
    """SPEC CL-2.5."""
    lookup = looked_up(topology(5, member(1)))
    assert not lookup.update_topology(topology(4, member(2)))
    assert lookup.owner("Cart", "a").authority == "10.0.0.1:7700"


def test_kinds_with_the_same_hosts_share_a_table() -> None:
    lookup = looked_up(topology(1, member(1, ("A", "B", "C")), member(2, ("A", "B")), member(3, ("B", "A"))))
    for kind in "ABC":
        lookup.owner(kind, "x")
    assert lookup._tables["A"] is lookup._tables["B"]
    assert lookup._tables["A"] is not lookup._tables["C"]
    assert lookup.kinds == ("A", "B", "C")


def test_the_number_of_tables_is_bounded() -> None:
    config = ActivationConfig(partitions=16, placement_tables_max=2)
    kinds = [f"Kind{number}" for number in range(6)]
    first = topology(1, *(member(number, tuple(kinds[: number + 1])) for number in range(6)))
    second = topology(2, *(member(number, tuple(kinds[: number + 1])) for number in range(1, 6)))
    scratch = [looked_up(one, config=ActivationConfig(partitions=16)) for one in (first, second)]
    lookup = IdentityLookup(config)
    for snapshot, expected in zip((first, second), scratch, strict=True):
        lookup.update_topology(snapshot)
        for kind in kinds * 2:
            assert lookup.owner(kind, "x") == expected.owner(kind, "x")
            lookup.check()
        while lookup.open_next():
            lookup.check()


def test_before_the_first_topology_there_is_none() -> None:
    with pytest.raises(TopologyUnavailable, match="no topology has arrived yet") as caught:
        IdentityLookup(CONFIG).owner("Cart", "alice")
    assert caught.value.identity == "Cart/alice"


def test_a_topology_without_members_that_are_up_is_unavailable() -> None:
    """SPEC PR-2.4."""
    for members in ((), (member(1, status=MemberStatus.LEAVING),)):
        lookup = looked_up(topology(1, member(1)), topology(2, *members))
        with pytest.raises(TopologyUnavailable, match="no member is up at topology version 2"):
            lookup.owner("Cart", "alice")


def test_an_unknown_kind_says_which_are_known() -> None:
    lookup = looked_up(topology(1, member(1, ("Cart", "Order"))))
    with pytest.raises(NoSuchKind, match="no member hosts it; hosted are: Cart, Order") as caught:
        lookup.owner("Crat", "alice")
    assert caught.value.identity == "Crat/alice"


def test_a_kind_whose_hosts_are_out_says_why() -> None:
    leaving = member(2, ("Order",), MemberStatus.LEAVING)
    blocked = member(3, ("Order",))
    lookup = looked_up(topology(1, member(1), leaving, blocked, blocked=("10.0.0.3:7700",)))
    with pytest.raises(TopologyUnavailable, match=r"10\.0\.0\.2:7700 \(leaving\), 10\.0\.0\.3:7700 \(blocked\)"):
        lookup.owner("Order", "alice")


def test_a_kind_that_is_known_waits_for_a_host() -> None:
    known = {"Order": "kind Order, only on members with the role 'gpu'"}
    lookup = IdentityLookup(ActivationConfig(), known.get)
    lookup.update_topology(topology(1, member(1, ("Cart",))))
    with pytest.raises(TopologyUnavailable, match=r"hosts it now \(kind Order, only .* role 'gpu'\)") as caught:
        lookup.owner("Order", "alice")
    assert caught.value.identity == "Order/alice"
    with pytest.raises(NoSuchKind):
        lookup.owner("Crat", "alice")


def test_a_long_list_of_kinds_is_cut() -> None:
    lookup = looked_up(topology(1, member(1, tuple(f"Kind{number:03}" for number in range(500)))))
    with pytest.raises(NoSuchKind, match="and 480 more"):
        lookup.owner("Cart", "a")


def test_a_change_tells_the_owners_before_and_after() -> None:
    before, after = topology(1, member(1), member(2)), topology(2, member(1), member(2), member(3))
    lookup, reference = looked_up(before, after), looked_up(before)
    change = lookup.change("f" * 16)
    assert list(change.hosts("Cart")) == [member(1), member(2), member(3)]
    assert change.hosted_before("Cart")
    moved = 0
    for key in KEYS:
        owners = change.owners("Cart", lookup.partition("Cart", key))
        assert owners == (reference.owner("Cart", key), lookup.owner("Cart", key))
        moved += owners[0] != owners[1]
    assert moved > 50
    assert change.owners("Other", 0) is None
    assert not change.hosted_before("Other")


def test_before_a_kind_had_hosts_its_owners_were_those_without_this_node() -> None:
    hosts = [member(number, boot=number) for number in (1, 2, 3)]
    joined, without = looked_up(topology(1, *hosts)), looked_up(topology(1, *hosts[:2]))
    change = joined.change(hosts[2].node_id)
    for partition in range(CONFIG.partitions):
        expected = without.owner_of("Cart", partition), joined.owner_of("Cart", partition)
        assert change.owners("Cart", partition) == expected
    assert looked_up(topology(1, hosts[2])).change(hosts[2].node_id).owners("Cart", 0) is None, "nobody else hosts it"
    assert looked_up(topology(1, *hosts), topology(2)).change(hosts[2].node_id).owners("Cart", 0) is None


def test_a_node_owns_what_its_very_boot_owns() -> None:
    lookup = looked_up(topology(1, member(1), member(2)))
    for key in KEYS:
        owner = lookup.owner("Cart", key)
        assert lookup.owns(Pid(owner.authority, owner.node_id, ClusterIdentity("Cart", key)))
        assert not lookup.owns(Pid(owner.authority, "f" * 16, ClusterIdentity("Cart", key)))
        assert not lookup.owns(Pid("10.0.0.9:7700", owner.node_id, ClusterIdentity("Cart", key)))
    assert not looked_up(topology(1, member(1, ()))).owns(Pid("10.0.0.1:7700", "0" * 16, ClusterIdentity("Cart", "a")))


def test_the_cache_drops_exactly_what_moved() -> None:
    """SPEC CL-5: entries go when ownership changes."""
    lookup = looked_up(topology(1, member(1), member(2)))
    cache = PidCache(1_000, 60.0)
    for key in KEYS:
        owner = lookup.owner("Cart", key)
        cache.put(Pid(owner.authority, owner.node_id, ClusterIdentity("Cart", key)), 0.0)
    lookup.update_topology(topology(2, member(1), member(2), member(3)))
    events = [event for start in range(0, cache.places, 50) for event in cache.retain(lookup.owns, "moved", start, 50)]
    gone = [key for key in KEYS if cache.get("Cart", key, 0.0) is None]
    assert gone == [key for key in KEYS if lookup.owner("Cart", key) == member(3)]
    assert sum(event.count for event in events) == len(gone) > 50


def test_a_kind_that_nobody_called_between_two_changes_keeps_what_it_knew() -> None:
    hosts = [member(number) for number in range(1, 51)]
    lookup = looked_up(topology(1, *hosts))
    before = [lookup.owner_of("Cart", partition) for partition in range(CONFIG.partitions)]
    scored = lookup.scored
    assert scored == CONFIG.partitions * len(hosts)
    lookup.update_topology(topology(2, *hosts[1:]))
    lookup.update_topology(topology(3, *hosts))
    assert [lookup.owner_of("Cart", partition) for partition in range(CONFIG.partitions)] == before
    assert lookup.scored == 0, "the members are those of two topologies ago"


def test_tables_of_kinds_that_were_called_can_be_made_ahead() -> None:
    hosts = [member(number, ("A", "B", "C") if number < 4 else ("A", "B")) for number in range(1, 6)]
    lookup = looked_up(topology(1, *hosts))
    lookup.owner("A", "x")
    lookup.owner("C", "x")
    assert not lookup.open_next()
    lookup.update_topology(topology(2, *hosts[1:]))
    assert lookup.open_next()
    assert lookup.open_next()
    assert not lookup.open_next()
    assert set(lookup._tables) == {"A", "C"}
    lookup.check()


def test_two_boots_of_one_authority_count_once() -> None:
    old = member(1, boot=1)
    new = Member("10.0.0.1:7700", "f" * 16, 2, MemberStatus.UP, ("Cart", "Cart"))
    lookup = looked_up(topology(1, new, old))
    assert lookup.owner("Cart", "a") is new


@given(
    st.lists(
        st.dictionaries(
            st.integers(1, 9), st.sets(st.sampled_from("ABC")).map(lambda kinds: tuple(sorted(kinds))), max_size=6
        ),
        min_size=1,
        max_size=5,
    ),
    st.lists(st.tuples(st.integers(0, 4), st.sampled_from("ABC"), st.sampled_from(KEYS[:30])), max_size=40),
)
def test_any_history_gives_the_owners_of_the_last_topology(
    history: list[dict[int, tuple[str, ...]]], calls: list[tuple[int, str, str]]
) -> None:
    lookup = IdentityLookup(ActivationConfig(partitions=32, placement_tables_max=2))
    for step, hosts in enumerate(history):
        snapshot = topology(step + 1, *(member(number, kinds) for number, kinds in hosts.items()))
        assert lookup.update_topology(snapshot)
        fresh = looked_up(snapshot, config=ActivationConfig(partitions=32))
        for at, kind, key in calls:
            if at != step:
                continue
            if any(kind in kinds for kinds in hosts.values()):
                assert lookup.owner(kind, key) is fresh.owner(kind, key)
            else:
                with pytest.raises(NoSuchKind if hosts else TopologyUnavailable):
                    lookup.owner(kind, key)
        lookup.check()
