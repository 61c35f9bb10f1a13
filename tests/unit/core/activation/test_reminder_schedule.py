"""Reminders of one shard: what is due, what was missed, what a failure does, and what is stored."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from inaho.core.activation.reminders import (
    CATCH_UP,
    Delivery,
    Reminder,
    ReminderRecord,
    ReminderSchedule,
    validate_reminder,
)
from inaho.errors import InvalidArguments, Overloaded

START = 1_750_000_000.0


def schedule(**options: Any) -> ReminderSchedule:
    given: dict[str, Any] = {"records_max": 100, "grain_max": 10, "catch_up_max": 5, "late_s": 10.0, **options}
    return ReminderSchedule(**given)


def record(name: str = "r", after_s: float = 10.0, *, key: str = "a", **options: Any) -> ReminderRecord:
    return ReminderRecord("Kind", key, name, START + after_s, **options)


def fired(clock: ReminderSchedule, after_s: float) -> list[Reminder]:
    """What is due then, each delivered at once."""
    found: list[Reminder] = []
    while deliveries := clock.due(START + after_s)[0]:
        for delivery in deliveries:
            found.append(delivery.reminder)
            assert clock.ended(delivery)
    clock.check()
    return found


def taken(clock: ReminderSchedule, after_s: float) -> Delivery:
    """The one delivery that is due then."""
    [delivery], _ = clock.due(START + after_s)
    return delivery


def test_a_single_reminder_is_due_once_at_its_time():
    clock = schedule()
    clock.set(record())
    assert clock.next_deadline() == START + 10
    assert fired(clock, 9.9) == []
    assert fired(clock, 10.0) == [Reminder("r", START + 10, attempt=1)]
    assert (len(clock), clock.records(), clock.next_deadline()) == (0, [], None)


def test_a_periodic_reminder_keeps_to_its_schedule_however_late_it_is_delivered():
    clock = schedule()
    clock.set(record(period_s=60.0))
    assert [r.due - START for r in fired(clock, 10.4)] == [10]
    assert [r.due - START for r in fired(clock, 71.0)] == [70]
    assert clock.next_deadline() == START + 130
    assert clock.records() == [record(after_s=130, period_s=60.0)]


@pytest.mark.parametrize(
    ("catch_up", "expected"),
    [
        ("once", [(70, 6)]),  # seven have passed: 10, 20 … 70
        ("skip", [(70, 6)]),  # the last one is not late yet
        ("all", [(30, 2), (40, 0), (50, 0), (60, 0), (70, 0)]),  # bounded to five
    ],
)
def test_occurrences_that_passed_while_nobody_looked(catch_up: str, expected: list[tuple[int, int]]):
    clock = schedule()
    clock.set(record(period_s=10.0, catch_up=catch_up))
    assert [(r.due - START, r.missed) for r in fired(clock, 75.0)] == expected
    assert clock.next_deadline() == START + 80


def test_what_is_dropped_is_told_once_whatever_the_number_of_attempts():
    clock = schedule()
    clock.set(record(period_s=10.0))
    [first], dropped = clock.due(START + 35)
    assert [(each.record.name, each.count) for each in dropped] == [("r", 2)]
    clock.failed(first, START + 36)
    [second], dropped = clock.due(START + 36)
    assert not dropped
    clock.failed(second, START + 45)
    [third], dropped = clock.due(START + 45)
    assert [each.count for each in dropped] == [1]
    assert (third.reminder.due - START, third.reminder.missed, third.reminder.attempt) == (40, 3, 3)


def test_skip_drops_a_single_reminder_that_is_late():
    clock = schedule()
    clock.set(record(catch_up="skip"))
    clock.set(record("in time", 95.0, catch_up="skip"))
    deliveries, dropped = clock.due(START + 100)
    assert [each.record.name for each in deliveries] == ["in time"]
    assert [(each.record.name, each.count) for each in dropped] == [("r", 1)]
    assert [each.name for each in clock.of("Kind", "a")] == ["in time"]


def test_skip_waits_for_the_next_time_and_tells_then_what_was_missed():
    clock = schedule()
    clock.set(record(period_s=100.0, catch_up="skip"))
    deliveries, dropped = clock.due(START + 250)  # 10, 110 and 210 have passed; the last is 40 s late
    assert not deliveries and [each.count for each in dropped] == [3]
    assert clock.next_deadline() == START + 310
    assert [(r.due - START, r.missed) for r in fired(clock, 310)] == [(310, 3)]
    assert [(r.due - START, r.missed) for r in fired(clock, 410)] == [(410, 0)]


def test_a_failed_delivery_is_tried_again_at_its_time_and_counted():
    clock = schedule()
    clock.set(record())
    clock.failed(taken(clock, 10), START + 12)
    assert clock.next_deadline() == START + 12
    assert clock.due(START + 11) == ([], [])
    again = taken(clock, 12)
    assert (again.reminder.attempt, again.reminder.due) == (2, START + 10)
    clock.postponed(again, START + 13)  # it certainly did not run
    last = taken(clock, 13)
    assert (last.reminder.attempt, again.refusals, last.refusals) == (2, 0, 1)
    assert clock.ended(last)
    assert len(clock) == 0


def test_an_occurrence_that_was_given_up_counts_as_missed():
    clock = schedule()
    clock.set(record(period_s=10.0))
    assert clock.ended(taken(clock, 10), delivered=False)
    assert [(r.due - START, r.missed, r.attempt) for r in fired(clock, 20)] == [(20, 1, 1)]


def test_a_clock_that_was_set_back_delays_no_second_attempt():
    clock = schedule()
    clock.set(record(after_s=5000.0))
    clock.set(record("later", 6000.0))
    clock.failed(taken(clock, 5000), START + 5002)
    assert [each.record.name for each in clock.due(START + 1400)[0]] == ["r"]
    clock.check()


def test_a_reminder_that_is_set_anew_during_its_delivery_stays():
    clock = schedule()
    clock.set(record())
    delivery = taken(clock, 10)
    clock.set(record(after_s=50))
    assert not clock.ended(delivery)
    assert clock.records() == [record(after_s=50)]
    assert [r.due - START for r in fired(clock, 50)] == [50]


def test_a_reminder_that_is_forgotten_during_its_delivery_is_not_tried_again():
    clock = schedule()
    clock.set(record())
    delivery = taken(clock, 10)
    assert clock.forget("Kind", "a", "r")
    assert not clock.forget("Kind", "a", "r")
    clock.failed(delivery, START + 11)
    assert fired(clock, 100) == []


def test_only_so_many_deliveries_are_under_way_and_the_rest_follows():
    clock = schedule(flying_max=2)
    for number in range(5):
        clock.set(record(str(number)))
    first, second = clock.due(START + 10)[0]
    assert clock.next_deadline() is None  # nothing to wait for but the end of one of these
    assert clock.due(START + 11) == ([], [])
    clock.ended(first)
    assert clock.next_deadline() == START + 10
    [third], _ = clock.due(START + 11)
    assert [each.record.name for each in (first, second, third)] == ["0", "1", "2"]
    clock.check()


def test_bounds_refuse_and_change_nothing():
    clock = schedule(records_max=3, grain_max=2)
    clock.set(record("1"))
    clock.set(record("2"))
    with pytest.raises(Overloaded, match="reminders_per_grain_max"):
        clock.set(record("3"))
    clock.set(record("2", 20.0))  # to replace one needs no room
    clock.set(record("1", key="b"))
    with pytest.raises(Overloaded, match="reminders_max"):
        clock.set(record("1", key="c"))
    assert [(r.name, r.due - START) for r in clock.of("Kind", "a")] == [("1", 10), ("2", 20)]
    assert clock.of("Kind", "c") == []


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        (record(""), "1 to 200 bytes"),
        (record("x" * 201), "not 201"),
        (record("\ud800"), "1 to 200"),
        (record(after_s=float("nan")), "finite"),
        (record(after_s=float("inf")), "finite"),
        (record(period_s=0.5), "use a timer"),
        (record(period_s=-1.0), "at least"),
        (record(period_s=float("nan")), "at least"),
        (record(period_s=float("inf")), "at least"),
        (record(catch_up="never"), "skip, once, all"),
    ],
)
def test_what_is_no_reminder_is_refused_with_the_reason(wrong: ReminderRecord, match: str):
    with pytest.raises(InvalidArguments, match=match):
        validate_reminder(wrong)
    clock = schedule()
    with pytest.raises(InvalidArguments):
        clock.set(wrong)
    assert len(clock) == 0


def test_what_is_stored_goes_on_where_it_stood():
    clock = schedule()
    clock.set(record("once", 500))
    clock.set(record("every", 10, period_s=20.0, catch_up="all"))
    fired(clock, 10)
    flying = taken(clock, 30)  # under way when the node dies
    stored = msgspec.msgpack.decode(msgspec.msgpack.encode(clock.records()), type=list[ReminderRecord])
    after = schedule(records_max=1, grain_max=1)  # bounds that were lowered lose nothing
    after.restore(stored)
    assert [r.due - START for r in fired(after, 55)] == [30, 50]
    assert flying.reminder.due == START + 30
    assert sorted(r.due - START for r in fired(after, 500)) == [410, 430, 450, 470, 490, 500]


class Clock(RuleBasedStateMachine):
    """Against a model that knows, per reminder, which occurrences may still come."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.clock = schedule(records_max=6, grain_max=3, flying_max=3)
        self.model: dict[tuple[str, str], ReminderRecord] = {}
        self.flying: list[Delivery] = []
        self.last: dict[tuple[str, str], float] = {}

    @rule(
        key=st.sampled_from("ab"),
        name=st.sampled_from("xyz"),
        after_s=st.floats(-20, 50),
        period_s=st.sampled_from([0.0, 1.0, 7.0]),
        catch_up=st.sampled_from(CATCH_UP),
    )
    def set(self, key: str, name: str, after_s: float, period_s: float, catch_up: str) -> None:
        new = ReminderRecord("Kind", key, name, self.now + after_s, period_s, catch_up)
        self.clock.set(new)
        self.model[key, name] = new
        self.last.pop((key, name), None)

    @rule(key=st.sampled_from("ab"), name=st.sampled_from("xyz"))
    def forget(self, key: str, name: str) -> None:
        assert self.clock.forget("Kind", key, name) == (self.model.pop((key, name), None) is not None)
        self.last.pop((key, name), None)

    @rule(seconds=st.sampled_from([0.0, 0.5, 3.0, 30.0]))
    def look(self, seconds: float) -> None:
        self.now += seconds
        deliveries, dropped = self.clock.due(self.now)
        for delivery in deliveries:
            known = self.model[delivery.record.key, delivery.record.name]
            reminder = delivery.reminder
            assert reminder.due <= self.now
            if known.period_s:
                steps = (reminder.due - known.due) / known.period_s
                assert abs(steps - round(steps)) < 1e-3 and round(steps) >= 0  # always a time of the schedule
            else:
                assert reminder.due == known.due
            if known.catch_up == "skip":
                assert self.now - reminder.due <= 10.0
            before = self.last.get((known.key, known.name), float("-inf"))
            assert reminder.due > before - 1e-3
            self.flying.append(delivery)
        for each in dropped:
            assert each.count > 0
        self._sync()

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), outcome=st.sampled_from(["delivered", "given up", "failed", "postponed"]))
    def land(self, data: st.DataObject, outcome: str) -> None:
        delivery = self.flying.pop(data.draw(st.integers(0, len(self.flying) - 1)))
        key = (delivery.record.key, delivery.record.name)
        if outcome == "failed":
            self.clock.failed(delivery, self.now + 2)
        elif outcome == "postponed":
            self.clock.postponed(delivery, self.now + 1)
        elif self.clock.ended(delivery, delivered=outcome == "delivered"):
            self.last[key] = delivery.reminder.due + (0.5 if delivery.record.period_s else 0)
        self._sync()

    def _sync(self) -> None:
        """Single reminders that are over leave the model; nothing else may."""
        stored = {(each.key, each.name) for each in self.clock.records()}
        for key in [key for key in self.model if key not in stored]:
            assert not self.model.pop(key).period_s, "a periodic reminder is gone"
        assert stored == set(self.model)

    @invariant()
    def sound(self) -> None:
        self.clock.check()
        deadline = self.clock.next_deadline()
        if self.clock.flying < 3 and any(each.due <= self.now for each in self.clock.records()):
            waiting = len(self.model) > len({(d.record.key, d.record.name) for d in self.flying})
            assert deadline is not None or not waiting


TestClock = Clock.TestCase
TestClock.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
