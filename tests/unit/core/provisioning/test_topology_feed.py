"""What consumers get: snapshots and notices of all providers, in one order."""

from __future__ import annotations

from itertools import pairwise

from inaho.config import ProvisioningConfig
from inaho.core.provisioning.snapshot import ProviderMember, ProviderSnapshot
from inaho.core.provisioning.topology_feed import TopologyFeed, Update
from inaho.errors import ProviderInvalid, ProviderUnreachable
from inaho.events import (
    ProviderChanged,
    ProviderHealthChanged,
    ProviderTerminated,
    ProvisioningRestored,
    ProvisioningUnavailable,
)

CONFIG = ProvisioningConfig()
REFUSED = ProviderUnreachable("etcd refuses connections")


def members(*ports: int) -> tuple[ProviderMember, ...]:
    return tuple(ProviderMember(f"10.0.0.1:{port}") for port in ports)


def feed(*names: str) -> TopologyFeed:
    made = TopologyFeed(CONFIG, 100, "shop", pauses_placement=True)
    assert made.set_providers(0.0, names) == []
    return made


def kinds(updates: list[Update]) -> list[type[Update]]:
    return [type(update) for update in updates]


def snapshots(updates: list[Update]) -> list[ProviderSnapshot]:
    return [update for update in updates if isinstance(update, ProviderSnapshot)]


def down(made: TopologyFeed, name: str, at: float) -> list[Update]:
    """The failures that make a provider fail too often; the last one is at that time."""
    updates: list[Update] = []
    for before in reversed(range(CONFIG.errors_max)):
        updates += made.failed(at - before * CONFIG.back_off_min_s, name, REFUSED)
    made.check()
    return updates


def test_pr_2_1_snapshots_are_numbered_in_order() -> None:
    made = feed("etcd")
    updates = made.read(1.0, "etcd", members(2, 1))
    assert kinds(updates) == [ProviderHealthChanged, ProviderChanged, ProviderSnapshot]
    assert updates[1] == ProviderChanged(
        provider="etcd", previous="", reason="it was the first of the highest priority that was up"
    )
    updates += made.read(2.0, "etcd", members(1, 2, 3)) + made.read(3.0, "etcd", members(3))
    assert [(one.seq_no, len(one.members)) for one in snapshots(updates)] == [(1, 2), (2, 3), (3, 1)]
    assert made.last == snapshots(updates)[-1]


def test_pr_2_2_a_failure_is_told_once_with_the_last_hash_and_the_snapshot_stays() -> None:
    made = feed("etcd")
    (last,) = snapshots(made.read(1.0, "etcd", members(1)))
    updates = made.failed(2.0, "etcd", REFUSED)
    assert updates == [
        ProviderTerminated(
            provider="etcd", failure="connectivity", code="provider_unreachable", reason=REFUSED.reason,
            seq_no=1, hash=last.hash,
        ),
        ProviderHealthChanged(provider="etcd", state="degraded", reason=REFUSED.reason),
    ]  # fmt: skip
    assert made.failed(4.0, "etcd", REFUSED) == []
    assert made.last == last
    other = made.failed(4.5, "etcd", ProviderInvalid("the token is refused"))
    assert [type(one) for one in other] == [ProviderTerminated]
    assert made.failed(4.6, "etcd", REFUSED) == []
    made.read(5.0, "etcd", members(1))
    assert kinds(made.failed(6.0, "etcd", REFUSED))[0] is ProviderTerminated
    assert made.reports(6.0)[0].interruptions == 2


def test_pr_2_3_an_equal_read_yields_nothing() -> None:
    made = feed("etcd")
    made.read(1.0, "etcd", members(1, 2))
    assert made.read(2.0, "etcd", members(2, 1)) == []
    assert len(snapshots(made.read(3.0, "etcd", members(2, 1), ("10.0.0.1:9",)))) == 1


def test_pr_2_4_an_empty_list_is_a_snapshot() -> None:
    made = feed("etcd")
    made.read(1.0, "etcd", members(1))
    (empty,) = snapshots(made.read(2.0, "etcd", ()))
    assert empty.members == ()


def test_pr_2_5_the_next_provider_is_used_at_once_with_its_last_good_read() -> None:
    made = feed("etcd", "consul")
    made.read(1.0, "etcd", members(1, 2))
    assert snapshots(made.read(1.1, "consul", members(1, 2))) == []
    updates = down(made, "etcd", 8.0)
    assert kinds(updates)[-3:] == [ProviderHealthChanged, ProviderChanged, ProviderSnapshot]
    changed, snapshot = updates[-2:]
    assert isinstance(changed, ProviderChanged)
    assert isinstance(snapshot, ProviderSnapshot)
    assert (changed.previous, changed.provider, changed.seq_no) == ("etcd", "consul", 1)
    assert (snapshot.provider, snapshot.seq_no, snapshot.hash) == ("consul", 2, changed.hash)


def test_pr_2_5_a_provider_that_answers_nothing_is_left_after_the_timeout() -> None:
    made = feed("etcd", "consul")
    made.read(1.0, "etcd", members(1))
    made.read(10.0, "consul", members(1))
    assert made.next_deadline() == 1.0 + CONFIG.timeout_s
    assert made.poll(15.9) == []
    updates = made.poll(16.0)
    assert kinds(updates) == [ProviderTerminated, ProviderHealthChanged, ProviderChanged, ProviderSnapshot]
    assert made.active == "consul"


def test_pr_2_5_a_notice_of_a_watch_shows_that_a_provider_lives() -> None:
    made = feed("etcd")
    made.read(1.0, "etcd", members(1))
    made.alive(14.0, "etcd")
    assert made.poll(16.0) == []
    made.poll(29.0)
    assert made.alive(30.0, "etcd") == [], "one that is down needs a read"
    assert made.reports(30.0)[0].state == "down"


def test_pr_2_5_the_second_change_waits_for_the_cool_down() -> None:
    made = feed("etcd", "consul")
    made.read(1.0, "etcd", members(1))
    made.read(1.0, "consul", members(1))
    down(made, "etcd", 6.0)
    made.read(6.5, "etcd", members(1))
    assert ProviderChanged not in kinds(down(made, "consul", 12.0))
    assert made.active == "consul"
    assert made.next_deadline() == 16.0
    assert kinds(made.poll(16.0)) == [ProviderChanged, ProviderSnapshot]
    assert (made.active, made.fail_overs) == ("etcd", 2)


def test_pr_2_5_the_first_choice_waits_for_a_provider_that_is_starting() -> None:
    made = feed("etcd", "seeds")
    assert kinds(made.read(0.1, "seeds", members(1))) == [ProviderHealthChanged]
    made.read(0.2, "etcd", members(1))
    assert made.active == "etcd"

    made = feed("etcd", "seeds")
    made.read(0.1, "seeds", members(1))
    assert kinds(made.failed(0.2, "etcd", REFUSED))[-2:] == [ProviderChanged, ProviderSnapshot]
    assert made.active == "seeds"


def test_pr_2_5_the_first_choice_does_not_wait_long_for_a_provider_that_never_answers() -> None:
    made = feed("etcd", "seeds")
    made.read(0.5, "seeds", members(1))
    assert made.next_deadline() == 0.5 + CONFIG.delay_max_s
    assert kinds(made.poll(5.5)) == [ProviderChanged, ProviderSnapshot]
    assert made.active == "seeds"


def test_pr_3_4_the_notice_says_from_to_reason_and_position() -> None:
    made = feed("etcd", "consul")
    made.read(1.0, "etcd", members(1))
    made.read(1.0, "consul", members(2))
    (first,) = [one for one in down(made, "etcd", 9.0) if isinstance(one, ProviderChanged)]
    assert first.reason == f"etcd was down: {REFUSED.reason}"
    made.read(10.0, "etcd", members(1))
    made.alive(12.0, "consul")
    (back,) = [one for one in made.poll(20.0) if isinstance(one, ProviderChanged)]
    assert (back.previous, back.provider, back.seq_no) == ("consul", "etcd", 2)
    assert back.reason == "it has a higher priority than consul and had been up for 10 s"
    assert [one.why for one in made.reports(20.0)] == [back.reason, ""]


def test_pr_3_5_after_the_end_nothing_is_taken_and_the_last_snapshot_stays() -> None:
    made = feed("etcd", "consul")
    made.read(1.0, "etcd", members(1))
    last = made.last
    made.close()
    assert made.read(2.0, "etcd", members(1, 2)) == []
    assert made.failed(3.0, "etcd", REFUSED) == []
    assert made.poll(100.0) == []
    assert made.next_deadline() is None
    assert made.last is last


def test_pr_5_3_when_all_are_down_consumers_are_told_and_when_one_returns() -> None:
    made = feed("etcd", "consul")
    made.read(1.0, "etcd", members(1))
    made.read(1.0, "consul", members(1))
    updates = made.poll(16.0)
    assert kinds(updates)[-1] is ProvisioningUnavailable
    lost = updates[-1]
    assert isinstance(lost, ProvisioningUnavailable)
    assert lost.reason == "provider etcd: no answer for 15.0 s; provider consul: no answer for 15.0 s"
    assert (lost.placement_paused, lost.seq_no) == (True, 1)
    assert (made.active, made.next_deadline()) == ("", None)
    assert kinds(made.read(17.0, "etcd", members(1))) == [ProviderHealthChanged, ProvisioningRestored]
    made.poll(32.0)
    updates = made.read(33.0, "consul", members(1))
    assert kinds(updates) == [ProviderHealthChanged, ProviderChanged, ProviderSnapshot, ProvisioningRestored]


def test_pr_5_3_a_return_to_the_provider_that_was_used_last_does_not_wait() -> None:
    made = feed("etcd", "consul")
    made.read(1.0, "etcd", members(1))
    made.read(1.0, "consul", members(1))
    down(made, "etcd", 6.0)
    assert kinds(down(made, "consul", 11.0))[-1] is ProvisioningUnavailable
    assert kinds(made.read(11.5, "etcd", members(1))) == [ProviderHealthChanged], "a change, within the cool-down"
    assert kinds(made.read(12.0, "consul", members(1)))[-1] is ProvisioningRestored
    assert made.active == "consul"


def test_pr_5_4_providers_are_replaced_in_one_step() -> None:
    made = feed("etcd", "consul")
    made.read(1.0, "etcd", members(1))
    made.read(1.0, "consul", members(1))
    updates = made.set_providers(2.0, ("consul", "dns"))
    assert kinds(updates) == [ProviderChanged, ProviderSnapshot]
    changed = updates[0]
    assert isinstance(changed, ProviderChanged)
    assert (changed.previous, changed.reason) == ("etcd", "etcd was removed")
    assert made.order == ("consul", "dns")
    assert made.read(3.0, "etcd", members(5)) == made.failed(3.0, "etcd", REFUSED) == made.alive(3.0, "etcd") == []
    lost = made.set_providers(4.0, ())
    assert kinds(lost) == [ProvisioningUnavailable]
    assert made.last is not None


def test_pr_5_4_a_provider_with_a_new_definition_keeps_its_place() -> None:
    made = feed("etcd", "consul")
    made.read(1.0, "etcd", members(1))
    assert made.set_providers(2.0, ("etcd", "consul"), renewed=("etcd",)) == []
    assert (made.active, made.reports(2.0)[0].state) == ("etcd", "starting")
    assert kinds(made.read(3.0, "etcd", members(1))) == [ProviderHealthChanged]
    assert made.last is not None
    assert made.last.seq_no == 1


def test_pr_5_5_a_list_that_is_not_of_this_cluster_is_a_failure_and_the_snapshot_stays() -> None:
    made = feed("etcd")
    made.read(1.0, "etcd", members(1))
    last = made.last
    updates = made.read(2.0, "etcd", (*members(1), ProviderMember("10.0.0.2:1", cluster="other")))
    (ended,) = [one for one in updates if isinstance(one, ProviderTerminated)]
    assert (ended.code, ended.failure) == ("provider_snapshot_invalid", "stream")
    assert "10.0.0.2:1" in ended.reason or "other" in ended.reason
    assert made.last is last
    made.read(4.0, "etcd", members(1, 1))
    made.read(6.0, "etcd", members(1, 1))
    assert made.reports(6.0)[0].state == "down"


def test_pr_2_5_a_provider_that_comes_and_goes_moves_the_cluster_once_in_a_cool_down() -> None:
    made = feed("etcd", "consul")
    made.read(0.0, "etcd", members(1))
    made.read(0.0, "consul", members(1))
    changes: list[float] = []
    for step in range(600):
        now = step / 2
        flapping = made.failed(now, "etcd", REFUSED) if step % 12 < 9 else made.read(now, "etcd", members(1))
        other = made.failed(now, "consul", REFUSED) if step % 20 < 7 else made.read(now, "consul", members(1))
        changes += [now for update in flapping + other if isinstance(update, ProviderChanged)]
        made.check()
    assert len(changes) > 5
    later = changes[1:]
    assert all(after - before >= CONFIG.cool_down_s for before, after in pairwise(later))


def test_pr_4_3_a_degraded_provider_is_told_and_stays_in_use() -> None:
    made = feed("etcd", "consul")
    made.read(1.0, "etcd", members(1))
    made.read(1.0, "consul", members(1))
    assert made.read(2.0, "etcd", members(1), (), 6.0) == [
        ProviderHealthChanged(provider="etcd", state="degraded", reason="its last read took 6.0 s")
    ]
    assert made.active == "etcd"


def test_pr_4_4_one_good_read_ends_a_degradation() -> None:
    made = feed("etcd")
    made.read(1.0, "etcd", members(1))
    made.failed(2.0, "etcd", REFUSED)
    assert made.alive(2.5, "etcd") == [], "a notice of the watch does not show that reads work"
    assert made.read(3.0, "etcd", members(1)) == [ProviderHealthChanged(provider="etcd", state="up")]


def test_pr_4_5_the_report_of_a_provider_has_its_state_and_last_answer() -> None:
    made = feed("etcd", "consul")
    assert [(one.name, one.state, one.reason, one.heard_s) for one in made.reports(0.0)] == [
        ("etcd", "starting", "no answer yet", None),
        ("consul", "starting", "no answer yet", None),
    ]
    made.read(1.0, "etcd", members(1, 2), (), 0.25)
    made.failed(1.5, "consul", REFUSED)
    etcd, consul = made.reports(3.0)
    assert (etcd.active, etcd.members, etcd.seq_no, etcd.heard_s, etcd.delay_s) == (True, 2, 1, 2.0, 0.25)
    assert (consul.active, consul.state, consul.reason, consul.errors) == (False, "down", REFUSED.reason, 1)


def test_pr_5_1_interruptions_and_fail_overs_are_counted() -> None:
    made = feed("etcd", "consul")
    made.read(1.0, "etcd", members(1))
    made.read(1.0, "consul", members(1))
    down(made, "etcd", 9.0)
    made.read(10.0, "etcd", members(1))
    made.poll(16.0)
    made.poll(19.0)
    etcd, consul = made.reports(19.0)
    assert (made.fail_overs, etcd.interruptions, consul.interruptions) == (2, 1, 1)


def test_failures_at_the_same_time_are_one_failure() -> None:
    made = feed("etcd")
    made.read(1.0, "etcd", members(1))
    for _ in range(10):
        made.failed(2.0, "etcd", REFUSED)
    assert made.reports(2.0)[0].state == "degraded"


def test_registrations_may_be_missing_for_a_while_after_a_provider_was_away() -> None:
    made = feed("etcd")
    made.read(1.0, "etcd", members(1))
    assert not made.steady(15.9)
    made.alive(15.9, "etcd")
    assert made.steady(16.0)
    made.failed(17.0, "etcd", REFUSED)
    assert not made.steady(17.0)
    made.read(18.0, "etcd", members(1))
    assert not made.steady(32.0)
    made.alive(32.0, "etcd")
    assert made.steady(33.0)
