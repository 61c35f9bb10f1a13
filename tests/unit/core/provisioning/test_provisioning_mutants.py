"""The checkers of the machines catch what they are for: a machine with one rule broken fails its properties.

Each mutant names what is broken and which checker finds it. The originals pass the same histories in the files beside
this one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test
from hypothesis.strategies import DataObject, data

from inaho.core.provisioning import topology_feed
from inaho.core.provisioning.failover import LONG_AGO, FailoverController
from inaho.core.provisioning.founding import ClusterRecord, Contact, Found, FoundingRule, Step, Wait
from inaho.core.provisioning.health import ProviderHealth
from inaho.core.provisioning.mass_removal import MassRemovalGuard
from inaho.core.provisioning.remote_topology import RemoteTopologyEvent, RemoteTopologyLog
from inaho.core.provisioning.snapshot import ProviderMember, ProviderSnapshot
from inaho.core.provisioning.topology_feed import TopologyFeed
from inaho.core.provisioning.watch_hub import WatchHub
from inaho.errors import InvalidSnapshot
from support.feed_rules import FeedRules, Promise
from support.founding_model import TwoClusters, one_cluster, play
from support.removal_rules import RemovalRules, WronglyRemoved
from support.topology_histories import HISTORIES, History, ends_at_the_newest_snapshot, takes_each_change_once

Patch = Callable[[pytest.MonkeyPatch], None]

SETTINGS: Final = settings(
    max_examples=600, stateful_step_count=50, deadline=None, database=None, derandomize=True,
    phases=[Phase.generate], suppress_health_check=list(HealthCheck), print_blob=False,
)  # fmt: skip

# The order of snapshots.


def equal_snapshots_are_repeated(patch: pytest.MonkeyPatch) -> None:
    right = WatchHub.snapshot

    def always(self: WatchHub, provider: str, *found: Any) -> ProviderSnapshot | None:
        snapshot = right(self, provider, *found)
        if snapshot is None and not self.closed and self.last is not None:
            self.last = snapshot = ProviderSnapshot(provider, self.last.seq_no + 1, self.last.hash, *found)
        return snapshot

    patch.setattr(WatchHub, "snapshot", always)


def each_provider_counts_its_snapshots(patch: pytest.MonkeyPatch) -> None:
    right = WatchHub.changed

    def from_one(self: WatchHub, *arguments: str) -> Any:
        notice = right(self, *arguments)
        self.last = None
        return notice

    patch.setattr(WatchHub, "changed", from_one)


def an_equal_list_of_the_next_provider_is_no_snapshot(patch: pytest.MonkeyPatch) -> None:
    right = WatchHub.snapshot

    def by_hash_only(self: WatchHub, provider: str, *found: Any) -> ProviderSnapshot | None:
        last = self.last
        snapshot = right(self, provider, *found)
        if last is not None and snapshot is not None and snapshot.hash == last.hash:
            self.last = snapshot = None
            self.last = last
        return snapshot

    patch.setattr(WatchHub, "snapshot", by_hash_only)


def reads_of_all_providers_become_snapshots(patch: pytest.MonkeyPatch) -> None:
    right = TopologyFeed._settle

    def any_read(self: TopologyFeed, now: float, read: str = "") -> Any:
        updates = right(self, now, read)
        if read and self.active and not self.hub.closed:
            self._tell_snapshot(updates, read)
        return updates

    patch.setattr(TopologyFeed, "_settle", any_read)


def a_closed_hub_takes_snapshots(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(WatchHub, "close", lambda self: None)


def an_invalid_list_counts_as_a_read(patch: pytest.MonkeyPatch) -> None:
    right = topology_feed.checked

    def lenient(members: Iterable[ProviderMember], *rest: Any) -> Any:
        try:
            return right(members, *rest)
        except InvalidSnapshot:
            return right((), *rest)

    patch.setattr(topology_feed, "checked", lenient)


def each_failure_is_told(patch: pytest.MonkeyPatch) -> None:
    right = TopologyFeed._tell_end

    def forgetful(self: TopologyFeed, updates: Any, name: str, watched: Any, error: Any) -> None:
        watched.told.clear()
        right(self, updates, name, watched, error)

    patch.setattr(TopologyFeed, "_tell_end", forgetful)


# Fail-over and health.


def no_cool_down(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(FailoverController, "_free_at", property(lambda self: LONG_AGO))


def the_first_change_waits_too(patch: pytest.MonkeyPatch) -> None:
    right = FailoverController._choose

    def from_the_choice(self: FailoverController, now: float, *arguments: Any) -> Any:
        self._changed_at = now
        return right(self, now, *arguments)

    patch.setattr(FailoverController, "_choose", from_the_choice)


def the_end_of_a_cool_down_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(FailoverController, "next_deadline", lambda self: None)


def no_return_to_a_higher_priority(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(FailoverController, "_better", lambda self, now: "")


def silence_is_no_failure(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ProviderHealth, "next_deadline", lambda self: 1e9)


def any_answer_makes_a_provider_up(patch: pytest.MonkeyPatch) -> None:
    def revive(self: ProviderHealth, now: float) -> None:
        if self.heard_at is not None:
            self.heard_at = now

    patch.setattr(ProviderHealth, "alive", revive)


# Removals.


def one_read_is_enough(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("inaho.core.provisioning.mass_removal.READS", 0)
    patch.setattr(MassRemovalGuard, "_is_settled", lambda self, authority, lack: True)


def who_answered_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    right = MassRemovalGuard.doubts

    def forgetful(self: MassRemovalGuard, *arguments: Any, **options: Any) -> bool:
        doubted = right(self, *arguments, **options)
        if not doubted:
            self.reset()
        return doubted

    patch.setattr(MassRemovalGuard, "doubts", forgetful)


def a_doubt_ends_when_fewer_are_missing(patch: pytest.MonkeyPatch) -> None:
    right = MassRemovalGuard.doubts

    def each_list_anew(self: MassRemovalGuard, snapshot: Any, members: Any, *, steady: bool = True) -> bool:
        listed = [member.authority for member in snapshot.members]
        if 2 * sum(one in listed for one in members) > len(members) and steady and self._authority in listed:
            self.reset()
        return right(self, snapshot, members, steady=steady)

    patch.setattr(MassRemovalGuard, "doubts", each_list_anew)


def this_node_is_a_member_like_others(patch: pytest.MonkeyPatch) -> None:
    right = MassRemovalGuard.alive.fget
    assert right is not None
    patch.setattr(
        MassRemovalGuard, "alive", property(lambda self: tuple(one for one in right(self) if one != self._authority))
    )


MACHINES: list[tuple[Patch, type[RuleBasedStateMachine], type[AssertionError]]] = [
    (equal_snapshots_are_repeated, FeedRules, Promise),
    (each_provider_counts_its_snapshots, FeedRules, Promise),
    (an_equal_list_of_the_next_provider_is_no_snapshot, FeedRules, Promise),
    (reads_of_all_providers_become_snapshots, FeedRules, Promise),
    (a_closed_hub_takes_snapshots, FeedRules, Promise),
    (an_invalid_list_counts_as_a_read, FeedRules, Promise),
    (each_failure_is_told, FeedRules, Promise),
    (no_cool_down, FeedRules, Promise),
    (the_first_change_waits_too, FeedRules, Promise),
    (the_end_of_a_cool_down_is_forgotten, FeedRules, Promise),
    (no_return_to_a_higher_priority, FeedRules, Promise),
    (silence_is_no_failure, FeedRules, Promise),
    (any_answer_makes_a_provider_up, FeedRules, Promise),
    (one_read_is_enough, RemovalRules, WronglyRemoved),
    (who_answered_is_forgotten, RemovalRules, WronglyRemoved),
    (a_doubt_ends_when_fewer_are_missing, RemovalRules, WronglyRemoved),
    (this_node_is_a_member_like_others, RemovalRules, WronglyRemoved),
]


@pytest.mark.parametrize(("mutant", "machine", "broken"), MACHINES, ids=[mutant.__name__ for mutant, *_ in MACHINES])
def test_a_mutant_breaks_a_promise(
    mutant: Patch, machine: type[RuleBasedStateMachine], broken: type[AssertionError]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        mutant(patch)
        with pytest.raises(broken):
            run_state_machine_as_test(machine, settings=SETTINGS)


# Founding.

Decide = Callable[..., Step]


def one_round_is_enough(right: Decide) -> Decide:
    def decide(self: FoundingRule, *arguments: Any) -> Step:
        step = right(self, *arguments)
        return right(self, *arguments) if isinstance(step, Wait) else step

    return decide


def a_silent_registration_counts_as_dead(right: Decide) -> Decide:
    def decide(self: FoundingRule, record: Any, registered: Any, contacts: Mapping[str, Contact]) -> Step:
        dead = {one: Contact.REFUSES if it is Contact.SILENT else it for one, it in contacts.items()}
        return right(self, record, registered, dead)

    return decide


def a_record_of_an_earlier_life_is_permission(right: Decide) -> Decide:
    def decide(self: FoundingRule, record: ClusterRecord | None, *rest: Any) -> Step:
        if record is not None and record.node_id == self._me.node_id:
            return Found(record)
        return right(self, record, *rest)

    return decide


def the_winner_is_not_waited_for(right: Decide) -> Decide:
    def decide(self: FoundingRule, record: ClusterRecord | None, registered: Any, contacts: Any) -> Step:
        if record is not None and record.node_id != self._me.node_id:
            registered = tuple(one for one in registered if one.node_id != record.node_id)
        return right(self, record, registered, contacts)

    return decide


def play_all(seeds: int) -> None:
    for seed in range(seeds):
        one_cluster(play(seed, 300))


@pytest.mark.parametrize(
    "mutant",
    [
        one_round_is_enough,
        a_silent_registration_counts_as_dead,
        a_record_of_an_earlier_life_is_permission,
        the_winner_is_not_waited_for,
    ],
    ids=lambda mutant: mutant.__name__,
)
def test_a_mutant_founds_twice(mutant: Callable[[Decide], Decide]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FoundingRule, "decide", mutant(FoundingRule.decide))
        with pytest.raises(TwoClusters):
            play_all(4000)


def test_a_mutant_that_waits_for_expiry_where_ports_refuse_does_not_get_on() -> None:
    right = FoundingRule.decide

    def decide(self: FoundingRule, record: Any, registered: Any, contacts: Mapping[str, Contact]) -> Step:
        patient = {one: Contact.SILENT if it is Contact.REFUSES else it for one, it in contacts.items()}
        return right(self, record, registered, patient)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FoundingRule, "decide", decide)
        with pytest.raises(AssertionError, match="each node finds a cluster"):
            play_all(100)


# Changes for remoting.


def only_the_newest_snapshot_counts(patch: pytest.MonkeyPatch) -> None:
    right = RemoteTopologyLog.accepts

    def newest(self: RemoteTopologyLog, event: RemoteTopologyEvent) -> bool:
        return event.seq_no >= max(self._hashes, default=0) and right(self, event)

    patch.setattr(RemoteTopologyLog, "accepts", newest)


def a_leave_and_a_join_of_one_snapshot_are_equal(patch: pytest.MonkeyPatch) -> None:
    right = RemoteTopologyLog.accepts

    def forgetful(self: RemoteTopologyLog, event: RemoteTopologyEvent) -> bool:
        self._gone.clear()
        return right(self, event)

    patch.setattr(RemoteTopologyLog, "accepts", forgetful)


def an_event_that_comes_again_is_taken(patch: pytest.MonkeyPatch) -> None:
    right = RemoteTopologyLog.accepts

    def again(self: RemoteTopologyLog, event: RemoteTopologyEvent) -> bool:
        return right(self, event) or event.seq_no == max(self._hashes, default=0)

    patch.setattr(RemoteTopologyLog, "accepts", again)


@pytest.mark.parametrize(
    ("mutant", "judge"),
    [
        (only_the_newest_snapshot_counts, ends_at_the_newest_snapshot),
        (a_leave_and_a_join_of_one_snapshot_are_equal, ends_at_the_newest_snapshot),
        (an_event_that_comes_again_is_taken, takes_each_change_once),
    ],
)
def test_a_mutant_takes_changes_wrongly(mutant: Patch, judge: Callable[[History, DataObject], None]) -> None:
    @SETTINGS
    @given(HISTORIES, data())
    def judged(history: History, draw: DataObject) -> None:
        judge(history, draw)

    with pytest.MonkeyPatch.context() as patch:
        mutant(patch)
        with pytest.raises(AssertionError):
            judged()
