"""The life of an activation on a real node, with any events in any order, against the table that says what follows.

The histories are those of `support.activation_rules`. What the table itself says is compared in
`tests/unit/core/activation/test_life.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from inaho.core.activation.life import AT_WORK, REASONS, TRANSITIONS, ActivationEvent, ActivationState
from inaho.errors import IllegalTransition
from inaho.runtime.activation import lifecycle as lifecycle_module
from inaho.runtime.activation.ending import Ending
from inaho.runtime.activation.failure_policy import Resets
from inaho.runtime.activation.lifecycle import Lifecycle
from inaho.runtime.activation.starting import Starting
from inaho.runtime.activation.state import States
from inaho.runtime.grains.activation import ActivationTurns
from inaho.runtime.grains.state_record import StateRecord
from support.activation_model import TAKEN
from support.activation_rules import run_machine

S, E = ActivationState, ActivationEvent

BESIDE_CALLS = {
    # A stream fails, which runs beside the calls; or a proof is read while something else begins.
    *((state, event) for state in AT_WORK for event in (E.TURN_FAILED, E.PROVED) if event in TRANSITIONS[state]),
    (S.RESET_DUE, E.PROVED),
    (S.ENDING, E.PROVED),
    # The program ends.
    (S.RESETTING, E.FAILED),
}
"""What these rules cannot bring about; tests of streams, of proofs and of ends of programs do."""


@pytest.mark.timeout(300)
def test_everything_happens_in_every_state_that_allows_it() -> None:
    TAKEN.clear()
    possible = {(state, event) for state, events in TRANSITIONS.items() for event in events}
    for _ in range(20):
        run_machine(100, same=False)
        if possible - TAKEN <= BESIDE_CALLS:
            return
    assert possible - TAKEN <= BESIDE_CALLS


# Owners with one mistake are caught.


def it_ends_beside_its_turns(patch: pytest.MonkeyPatch) -> None:
    right = Lifecycle._enter

    def enter(self: Lifecycle, grain: Any, turns: ActivationTurns) -> None:
        right(self, grain, turns)
        self.at_rest(grain)

    patch.setattr(Lifecycle, "_enter", enter)


def turns_do_not_wait_for_a_reset(patch: pytest.MonkeyPatch) -> None:
    right = Lifecycle._take

    def take(self: Lifecycle, *arguments: Any, **more: Any) -> ActivationTurns:
        turns = right(self, *arguments, **more)
        if turns.life is not None and turns.life.state is S.RESETTING:
            turns.held = False
        return turns

    patch.setattr(Lifecycle, "_take", take)


def waiting_calls_are_lost_at_the_end(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Ending, "_pass_on", lambda self, turn, key: None)


def waiting_calls_hang_when_it_does_not_come_up(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Starting, "_drop", lambda self, grain, failure: self._host.remove(grain, failure))


def a_reset_loads_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Resets, "begin", lambda self, grain, method, reason: self._host.lifecycle.reset_done(grain))


def calls_save_what_a_failed_one_has_left(patch: pytest.MonkeyPatch) -> None:
    right = States.save

    async def save(self: States, host: Any, grain: Any, record: StateRecord) -> None:
        record.value_unfit = False
        await right(self, host, grain, record)

    patch.setattr(States, "save", save)


def nobody_asks_for_the_proof(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lifecycle, "turn_waits", lambda self, grain: None)


def what_takes_too_long_is_waited_for(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Ending, "give_up_late", lambda self: None)


def no_call_runs_before_a_requested_end(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(lifecycle_module, "rule_of", lambda reason: REASONS["idle"])


def the_last_reason_counts(patch: pytest.MonkeyPatch) -> None:
    right = Lifecycle.end

    def end(self: Lifecycle, grain: Any, reason: str) -> None:
        right(self, grain, reason)
        if (life := self._life(grain)) is not None and life.state is not S.GONE:
            life.reason = reason

    patch.setattr(Lifecycle, "end", end)


MUTANTS: list[Callable[[pytest.MonkeyPatch], None]] = [
    it_ends_beside_its_turns,
    turns_do_not_wait_for_a_reset,
    waiting_calls_are_lost_at_the_end,
    waiting_calls_hang_when_it_does_not_come_up,
    a_reset_loads_nothing,
    calls_save_what_a_failed_one_has_left,
    nobody_asks_for_the_proof,
    what_takes_too_long_is_waited_for,
    no_call_runs_before_a_requested_end,
    the_last_reason_counts,
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.__name__ for mutant in MUTANTS])
def test_an_owner_with_one_mistake_is_caught(
    mutant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)
    with pytest.raises((AssertionError, IllegalTransition)):
        run_machine()
