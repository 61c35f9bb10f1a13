"""The model finds what it is for: stored sends with one rule broken fail its properties."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from inaho.core.pubsub.send_history import SendHistory
from inaho.core.pubsub.send_lines import Line, PendingSend, SendLines, State
from inaho.core.pubsub.send_records import ClockSet, SendRecord, SendsSettled
from inaho.core.pubsub.stored_sends import StoredSends
from support.send_rules import SendRules

SETTINGS: Final = settings(
    max_examples=5000, stateful_step_count=40, deadline=None, database=None, derandomize=True,
    phases=[Phase.generate], suppress_health_check=list(HealthCheck), print_blob=False,
)  # fmt: skip

Patch = pytest.MonkeyPatch


def a_failed_send_goes_to_the_end_of_its_line(patch: Patch) -> None:
    def put_off(self: SendLines, entry: PendingSend, until: float) -> None:
        self.leave(entry)
        self.enter(entry)

    patch.setattr(SendLines, "put_off", put_off)


def a_line_goes_on_while_its_head_is_under_way(patch: Patch) -> None:
    right = SendLines.due

    def due(self: SendLines, now: float) -> list[PendingSend]:
        calls = right(self, now)
        for entry in calls[:1]:
            if len(entry.line.queue) > 1 and entry.line.queue[1].state is State.WAITING:
                following = entry.line.queue[1]
                following.state = State.FLYING
                self.flying += 1
                calls.append(following)
        return calls

    patch.setattr(SendLines, "due", due)


def a_cancelled_head_blocks_its_line(patch: Patch) -> None:
    def withdraw(self: SendLines, entry: PendingSend) -> None:
        entry.serial = 0
        if entry.state is State.WAITING:
            entry.line.queue.remove(entry)
            entry.line.serial = 0

    patch.setattr(SendLines, "withdraw", withdraw)


def a_delayed_send_is_called_at_once(patch: Patch) -> None:
    patch.setattr(SendLines, "place", SendLines.enter)


def nothing_moves_when_the_clock_is_set(patch: Patch) -> None:
    patch.setattr(SendLines, "move", lambda self, clock: None)


def a_trim_takes_what_is_needed(patch: Patch) -> None:
    patch.setattr(StoredSends, "trimmable", lambda self: self.end)


def a_carried_entry_counts_from_its_old_place_at_once(patch: Patch) -> None:
    right = StoredSends.decided

    def decided(self: StoredSends, now: float) -> list[SendRecord]:
        records = right(self, now)
        self._carried.clear()
        return records

    patch.setattr(StoredSends, "decided", decided)


def the_next_keeper_forgets_attempts(patch: Patch) -> None:
    right = SendHistory.add

    def add(self: SendHistory, offset: int, record: Any) -> None:
        if isinstance(record, SendsSettled | ClockSet) or hasattr(record, "body"):
            right(self, offset, record)

    patch.setattr(SendHistory, "add", add)


def the_next_keeper_calls_what_has_ended(patch: Patch) -> None:
    right = SendHistory.add

    def add(self: SendHistory, offset: int, record: Any) -> None:
        if not isinstance(record, SendsSettled):
            right(self, offset, record)

    patch.setattr(SendHistory, "add", add)


def the_next_keeper_numbers_from_one_again(patch: Patch) -> None:
    right = StoredSends.restore

    def restore(self: StoredSends, history: SendHistory, end: int) -> None:
        history.number = 0
        right(self, history, end)

    patch.setattr(StoredSends, "restore", restore)


def ids_are_forgotten_at_the_end_of_a_send(patch: Patch) -> None:
    right = StoredSends._end

    def end(self: StoredSends, entry: PendingSend, now: float) -> None:
        right(self, entry, now)
        if self._known.pop((entry.send.kind, entry.send.key, entry.send.id), None) is not None:
            del self._entries[entry.send.number]

    patch.setattr(StoredSends, "_end", end)


def a_repeated_request_is_stored_again(patch: Patch) -> None:
    right = StoredSends.put

    def put(self: StoredSends, sender: str, *rest: Any) -> Any:
        self._senders.clear()
        return right(self, sender, *rest)

    patch.setattr(StoredSends, "put", put)


def an_attempt_too_many(patch: Patch) -> None:
    right = StoredSends.__init__

    def init(self: StoredSends, **options: Any) -> None:
        right(self, **{**options, "attempts_max": options["attempts_max"] + 1})

    patch.setattr(StoredSends, "__init__", init)


def a_line_that_is_ready_is_lost(patch: Patch) -> None:
    right = SendLines.leave

    def leave(self: SendLines, entry: PendingSend) -> None:
        right(self, entry)
        line: Line = entry.line
        if line.ready:
            line.ready = False
            self._ready.remove(line)

    patch.setattr(SendLines, "leave", leave)


@pytest.mark.parametrize(
    "mutant",
    [
        a_failed_send_goes_to_the_end_of_its_line, a_line_goes_on_while_its_head_is_under_way,
        a_cancelled_head_blocks_its_line, a_delayed_send_is_called_at_once, nothing_moves_when_the_clock_is_set,
        a_trim_takes_what_is_needed, a_carried_entry_counts_from_its_old_place_at_once,
        the_next_keeper_forgets_attempts, the_next_keeper_calls_what_has_ended,
        the_next_keeper_numbers_from_one_again, ids_are_forgotten_at_the_end_of_a_send,
        a_repeated_request_is_stored_again, an_attempt_too_many, a_line_that_is_ready_is_lost,
    ],
)  # fmt: skip
def test_the_model_finds_it(monkeypatch: pytest.MonkeyPatch, mutant: Callable[[Patch], None]):
    mutant(monkeypatch)
    with pytest.raises((AssertionError, KeyError, ValueError, IndexError)):
        run_state_machine_as_test(SendRules, settings=SETTINGS)


def test_the_original_passes():
    run_state_machine_as_test(SendRules, settings=settings(SETTINGS, max_examples=50))
