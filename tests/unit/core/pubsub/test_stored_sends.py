"""Stored sends of one partition: order, attempts, delays, ids, and what the log must keep."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings

from inaho.core.pubsub.send_history import SendHistory
from inaho.core.pubsub.send_lines import PendingSend
from inaho.core.pubsub.send_records import NewSend, SendRecord
from inaho.core.pubsub.stored_sends import StoredSends
from inaho.errors import InvalidArguments, Overloaded
from support.send_rules import ATTEMPTS, DEDUP_S, START, SendRules, machine, new

TestAgainstAModel = SendRules.TestCase
TestAgainstAModel.settings = settings(max_examples=100, stateful_step_count=40)


class Log:
    """A machine and its log, in which every record is at once."""

    def __init__(self, **options: Any) -> None:
        self.sends = machine(**options)
        self.records: list[SendRecord] = []
        self.sequence = 0
        self.now = START

    def put(self, *sends: NewSend) -> list[str]:
        """Stores sends; returns their ids."""
        self.log(self.sends.decided(self.now))
        handles, records = self.sends.put("s", self.sequence + 1, list(sends), self.now)
        self.sequence += len(sends)
        self.log(records)
        return [handle.id for handle in handles]

    def log(self, records: list[SendRecord]) -> None:
        self.records += records
        self.sends.stored(len(self.records) - len(records), records)

    def flush(self) -> None:
        self.log(self.sends.decided(self.now))

    def due(self, after_s: float = 0.0) -> list[PendingSend]:
        self.now = START + after_s
        self.sends.check()
        return self.sends.due(self.now)

    def one(self, after_s: float = 0.0) -> PendingSend:
        """The one call that is due then."""
        [entry] = self.due(after_s)
        return entry

    def again(self) -> StoredSends:
        """What the next keeper has."""
        history = SendHistory()
        for offset in range(self.sends.trimmable(), len(self.records)):
            history.add(offset, self.records[offset])
        restored = machine()
        restored.restore(history, len(self.records))
        restored.check()
        return restored


def ids(entries: list[PendingSend]) -> list[str]:
    return [entry.send.name for entry in entries]


def test_sends_to_a_grain_run_one_after_another_and_those_to_others_meanwhile():
    log = Log()
    first, second, other = log.put(new("a"), new("a"), new("b"))
    running = log.due()
    assert ids(running) == [first, other]
    assert log.due() == []
    log.sends.ended(running[0], log.now)
    assert ids(log.due()) == [second]


def test_nothing_is_called_before_it_is_stored():
    sends = machine()
    _, records = sends.put("s", 1, [new()], START)
    assert sends.due(START) == []
    sends.stored(0, records)
    assert len(sends.due(START)) == 1


def test_a_failing_send_holds_back_its_grain_until_it_is_a_dead_letter():
    log = Log()
    bad, following, other = log.put(new("a"), new("a"), new("b"))
    entry, free = log.due()
    log.sends.ended(free, log.now)
    for attempt in range(1, ATTEMPTS + 1):
        given_up = log.sends.failed(entry, START + 10.0 * attempt, "boom", log.now)
        assert given_up == (attempt == ATTEMPTS)
        if not given_up:
            assert log.due(10.0 * attempt - 1) == []
            assert log.sends.next_deadline() == START + 10.0 * attempt
            entry = log.one(10.0 * attempt)
            assert entry.send.name == bad
    assert ids(log.due(10.0 * ATTEMPTS)) == [following]
    [letter] = log.sends.dead_letters(10)
    assert (letter.id, letter.dead, letter.attempts, letter.reason) == (bad, True, ATTEMPTS, "boom")
    assert (log.sends.dead, log.sends.pending) == (1, 2)
    assert other not in [each.id for each in log.sends.listed("Cart", "b")]


def test_a_refused_call_is_no_attempt():
    log = Log()
    log.put(new())
    entry = log.one()
    for number in range(1, 50):
        log.sends.postponed(entry, START + number, log.now)
        entry = log.one(number)
    assert (entry.refusals, entry.send.attempts) == (49, 0)


def test_a_delayed_send_holds_back_nobody_and_comes_behind_what_waits():
    log = Log()
    late, first, second = log.put(new(after_s=5.0), new(), new())
    entry = log.one()
    assert entry.send.name == first
    assert log.due(4.9) == [] and log.due(5.0) == []
    log.sends.ended(entry, log.now)
    entry = log.one(5.0)
    assert entry.send.name == second
    log.sends.ended(entry, log.now)
    assert log.one(5.0).send.name == late


def test_a_dead_letter_is_sent_again_with_all_its_attempts():
    log = Log(attempts_max=1)
    [bad] = log.put(new())
    assert not log.sends.send_again("Cart", "a", bad)  # it waits
    assert log.sends.failed(log.one(), START, "boom", START)
    assert log.sends.send_again("Cart", "a", bad)
    log.flush()
    assert log.one().send.attempts == 0
    assert ids(log.again().due(START)) == [bad]


def test_a_cancelled_send_does_not_run_and_its_line_goes_on():
    log = Log()
    first, second, late = log.put(new(), new(), new(after_s=9.0))
    entry = log.one()
    assert not log.sends.cancel("Cart", "a", first, START)  # under way
    assert log.sends.cancel("Cart", "a", second, START)
    assert log.sends.cancel("Cart", "a", late, START)
    assert not log.sends.cancel("Cart", "a", late, START)
    assert log.sends.failed(entry, START + 1, "boom", START)  # given up, and no dead letter
    assert log.sends.dead == 0
    log.flush()
    assert log.due(100.0) == [] and log.sends.pending == 0
    assert log.again().pending == 0


def test_the_head_of_a_line_that_waits_for_another_attempt_is_cancelled():
    log = Log()
    bad, following = log.put(new(), new())
    log.sends.failed(log.one(), START + 100.0, "boom", START)
    assert log.sends.cancel("Cart", "a", bad, START)
    assert ids(log.due()) == [following]


def test_an_id_is_stored_once_until_some_time_after_its_end():
    log = Log()
    assert log.put(new(name="x"), new(name="x")) == ["x", "x"]
    assert log.sends.pending == 1
    log.sends.ended(log.one(), log.now)
    log.put(new(name="x"))
    assert log.sends.pending == 0
    assert log.again().put("other", 1, [new(name="x")], START + 1)[1] == []
    log.now = START + DEDUP_S
    log.put(new("b"))
    log.put(new(name="x"))
    assert log.sends.pending == 2


def test_a_repeated_request_is_stored_once_also_by_the_next_keeper():
    log = Log()
    sends = [new(), new()]
    names = log.put(*sends)
    for keeper in (log.sends, log.again()):
        handles, records = keeper.put("s", 1, sends, START + 1)
        assert [handle.id for handle in handles] == names
        assert records == []


@pytest.mark.parametrize("by_s", [-3600.0, 3600.0])
def test_a_delay_keeps_its_length_when_the_clock_is_set(by_s: float):
    log = Log()
    log.put(new(after_s=10.0), new("b"), new("c", after_s=1.0))
    [failing] = [entry for entry in log.due() if entry.send.key == "b"]
    log.sends.failed(failing, START + 4.0, "boom", START)
    log.now = START + 3.0
    log.sends.clock_set(log.now, by_s)
    log.now += by_s
    log.flush()
    for keeper in (log.again(), log.sends):
        assert [entry.send.key for entry in keeper.due(log.now)][:1] in (["c"], ["b"])
        assert [entry.send.key for entry in keeper.due(log.now + 6.9)] in ([], ["b"])
        assert [entry.send.key for entry in keeper.due(log.now + 7.0)] == ["a"]


def test_a_partition_that_is_full_refuses_the_whole_request():
    log = Log(pending_max=2, bytes_max=100)
    log.put(new())
    with pytest.raises(Overloaded):
        log.put(new(), new())
    assert log.sends.pending == 1
    with pytest.raises(Overloaded):
        log.put(NewSend("Cart", "a", "add", 1, b"x" * 100))
    log.put(new())
    log.sends.ended(log.one(), START)
    log.put(new())


@pytest.mark.parametrize("after_s", [-1.0, float("inf"), float("nan")])
def test_a_delay_out_of_range_is_refused(after_s: float):
    with pytest.raises(InvalidArguments):
        machine().put("s", 1, [new(after_s=after_s)], START)


def test_the_log_of_a_delayed_send_is_trimmed_and_keeps_it():
    log = Log(carry_min=10)
    [late] = log.put(new("late", after_s=1e6))
    for _ in range(500):
        log.put(new())
        log.sends.ended(log.one(), START)
        assert len(log.records) - log.sends.trimmable() < 40
    log.flush()
    assert ids(log.again().due(START + 1e6)) == [late]


def test_many_entries_are_carried_at_the_cost_of_one_more_record_each():
    log = Log(carry_min=10, flying_max=300, bytes_max=1 << 30)
    log.put(*(new("late", after_s=1e6) for _ in range(200)))
    for _ in range(1000):
        log.put(new())
        log.sends.ended(log.one(), START)
    assert len(log.records) < 200 + 2 * 2 * 1000 + 300
    assert len(log.records) - log.sends.trimmable() < 3 * 200 + 300
    log.flush()
    assert log.again().pending == 200


def test_an_id_that_was_forgotten_and_used_again_is_one_send_for_the_next_keeper():
    log = Log()
    log.put(new(name="x"))
    log.sends.ended(log.one(), log.now)
    log.now = START + 2 * DEDUP_S
    log.put(new(name="x"))
    [waiting] = log.again().listed("Cart", "a")
    assert waiting.id == "x"
    log.sends.ended(log.one(2 * DEDUP_S), log.now)
    log.flush()
    assert log.again().pending == 0
