"""PR-4.1: changes between snapshots, taken once, in whatever order they come."""

from __future__ import annotations

from hypothesis import given
from hypothesis.strategies import (
    DataObject,
    data,
)

from inaho.core.provisioning import remote_topology
from inaho.core.provisioning.remote_topology import RemoteTopologyEvent, RemoteTopologyKind, RemoteTopologyLog, changes
from support.topology_histories import (
    AUTHORITIES,
    HISTORIES,
    History,
    ends_at_the_newest_snapshot,
    snapshots,
    takes_each_change_once,
)

JOIN, LEAVE = RemoteTopologyKind.JOIN, RemoteTopologyKind.LEAVE


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
