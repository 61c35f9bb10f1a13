"""The life of an activation: its table, what is due first, and all that can happen compared with flags."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from inaho.core.activation import life as life_module
from inaho.core.activation.life import (
    AT_WORK,
    REASONS,
    TRANSITIONS,
    WAITING_FOR_REST,
    ActivationEvent,
    ActivationLife,
    ActivationState,
    rule_of,
)
from inaho.errors import IllegalTransition

S, E = ActivationState, ActivationEvent
FAILURE = ("add", "it failed")

PATHS: dict[ActivationState, tuple[ActivationEvent, ...]] = {
    S.ACTIVATING: (),
    S.ACTIVE: (E.UP,),
    S.UNPROVED: (E.UP, E.PROOF_REQUIRED),
    S.RESET_DUE: (E.UP, E.TURN_FAILED),
    S.RESETTING: (E.UP, E.TURN_FAILED, E.AT_REST),
    S.ENDING: (E.UP, E.END),
    S.DEACTIVATING: (E.UP, E.END, E.AT_REST),
    S.GONE: (E.FAILED,),
}


def life_after(*events: ActivationEvent, reason: str = "idle") -> ActivationLife:
    """A life that began and took these events."""
    life = ActivationLife(S.ACTIVATING)
    for event in events:
        step(life, event, reason)
    return life


def step(life: ActivationLife, event: ActivationEvent, reason: str = "idle") -> ActivationState:
    return life.step(
        event, reason=reason if event is E.END else "", failure=FAILURE if event is E.TURN_FAILED else None
    )


def parts(life: ActivationLife) -> tuple[Any, ...]:
    return life.state, life.reason, life.failure, life.unproved


@pytest.mark.parametrize("event", ActivationEvent)
@pytest.mark.parametrize("state", ActivationState)
def test_a_life_goes_along_the_table_and_not_otherwise(state: ActivationState, event: ActivationEvent) -> None:
    life = life_after(*PATHS[state])
    assert life.state is state
    before = parts(life)
    if event in TRANSITIONS[state]:
        assert step(life, event) in TRANSITIONS[state][event]
        life.check()
    else:
        with pytest.raises(IllegalTransition, match=f"{state.value} cannot take the event '{event.value}'"):
            step(life, event)
        assert parts(life) == before


def test_every_state_has_its_row_and_leads_to_the_end() -> None:
    assert set(TRANSITIONS) == set(ActivationState)
    ends = {S.GONE}
    while more := {
        state
        for state, events in TRANSITIONS.items()
        if state not in ends and any(target in ends for targets in events.values() for target in targets)
    }:
        ends |= more
    assert ends == set(ActivationState)


def test_what_is_over_stays_over() -> None:
    assert not TRANSITIONS[S.GONE]
    assert [state for state, events in TRANSITIONS.items() if S.ACTIVATING in sum(events.values(), ())] == [
        S.ACTIVATING
    ], "an activation comes up once"


def test_only_an_active_one_has_nothing_due() -> None:
    assert frozenset({S.RESET_DUE, S.ENDING}) == WAITING_FOR_REST
    assert set(ActivationState) - WAITING_FOR_REST - {S.ACTIVE, S.UNPROVED, S.GONE} == AT_WORK


# What is due, and in which order.


def test_an_end_that_is_asked_for_while_it_comes_up_follows_at_once() -> None:
    life = life_after(E.END, reason="requested")
    assert (life.state, life.reason) == (S.ACTIVATING, "requested")
    assert step(life, E.UP) is S.ENDING


def test_a_proof_that_is_required_while_it_comes_up_follows_unless_it_ends() -> None:
    assert life_after(E.PROOF_REQUIRED, E.UP).state is S.UNPROVED
    assert life_after(E.PROOF_REQUIRED, E.PROVED, E.UP).state is S.ACTIVE
    assert life_after(E.PROOF_REQUIRED, E.END, E.UP).state is S.ENDING


def test_the_first_reason_counts() -> None:
    life = life_after(E.UP, E.END, reason="moved")
    step(life, E.END, "stale")
    assert life.reason == "moved"


@pytest.mark.parametrize("reason", REASONS)
def test_a_reset_comes_before_the_end_unless_another_has_saved(reason: str) -> None:
    first = S.RESET_DUE if rule_of(reason).reset else S.ENDING
    assert life_after(E.UP, E.TURN_FAILED, E.END, reason=reason).state is first
    life = life_after(E.UP, E.END, E.TURN_FAILED, reason=reason)
    assert life.state is first
    assert step(life, E.AT_REST) is (S.RESETTING if first is S.RESET_DUE else S.DEACTIVATING)
    if first is S.RESET_DUE:
        assert step(life, E.RESET_DONE) is S.ENDING


def test_a_call_that_fails_during_a_reset_is_covered_by_it() -> None:
    """As a stream may, which runs beside the calls: what it left is replaced by the load that is under way."""
    life = life_after(E.UP, E.TURN_FAILED, E.AT_REST, E.TURN_FAILED)
    assert step(life, E.RESET_DONE) is S.ACTIVE


@pytest.mark.parametrize("event", [E.RESET_FAILED, E.GIVEN_UP])
def test_a_reset_that_fails_ends_the_activation(event: ActivationEvent) -> None:
    life = life_after(E.UP, E.TURN_FAILED, E.AT_REST, event)
    assert (life.state, life.reason) == (S.ENDING, "failed")
    life = life_after(E.UP, E.TURN_FAILED, E.AT_REST, E.END, event, reason="moved")
    assert (life.state, life.reason) == (S.ENDING, "moved")


def test_a_proof_is_still_required_after_a_reset() -> None:
    life = life_after(E.UP, E.PROOF_REQUIRED, E.TURN_FAILED, E.AT_REST)
    assert step(life, E.RESET_DONE) is S.UNPROVED
    assert step(life, E.PROVED) is S.ACTIVE


def test_no_proof_is_required_of_one_that_ends() -> None:
    life = life_after(E.UP, E.END, E.PROOF_REQUIRED)
    assert not life.unproved


def test_a_reason_that_is_no_known_one_says_why_the_node_was_removed() -> None:
    assert rule_of("removed by 10.0.0.1:4000") is REASONS["removed"]
    assert rule_of("idle") is REASONS["idle"]


# The model.


@dataclass(frozen=True)
class Flags:
    """What was kept in place of states: what is under way, and what is due. It says the rules in other words."""

    working: str = "activate"
    reason: str = ""
    reset: bool = False
    unproved: bool = False
    gone: bool = False

    @property
    def due(self) -> str:
        """What begins when no call runs."""
        if self.reset and self.reason != "stale":
            return "reset"
        return "deactivate" if self.reason else ""

    @property
    def state(self) -> ActivationState:
        working = {"activate": S.ACTIVATING, "reset": S.RESETTING, "deactivate": S.DEACTIVATING}
        due = {"reset": S.RESET_DUE, "deactivate": S.ENDING, "": S.UNPROVED if self.unproved else S.ACTIVE}
        return S.GONE if self.gone else working[self.working] if self.working else due[self.due]

    def after(self, event: ActivationEvent, reason: str) -> Flags | None:
        """The flags after an event; None where it cannot happen."""
        if self.gone:
            return None
        match event:
            case E.END:
                return replace(self, reason=self.reason or reason)
            case E.TURN_FAILED if self.working != "activate":
                return replace(self, reset=self.reset or not self.working)
            case E.PROOF_REQUIRED:
                return replace(self, unproved=self.unproved or not self.reason)
            case E.PROVED if self.working or self.due or self.unproved:
                return replace(self, unproved=False)
            case E.AT_REST if self.due and not self.working:
                return replace(self, working=self.due, reset=self.reset and self.due != "reset")
            case E.UP if self.working == "activate":
                return replace(self, working="")
            case E.RESET_DONE if self.working == "reset":
                return replace(self, working="")
            case E.DEACTIVATED if self.working == "deactivate":
                return replace(self, working="", gone=True)
            case E.RESET_FAILED | E.GIVEN_UP if self.working == "reset":
                return replace(self, working="", reason=self.reason or "failed")
            case E.FAILED if self.working in ("activate", "reset"):
                return replace(self, working="", gone=True)
            case E.GIVEN_UP if self.working:
                return replace(self, working="", gone=True)
        return None


def compare_with_the_flags() -> int:
    """Compares both after all events in every order. Returns how many different lives there were."""
    begin = ActivationLife(S.ACTIVATING), Flags()
    seen = {(parts(begin[0]), begin[1])}
    left = [begin]
    while left:
        life, flags = left.pop()
        for event in ActivationEvent:
            for reason in (*REASONS, "why other nodes removed it") if event is E.END else ("",):
                next_life, next_flags = copy.copy(life), flags.after(event, reason)
                if next_flags is None:
                    with pytest.raises(IllegalTransition):
                        step(next_life, event, reason)
                    assert parts(next_life) == parts(life)
                    continue
                step(next_life, event, reason)
                next_life.check()
                assert (next_life.state, next_life.reason) == (next_flags.state, next_flags.reason)
                assert next_life.unproved == next_flags.unproved
                if (both := (parts(next_life), next_flags)) not in seen:
                    seen.add(both)
                    left.append((next_life, next_flags))
    return len(seen)


def test_states_say_what_flags_would() -> None:
    assert compare_with_the_flags() > 100


# What the model is for: tables and rules with one mistake are caught.


def with_targets(state: ActivationState, event: ActivationEvent, *targets: ActivationState) -> dict[Any, Any]:
    """The table with one entry changed, or without it where no targets are given."""
    table = {each: dict(events) for each, events in TRANSITIONS.items()}
    if targets:
        table[state][event] = targets
    else:
        del table[state][event]
    return table


MUTANTS: dict[str, dict[Any, Any]] = {
    "a proof is forgotten when it comes up": with_targets(S.ACTIVATING, E.UP, S.ENDING, S.ACTIVE),
    "it answers unproved after a reset": with_targets(S.RESETTING, E.RESET_DONE, S.ENDING, S.ACTIVE),
    "the end comes before the reset": with_targets(S.ENDING, E.TURN_FAILED, S.ENDING),
    "it stays after a reset that failed": with_targets(S.RESETTING, E.RESET_FAILED, S.ACTIVE),
    "a proof lets an ending one go on": with_targets(S.ENDING, E.PROVED, S.ACTIVE),
    "an end during on_activate is refused": with_targets(S.ACTIVATING, E.END),
    "one that is given up is activated": with_targets(S.ACTIVATING, E.GIVEN_UP, S.ACTIVE),
    "the gone come back": with_targets(S.GONE, E.UP, S.ACTIVE),
}


@pytest.mark.parametrize("table", MUTANTS.values(), ids=MUTANTS)
def test_a_table_with_one_mistake_is_caught(table: dict[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(life_module, "TRANSITIONS", table)
    with pytest.raises((AssertionError, IllegalTransition, pytest.fail.Exception)):
        compare_with_the_flags()


@pytest.mark.parametrize(
    "is_due",
    [
        lambda life, target: bool(life.reason),
        lambda life, target: target is S.RESET_DUE and life.failure is not None,
    ],
    ids=["resets and proofs are never due", "a reset is due though another has saved"],
)
def test_a_rule_with_one_mistake_is_caught(
    is_due: Callable[[ActivationLife, ActivationState], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ActivationLife, "_is_due", is_due)
    with pytest.raises((AssertionError, IllegalTransition)):
        compare_with_the_flags()
