"""PR-4.1: changes between snapshots, taken once, in whatever order they come."""

from __future__ import annotations

from hypothesis import given
from hypothesis.strategies import (
    DataObject,
    data,
    dictionaries,
    frozensets,
    lists,
    permutations,
    sampled_from,
)

from inaho.core.provisioning import remote_topology
from inaho.core.provisioning.remote_topology import RemoteTopologyEvent, RemoteTopologyKind, RemoteTopologyLog, changes
from inaho.core.provisioning.snapshot import ProviderMember, ProviderSnapshot
from inaho.core.provisioning.watch_hub import WatchHub

JOIN, LEAVE = RemoteTopologyKind.JOIN, RemoteTopologyKind.LEAVE
AUTHORITIES = tuple(f"10.0.0.1:{port}" for port in range(1, 5))
History = list[tuple[dict[str, str], frozenset[str]]]
HISTORIES = lists(
    dictionaries(sampled_from(AUTHORITIES), sampled_from(("x", "y"))).flatmap(
        lambda members: frozensets(sampled_from(AUTHORITIES)).map(lambda blocked: (members, blocked))
    ),
    min_size=1,
    max_size=6,
)


def snapshots(history: History) -> list[ProviderSnapshot]:
    made: list[ProviderSnapshot] = []
    hub = WatchHub()
    for number, (members, blocked) in enumerate(history):
        entries = tuple(ProviderMember(authority, node_id) for authority, node_id in sorted(members.items()))
        snapshot = hub.snapshot(f"p{number % 2}", entries, tuple(sorted(blocked)))
        if snapshot is not None:
            made.append(snapshot)
    return made


def steps(made: list[ProviderSnapshot]) -> list[tuple[RemoteTopologyEvent, ...]]:
    return [changes(before, now) for before, now in zip([None, *made], made, strict=False)]


def is_at(log: RemoteTopologyLog, snapshot: ProviderSnapshot) -> None:
    log.check()
    assert log.members == tuple(member.authority for member in snapshot.members)
    assert log.blocked == snapshot.blocked_nodes


def takes_each_change_once(history: History, draw: DataObject) -> None:
    made, log = snapshots(history), RemoteTopologyLog()
    before: list[RemoteTopologyEvent] = []
    for snapshot, events in zip(made, steps(made), strict=True):
        assert all(log.accepts(event) for event in events)
        before += events
        if before:
            again = draw.draw(lists(sampled_from(before), max_size=5))
            assert not any(log.accepts(event) for event in again)
        is_at(log, snapshot)


def ends_at_the_newest_snapshot(history: History, draw: DataObject) -> None:
    made, log = snapshots(history), RemoteTopologyLog()
    events = [event for step in steps(made) for event in step]
    events += draw.draw(lists(sampled_from(events), max_size=5)) if events else []
    for event in draw.draw(permutations(events)):
        log.accepts(event)
    is_at(log, made[-1])


@given(HISTORIES, data())
def test_pr_4_1_each_change_is_taken_once_and_old_ones_never(history: History, draw: DataObject) -> None:
    takes_each_change_once(history, draw)


@given(HISTORIES, data())
def test_pr_4_1_any_order_ends_at_the_newest_snapshot(history: History, draw: DataObject) -> None:
    ends_at_the_newest_snapshot(history, draw)


def test_pr_4_1_an_event_of_another_snapshot_with_that_number_is_stale() -> None:
    log = RemoteTopologyLog()
    assert log.accepts(RemoteTopologyEvent(JOIN, AUTHORITIES[0], "x", "etcd", 7, 1234))
    assert not log.accepts(RemoteTopologyEvent(JOIN, AUTHORITIES[1], "x", "etcd", 7, 5678))
    assert not log.accepts(RemoteTopologyEvent(JOIN, AUTHORITIES[1], "x", "consul", 7, 1234))
    assert (log.members, log.stale) == ((AUTHORITIES[0],), 2)


def test_a_process_that_replaced_another_one_leaves_and_joins() -> None:
    one, other = snapshots([({AUTHORITIES[0]: "x"}, frozenset()), ({AUTHORITIES[0]: "y"}, frozenset())])
    assert [(event.kind, event.node_id) for event in changes(one, other)] == [(LEAVE, "x"), (JOIN, "y")]


def test_a_provider_with_addresses_only_replaces_nobody() -> None:
    one, other = snapshots([({AUTHORITIES[0]: "x"}, frozenset()), ({AUTHORITIES[0]: ""}, frozenset())])
    assert changes(one, other) == changes(other, one) == ()


def test_the_log_forgets_those_that_went_long_ago_and_takes_no_old_event_of_them() -> None:
    log = RemoteTopologyLog()
    for number in range(1, remote_topology.GONE_MAX + 10):
        log.accepts(RemoteTopologyEvent(LEAVE, f"10.0.0.1:{number}", "", "etcd", number, number))
    log.check()
    assert not log.accepts(RemoteTopologyEvent(JOIN, "10.0.0.1:1", "", "etcd", 1, 1))
    assert log.accepts(RemoteTopologyEvent(JOIN, "10.0.0.1:1", "", "etcd", 9999, 1))
