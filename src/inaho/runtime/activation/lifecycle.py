"""Moves the activations of one kind through the states of `core.activation.life`; it owns these states.

This module passes events to the table of `inaho.core.activation.life`, lets turns wait or run as the state requires,
and begins the work of a state: a reset, or the end. No other module reads or changes `ActivationTurns.life`.
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
    """Moves the activations of one kind on one node through their lifecycle states.

    Args:
        host: the kind.
    """

    def __init__(self, host: ActivationHost) -> None:
        self._host = host

    # Questions.

    @staticmethod
    def _life(grain: Activation) -> ActivationLife | None:
        turns = grain._inaho_turn
        return turns.life if isinstance(turns, ActivationTurns) else None

    def state_of(self, grain: Activation) -> ActivationState:
        """The lifecycle state of an activation."""
        life = self._life(grain)
        return ActivationState.ACTIVE if life is None else life.state

    def reason_of(self, grain: Activation) -> str:
        """Why an activation ends or will end; empty if it does not end."""
        life = self._life(grain)
        return "" if life is None else life.reason

    def is_changing(self, grain: Activation) -> bool:
        """Whether the start, end or reset of the activation is under way. A gate opens when that is done."""
        life = self._life(grain)
        return life is not None and life.state in AT_WORK

    def is_unproved(self, grain: Activation) -> bool:
        """Whether the activation needs a proof before it may answer, in any lifecycle state."""
        life = self._life(grain)
        return life is not None and life.unproved

    def is_in_use(self, grain: Activation) -> bool:
        """Whether a turn runs or waits at the activation, or its start, end or reset is under way.

        A required proof for which no turn waits does not count as use.
        """
        turns = grain._inaho_turn
        if not isinstance(turns, ActivationTurns):
            return turns is not None
        waits_for_calls = turns.life is None or turns.life.state is ActivationState.UNPROVED
        return bool(turns.running or turns.waiting) or not waits_for_calls

    # Start.

    def begin(self, grain: Activation) -> None:
        """An activation starts: its turns wait until `up`."""
        turns = self._host.around.runner.queue_of(grain)
        turns.held, turns.life = True, ActivationLife(ActivationState.ACTIVATING)

    def up(self, grain: Activation) -> None:
        """An activation has started: its state is loaded and `on_activate` has returned."""
        turns = self._take(grain, ActivationEvent.UP)
        if turns.life is not None and turns.life.reason and rule_of(turns.life.reason).calls_first:
            turns.held = False
            self._host.around.runner.start_waiting(turns)
            turns.held = True
        self._enter(grain, turns)

    def failed(self, grain: Activation) -> None:
        """An activation failed to start, or the program ended during its reset."""
        self._take(grain, ActivationEvent.FAILED)

    # End.

    def end(self, grain: Activation, reason: str) -> None:
        """Ends an activation after its running turns; at once when no turn runs. See `KindHost.deactivate_soon`."""
        if self._host.lives(grain) and not self.reason_of(grain):
            self._enter(grain, self._take(grain, ActivationEvent.END, reason=reason))

    def at_rest(self, grain: Activation) -> None:
        """No turn runs at an activation that is not active: begins its reset or its end, if one of them is due."""
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
        """An activation has ended: `on_deactivate` has returned or failed."""
        self._take(grain, ActivationEvent.DEACTIVATED)

    def give_up(self, grain: Activation) -> None:
        """The start, end or reset of an activation takes too long. A reset activation ends now; any other has ended."""
        self._enter(grain, self._take(grain, ActivationEvent.GIVEN_UP))

    # Reset and proof.

    def turn_failed(self, grain: Activation, method: str, reason: str) -> None:
        """A turn of `method` failed, and the kind has `on_failure="reset"`."""
        self._enter(grain, self._take(grain, ActivationEvent.TURN_FAILED, failure=(method, reason)))

    def reset_done(self, grain: Activation) -> None:
        """An activation has its saved state again."""
        self._enter(grain, self._take(grain, ActivationEvent.RESET_DONE))

    def reset_failed(self, grain: Activation) -> None:
        """The saved state of an activation cannot be loaded, so the activation ends."""
        self._enter(grain, self._take(grain, ActivationEvent.RESET_FAILED))

    def require_proof(self, grain: Activation) -> None:
        """Requires a proof before the next turn of an activation, unless it ends anyway. Running turns continue."""
        if self._host.lives(grain) and not self.reason_of(grain):
            self._enter(grain, self._take(grain, ActivationEvent.PROOF_REQUIRED))

    def proved(self, grain: Activation) -> None:
        """The activation has the stored state, or may answer without a proof."""
        self._enter(grain, self._take(grain, ActivationEvent.PROVED))

    # Turns.

    def turn_waits(self, grain: Activation) -> None:
        """A turn waits at an activation that is not active. If a proof is required, the first such turn asks for it."""
        if self.state_of(grain) is ActivationState.UNPROVED:
            self._host.around.freshness.want(grain)

    def refuse_waiting(self, grain: Activation, error: InahoError) -> None:
        """Answers the waiting turns, which have not run, with an error."""
        turns = grain._inaho_turn
        while isinstance(turns, ActivationTurns) and turns.waiting:
            error.maybe_executed = False
            self._host.around.runner.answer_error(turns.waiting.popleft(), error)

    def _take(
        self, grain: Activation, event: ActivationEvent, *, reason: str = "", failure: tuple[str, str] | None = None
    ) -> ActivationTurns:
        """Gives an event to the table. From then on turns wait exactly if the new state is not `ACTIVE`."""
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
        """Does the work of the state that an activation has entered."""
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
