"""The rules of topics at least once catch what they are for: a machine with one rule broken fails them.

The originals pass them in `test_pubsub_properties.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from inaho.core.pubsub import deliveries_in_flight
from inaho.core.pubsub.deliveries_in_flight import DeliveriesInFlight
from inaho.core.pubsub.delivery_entries import DeliveryState, Entry, GroupConsumer
from inaho.core.pubsub.delivery_timers import DeliveryTimers
from inaho.core.pubsub.group_consumers import GroupConsumers
from inaho.core.pubsub.group_delivery import GroupDelivery
from inaho.core.pubsub.log_sizes import LogSizes
from inaho.core.pubsub.partition_log import Admission, LogMemory, PartitionLog
from inaho.core.pubsub.subscription_positions import SubscriptionPositions
from inaho.core.pubsub.unsettled_messages import UnsettledMessages
from support.delivery_rules import DeliveryRules
from support.partition_rules import PartitionRules

Patch = Callable[[pytest.MonkeyPatch], None]

SETTINGS: Final = settings(
    max_examples=500, stateful_step_count=40, deadline=None, database=None, derandomize=True,
    phases=[Phase.generate], suppress_health_check=list(HealthCheck), print_blob=False,
)  # fmt: skip


# Deliveries.


def a_key_goes_to_any_consumer(patch: pytest.MonkeyPatch) -> None:
    right = UnsettledMessages.launch

    def launch(self: UnsettledMessages, entry: Entry, consumer: GroupConsumer) -> None:
        right(self, entry, consumer)
        if entry.line is not None:
            entry.line.owner = None

    patch.setattr(UnsettledMessages, "launch", launch)


def a_failure_leaves_those_behind_it_in_flight(patch: pytest.MonkeyPatch) -> None:
    right = UnsettledMessages.take_back

    def take_back(self: UnsettledMessages, entry: Entry) -> list[Entry]:
        if entry.line is None:
            return right(self, entry)
        consumer = entry.consumer
        assert consumer is not None
        self.unload(entry.line)
        entry.line.flying -= 1
        if entry.line.flying == 0:
            entry.line.owner = None
        del consumer.in_flight[entry.offset]
        entry.consumer = None
        return [entry]

    patch.setattr(UnsettledMessages, "take_back", take_back)


def a_message_that_waits_holds_nothing_back(patch: pytest.MonkeyPatch) -> None:
    def is_next(self: Entry) -> bool:
        line = self.line
        if line is None:
            return True
        ready = [each for each in line.entries if each.state is DeliveryState.READY]
        return bool(ready) and ready[0] is self

    patch.setattr(Entry, "is_next", property(is_next))


def credit_is_not_counted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(GroupConsumer, "credit_left", property(lambda self: 1))


def an_expired_delivery_is_still_acknowledged(patch: pytest.MonkeyPatch) -> None:
    right = GroupDelivery.acknowledge

    def acknowledge(self: GroupDelivery, name: str, deliveries: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
        kept = list(deliveries)
        for offset, _ in kept:
            entry = self._messages.entries.get(offset)
            if entry is not None and entry.consumer is not None and entry.consumer.name != name:
                self._settle(entry)
        return right(self, name, kept)

    patch.setattr(GroupDelivery, "acknowledge", acknowledge)


def attempts_are_not_restored(patch: pytest.MonkeyPatch) -> None:
    right = GroupDelivery.__init__

    def begin(self: GroupDelivery, policy: Any, positions: SubscriptionPositions, failures: Any = ()) -> None:
        right(self, policy, positions, ())

    patch.setattr(GroupDelivery, "__init__", begin)


def a_release_counts_as_an_attempt(patch: pytest.MonkeyPatch) -> None:
    right = GroupDelivery.release

    def release(self: GroupDelivery, name: str, offset: int, attempt: int, now: float) -> bool:
        entry = self._messages.entries.get(offset)
        released = right(self, name, offset, attempt, now)
        if released and entry is not None:
            entry.failures += 1
        return released

    patch.setattr(GroupDelivery, "release", release)


def pauses_never_end(patch: pytest.MonkeyPatch) -> None:
    right = DeliveryTimers.arm

    def arm(self: DeliveryTimers, entry: Entry) -> None:
        if entry.state is not DeliveryState.WAITING:
            right(self, entry)

    patch.setattr(DeliveryTimers, "arm", arm)


def a_gone_consumer_takes_its_messages_with_it(patch: pytest.MonkeyPatch) -> None:
    def detach(self: GroupDelivery, name: str, now: float, *, said_so: bool = False) -> None:
        self._group.remove(name)

    patch.setattr(GroupDelivery, "detach", detach)


def claims_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    right = GroupConsumers.claim

    def claim(self: GroupConsumers, consumer: GroupConsumer, offset: int, attempt: int) -> bool:
        if not right(self, consumer, offset, attempt):
            return False
        self.drop_claim(offset)
        return True

    patch.setattr(GroupConsumers, "claim", claim)


def a_dead_letter_is_settled_before_it_is_published(patch: pytest.MonkeyPatch) -> None:
    right = GroupDelivery.burial_failed

    def burial_failed(self: GroupDelivery, entry: Entry) -> None:
        self.buried(entry)
        right(self, entry)

    patch.setattr(GroupDelivery, "burial_failed", burial_failed)


def a_settled_range_is_one_too_long(patch: pytest.MonkeyPatch) -> None:
    right = SubscriptionPositions.settle

    def settle(self: SubscriptionPositions, offset: int) -> bool:
        if offset > self.acknowledged:
            right(self, offset + 1)
        return right(self, offset)

    patch.setattr(SubscriptionPositions, "settle", settle)


def parked_messages_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(DeliveriesInFlight, "unpark", lambda self, consumer: None)


def content_that_was_freed_is_not_read_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(UnsettledMessages, "next_missing", lambda self: None)


def suspects_wait_for_ever(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(deliveries_in_flight, "SUSPECT_AT", 1)
    right = UnsettledMessages.offer_again

    def offer_again(self: UnsettledMessages, entries: list[Entry]) -> None:
        right(self, [entry for entry in entries if not entry.gone])

    patch.setattr(UnsettledMessages, "offer_again", offer_again)


def a_skip_leaves_deliveries_under_way(patch: pytest.MonkeyPatch) -> None:
    def skip_to(self: GroupDelivery, offset: int) -> int:
        self.next = max(self.next, offset)
        return self.positions.settle_before(offset)

    patch.setattr(GroupDelivery, "skip_to", skip_to)


DELIVERY_MUTANTS: Final[list[Patch]] = [
    a_key_goes_to_any_consumer,
    a_failure_leaves_those_behind_it_in_flight,
    a_message_that_waits_holds_nothing_back,
    credit_is_not_counted,
    an_expired_delivery_is_still_acknowledged,
    attempts_are_not_restored,
    a_release_counts_as_an_attempt,
    pauses_never_end,
    a_gone_consumer_takes_its_messages_with_it,
    claims_are_forgotten,
    a_dead_letter_is_settled_before_it_is_published,
    a_settled_range_is_one_too_long,
    parked_messages_are_forgotten,
    content_that_was_freed_is_not_read_again,
    suspects_wait_for_ever,
    a_skip_leaves_deliveries_under_way,
]


# The log.


def numbers_are_forgotten_at_a_move(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(PartitionLog, "memory", lambda self, now: LogMemory(self.sizes.end, {}, self._ids_from))


def the_tail_is_not_read(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(PartitionLog, "scan_from", property(lambda self: None))


def ids_of_the_tail_are_not_remembered(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(PartitionLog, "_ids_from", property(lambda self: self.sizes.end))


def ids_are_not_remembered_long_enough(patch: pytest.MonkeyPatch) -> None:
    right = PartitionLog._remember

    def remember(self: PartitionLog, id_: str, offset: int, at: float) -> None:
        right(self, id_, offset, at - 20.0)

    patch.setattr(PartitionLog, "_remember", remember)


def a_batch_that_waits_is_stored_again(patch: pytest.MonkeyPatch) -> None:
    right = PartitionLog.admit

    def admit(self: PartitionLog, publisher: str, *rest: Any) -> Admission:
        waiting, self._pending = self._pending, {}
        admission = right(self, publisher, *rest)
        self._pending = {**waiting, **self._pending}
        return admission

    patch.setattr(PartitionLog, "admit", admit)


def an_id_that_waits_counts_as_stored(patch: pytest.MonkeyPatch) -> None:
    right = PartitionLog.admit

    def admit(self: PartitionLog, publisher: str, number: int, ids: Any, *rest: Any) -> Admission:
        admission = right(self, publisher, number, ids, *rest)
        waits = admission.after and not any(each.publisher == publisher for each in self._pending.values())
        return Admission() if waits else admission

    patch.setattr(PartitionLog, "admit", admit)


def a_failed_batch_counts_as_stored(patch: pytest.MonkeyPatch) -> None:
    right = PartitionLog.failed

    def failed(self: PartitionLog, ticket: int) -> None:
        batch = self._pending[ticket]
        right(self, ticket)
        self._set_number(batch.publisher, batch.number, 0.0)

    patch.setattr(PartitionLog, "failed", failed)


def what_is_needed_is_trimmed(patch: pytest.MonkeyPatch) -> None:
    right = PartitionLog.trim_upto

    def trim_upto(self: PartitionLog, needed_from: int, retained_from: int, now: float) -> int:
        return right(self, needed_from + 1, retained_from, now)

    patch.setattr(PartitionLog, "trim_upto", trim_upto)


def unsaved_numbers_are_trimmed(patch: pytest.MonkeyPatch) -> None:
    def trim_upto(self: PartitionLog, needed_from: int, retained_from: int, now: float) -> int:
        self._forget_old(now)
        return max(self.sizes.first, min(needed_from, retained_from, self._ids_from, self.sizes.end))

    patch.setattr(PartitionLog, "trim_upto", trim_upto)


def too_little_is_dropped(patch: pytest.MonkeyPatch) -> None:
    right = PartitionLog.room_from

    def room_from(self: PartitionLog, count: int, size_bytes: int, needed_from: int) -> int:
        return max(needed_from, right(self, count, size_bytes, needed_from) - 1)

    patch.setattr(PartitionLog, "room_from", room_from)


def the_quota_is_too_small(patch: pytest.MonkeyPatch) -> None:
    right = PartitionLog._is_full

    def is_full(self: PartitionLog, count: int, size_bytes: int, needed_from: int) -> bool:
        return right(self, count + 1, size_bytes, needed_from)

    patch.setattr(PartitionLog, "_is_full", is_full)


def trimmed_bytes_still_count(patch: pytest.MonkeyPatch) -> None:
    right = LogSizes.trim

    def trim(self: LogSizes, upto: int) -> None:
        before = self.size_bytes
        right(self, upto)
        self.size_bytes = before

    patch.setattr(LogSizes, "trim", trim)


LOG_MUTANTS: Final[list[Patch]] = [
    numbers_are_forgotten_at_a_move,
    the_tail_is_not_read,
    ids_of_the_tail_are_not_remembered,
    ids_are_not_remembered_long_enough,
    a_batch_that_waits_is_stored_again,
    an_id_that_waits_counts_as_stored,
    a_failed_batch_counts_as_stored,
    what_is_needed_is_trimmed,
    unsaved_numbers_are_trimmed,
    too_little_is_dropped,
    the_quota_is_too_small,
    trimmed_bytes_still_count,
]


def fails(machine: type[RuleBasedStateMachine]) -> bool:
    try:
        run_state_machine_as_test(machine, settings=SETTINGS)
    except Exception:  # an assertion of the rules or of the machine, or the damage that a mutant does
        return True
    return False


@pytest.mark.parametrize("mutant", DELIVERY_MUTANTS, ids=lambda each: each.__name__)
def test_a_broken_delivery_is_noticed(mutant: Patch, monkeypatch: pytest.MonkeyPatch):
    mutant(monkeypatch)
    assert fails(DeliveryRules)


@pytest.mark.parametrize("mutant", LOG_MUTANTS, ids=lambda each: each.__name__)
def test_a_broken_log_is_noticed(mutant: Patch, monkeypatch: pytest.MonkeyPatch):
    mutant(monkeypatch)
    assert fails(PartitionRules)
