"""Moves the activations of one kind through the states of `core.activation.life`; it owns these states.

This module passes events to the table of `inaho.core.activation.life`, lets turns wait or run as the state says, and
begins what a state is for: a reset, or the end. No other module reads or changes `ActivationTurns.life`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inaho.core.activation.life import (
    AT_WORK,
    WAITING_FOR_REST,
    ActivationEvent,
    ActivationLife,
    ActivationState,
    rule_of,
)
from inaho.errors import InahoError
from inaho.runtime.grains.activation import ActivationTurns

if TYPE_CHECKING:
    from inaho.runtime.activation.activation_host import ActivationHost
    from inaho.runtime.grains.activation import Activation

__all__ = ["Lifecycle"]


class Lifecycle:
    """Moves the activations of one kind on one node through the states of their lives.

    Args:
        host: the kind.
    """

    def __init__(self, host: ActivationHost) -> None:
        self._host = host

    # Where an activation is.

    @staticmethod
    def _life(grain: Activation) -> ActivationLife | None:
        turns = grain._inaho_turn
        return turns.life if isinstance(turns, ActivationTurns) else None

    def state_of(self, grain: Activation) -> ActivationState:
        """The state of an activation."""
        life = self._life(grain)
        return ActivationState.ACTIVE if life is None else life.state

    def reason_of(self, grain: Activation) -> str:
        """Why an activation ends, or is to end; empty while it does not."""
        life = self._life(grain)
        return "" if life is None else life.reason

    def is_changing(self, grain: Activation) -> bool:
        """Whether it is being brought up, down, or back to its saved state. A gate opens when that is done."""
        life = self._life(grain)
        return life is not None and life.state in AT_WORK

    def is_unproved(self, grain: Activation) -> bool:
        """Whether a proof is required before it may answer, in whatever state it is."""
        life = self._life(grain)
        return life is not None and life.unproved

    def is_in_use(self, grain: Activation) -> bool:
        """Whether a turn runs or waits at it, or something is under way with it. A proof that nobody waits for is no
        use."""
        turns = grain._inaho_turn
        if not isinstance(turns, ActivationTurns):
            return turns is not None
        waits_for_calls = turns.life is None or turns.life.state is ActivationState.UNPROVED
        return bool(turns.running or turns.waiting) or not waits_for_calls

    # It comes up.

    def begin(self, grain: Activation) -> None:
        """It is made, and its turns wait until it is `up`."""
        turns = self._host.around.runner.queue_of(grain)
        turns.held, turns.life = True, ActivationLife(ActivationState.ACTIVATING)

    def up(self, grain: Activation) -> None:
        """Its state is loaded and `on_activate` has returned."""
        turns = self._take(grain, ActivationEvent.UP)
        if turns.life is not None and turns.life.reason and rule_of(turns.life.reason).calls_first:
            turns.held = False
            self._host.around.runner.start_waiting(turns)
            turns.held = True
        self._enter(grain, turns)

    def failed(self, grain: Activation) -> None:
        """It did not come up, or the program has ended during its reset: it is gone."""
        self._take(grain, ActivationEvent.FAILED)

    # It ends.

    def end(self, grain: Activation, reason: str) -> None:
        """It ends when its running turns have; at once when there are none. See `KindHost.deactivate_soon`."""
        if self._host.lives(grain) and not self.reason_of(grain):
            self._enter(grain, self._take(grain, ActivationEvent.END, reason=reason))

    def at_rest(self, grain: Activation) -> None:
        """No turn runs at an activation that is not active: what is due begins, a reset or the end."""
        life = self._life(grain)
        if life is None or life.state not in WAITING_FOR_REST:
            return
        failure = life.failure
        self._take(grain, ActivationEvent.AT_REST)
        if life.state is ActivationState.RESETTING:
            assert failure is not None
            self._host.resets.begin(grain, *failure)
        else:
            self._host.ending.begin(grain, life.reason)

    def deactivated(self, grain: Activation) -> None:
        """`on_deactivate` is over: it is gone."""
        self._take(grain, ActivationEvent.DEACTIVATED)

    def give_up(self, grain: Activation) -> None:
        """What is under way with it takes too long. One that was being reset ends; any other is gone."""
        self._enter(grain, self._take(grain, ActivationEvent.GIVEN_UP))

    # Its state.

    def turn_failed(self, grain: Activation, method: str, reason: str) -> None:
        """A turn has failed, and the kind has its state reset then."""
        self._enter(grain, self._take(grain, ActivationEvent.TURN_FAILED, failure=(method, reason)))

    def reset_done(self, grain: Activation) -> None:
        """Its state is what was saved last."""
        self._enter(grain, self._take(grain, ActivationEvent.RESET_DONE))

    def reset_failed(self, grain: Activation) -> None:
        """What was saved last cannot be loaded: it ends."""
        self._enter(grain, self._take(grain, ActivationEvent.RESET_FAILED))

    def require_proof(self, grain: Activation) -> None:
        """It is to be proved before its next turn, unless it ends anyway. What runs goes on."""
        if self._host.lives(grain) and not self.reason_of(grain):
            self._enter(grain, self._take(grain, ActivationEvent.PROOF_REQUIRED))

    def proved(self, grain: Activation) -> None:
        """It has what is stored, or may answer without that."""
        self._enter(grain, self._take(grain, ActivationEvent.PROVED))

    # Its turns.

    def turn_waits(self, grain: Activation) -> None:
        """A turn has come to an activation that is not active. The first one asks for the proof that is required."""
        if self.state_of(grain) is ActivationState.UNPROVED:
            self._host.around.freshness.want(grain)

    def refuse_waiting(self, grain: Activation, error: InahoError) -> None:
        """Answers the turns that wait with an error; they have not run."""
        turns = grain._inaho_turn
        while isinstance(turns, ActivationTurns) and turns.waiting:
            error.maybe_executed = False
            self._host.around.runner.answer_error(turns.waiting.popleft(), error)

    def _take(
        self, grain: Activation, event: ActivationEvent, *, reason: str = "", failure: tuple[str, str] | None = None
    ) -> ActivationTurns:
        """Gives an event to the table; turns wait from now on exactly if the state that was entered is not `ACTIVE`."""
        life = self._life(grain) or ActivationLife()
        had_reason = bool(life.reason)
        life.step(event, reason=reason, failure=failure)
        turns = self._host.around.runner.queue_of(grain)
        turns.held = life.state is not ActivationState.ACTIVE
        turns.life = life if turns.held else None
        if life.reason and not had_reason:
            self._host.ending.announce(grain, life.reason)
        return turns

    def _enter(self, grain: Activation, turns: ActivationTurns) -> None:
        """Does what the state asks for in which an activation is now."""
        life, host = turns.life, self._host
        if life is None:
            host.gates.open(grain._inaho_key, None)
            host.around.runner.advance(grain, turns)
        elif life.state is ActivationState.UNPROVED:
            host.gates.open(grain._inaho_key, None)
            if turns.waiting:
                host.around.freshness.want(grain)
        elif not turns.running:
            self.at_rest(grain)
