"""Histories of snapshots for tests of the changes between them, and what must hold in each (SPEC PR-4.1)."""

from __future__ import annotations

from hypothesis.strategies import DataObject, dictionaries, frozensets, lists, permutations, sampled_from

from inaho.core.provisioning.remote_topology import RemoteTopologyEvent, RemoteTopologyLog, changes
from inaho.core.provisioning.snapshot import ProviderMember, ProviderSnapshot
from inaho.core.provisioning.watch_hub import WatchHub

__all__ = ["AUTHORITIES", "HISTORIES", "History", "ends_at_the_newest_snapshot", "snapshots", "takes_each_change_once"]

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
