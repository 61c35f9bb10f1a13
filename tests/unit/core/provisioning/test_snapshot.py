"""Lists of back ends become snapshots in one spelling, or are refused as a whole."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis.strategies import integers, lists, permutations

from inaho.core.provisioning.snapshot import ProviderMember, checked, snapshot_hash
from inaho.core.provisioning.watch_hub import WatchHub
from inaho.errors import IllegalTransition, InvalidSnapshot

GOOD = ProviderMember("10.0.0.1:1", "x", cluster="shop")


@given(lists(integers(1, 65535), unique=True, max_size=8).flatmap(lambda ports: permutations(ports)))
def test_pr_2_3_the_order_in_the_back_end_does_not_change_the_hash(ports: list[int]) -> None:
    members = [ProviderMember(f"10.0.0.1:{port}") for port in ports]
    first = checked(members, [], 10, "shop")
    assert snapshot_hash(*first) == snapshot_hash(*checked(sorted(members, key=lambda one: one.authority), [], 10, ""))
    assert [one.authority for one in first[0]] == sorted(one.authority for one in members)


def test_authorities_are_in_one_spelling() -> None:
    member = ProviderMember("Host-1:7700", quarantined=("B:1", "a:1", "b:1"))
    (found,), blocked = checked([member], ["[0:0::1]:7", "[::1]:7"], 10, "shop")
    assert (found.authority, found.quarantined, blocked) == ("host-1:7700", ("a:1", "b:1"), ("[::1]:7",))


@pytest.mark.parametrize(
    ("members", "blocked", "says"),
    [
        ([GOOD, ProviderMember("10.0.0.1:1", "y")], [], "it has 10.0.0.1:1 twice"),
        ([ProviderMember("HOST:1"), ProviderMember("host:1")], [], "it has host:1 twice"),
        ([ProviderMember("10.0.0.1")], [], "10.0.0.1"),
        ([ProviderMember("10.0.0.1:0")], [], "port"),
        ([ProviderMember("10.0.0.1:1", cluster="bank")], [], "it has a member of the cluster 'bank'"),
        ([ProviderMember("10.0.0.1:1", weight=float("nan"))], [], "it gives 10.0.0.1:1 the weight nan"),
        ([ProviderMember("10.0.0.1:1", weight=-1.0)], [], "it gives 10.0.0.1:1 the weight -1.0"),
        ([ProviderMember("10.0.0.1:1", quarantined=("nowhere",))], [], "nowhere"),
        ([GOOD], ["nowhere"], "nowhere"),
        ([ProviderMember("10.0.0.1:1", incarnation=2**63)], [], "it has a member that is none"),
        ([ProviderMember("10.0.0.1:1", incarnation=2**70)], [], "it has a member that is none"),
        ([ProviderMember("10.0.0.1:1", incarnation=-1)], [], "it has a member that is none"),
        ([ProviderMember("10.0.0.1:1", weight="much")], [], "it has a member that is none"),  # type: ignore[arg-type]
        ([ProviderMember("10.0.0.1:1", node_id="\ud800")], [], "it has a member that is none"),
        ([ProviderMember(5)], [], "it has a member that is none"),  # type: ignore[arg-type]
        ([ProviderMember(f"10.0.0.1:{port}") for port in range(1, 12)], [], "it has more than 10 members"),
        ([], [f"10.0.0.1:{port}" for port in range(1, 12)], "it has more than 10 blocked nodes"),
    ],
)
def test_a_wrong_list_is_refused_and_the_entry_named(
    members: list[ProviderMember], blocked: list[str], says: str
) -> None:
    with pytest.raises(InvalidSnapshot, match=re.escape(says)):
        checked(members, blocked, 10, "shop")


def test_a_list_without_end_is_not_read_to_its_end() -> None:
    endless = (ProviderMember(f"h{number}:1") for number in iter(int, 1))
    with pytest.raises(InvalidSnapshot, match="twice"):
        checked(endless, [], 4096, "shop")
    read = iter(range(1, 10**9))
    with pytest.raises(InvalidSnapshot, match="more than 4096 members"):
        checked((ProviderMember(f"h{number}:1") for number in read), [], 4096, "shop")
    assert next(read) == 4098


def test_pr_2_1_a_consumer_applies_snapshots_in_order() -> None:
    hub = WatchHub()
    first = hub.snapshot("etcd", (GOOD,), ())
    second = hub.snapshot("etcd", (), ())
    assert first is not None
    assert second is not None
    hub.delivered("placement", second.seq_no)
    for wrong in (first.seq_no, second.seq_no, second.seq_no + 1):
        with pytest.raises(IllegalTransition):
            hub.delivered("placement", wrong)
    hub.close()
    assert hub.snapshot("etcd", (GOOD,), ()) is None
    assert hub.last == second
    hub.check()
