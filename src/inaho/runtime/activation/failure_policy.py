"""Decides what happens to an activation's state when a turn fails (`on_failure` of the class).

A turn that raises may have changed half of the state. Only the author of the kind knows whether that matters, so each
kind chooses a policy:

- `keep`: the state stays as the turn left it. This is right if methods check before they change anything. It is the
  default, because it costs nothing and plain objects behave so.
- `reset`: the saved state is loaded again before the next turn. Running turns continue to their end; later turns wait
  for the load. Only the durable state is reset, not other attributes of the instance. If the load fails, the activation
  ends (`failed`), and waiting turns go to the next activation.
- `stop`: the activation ends (`failed`) after its running turns. The next call makes a new activation, with new
  attributes.

From the failure until the state is loaded again, no code of the activation can save: no turn of a reentrant kind that
runs beside the failed turn, no stream, and not `on_deactivate`. Their `save` raises `StateConflict`, as when another
activation has saved. A save that began before the failure stores the state of its beginning.

A failure is any exception that leaves user code in a turn, a tick of a timer, a reminder or a stream. The exception may
come from a call that the code made and did not catch; inaho's errors count, since they too stop a turn in the middle.
An interruption at the deadline, or because the caller is gone, is a failure too.

Not a failure: a call that was refused before it ran; a consumer that closes its stream, which is how streams end; a
read-only method, which declares that it changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inaho.core.activation.life import ActivationState
from inaho.errors.inspection import describe, is_a
from inaho.events import StateReset
from inaho.runtime.grains.activation import Turn
from inaho.runtime.grains.state_record import StateRecord
from inaho.runtime.turns.steps import SIGNALS

if TYPE_CHECKING:
    from inaho.runtime.activation.activation_host import ActivationHost
    from inaho.runtime.grains.activation import Activation

__all__ = ["Resets", "turn_failed"]


def turn_failed(host: ActivationHost, turn: Turn, error: BaseException) -> None:
    """Applies the policy of the kind. Call it before the turn is released, so that no other turn begins first."""
    grain, policy = turn.grain, host.kind.on_failure
    if policy == "keep" or turn.method.read_only or host.local.closing or is_a(error, SIGNALS):
        return
    if not host.lives(grain):
        return
    if grain._inaho_record is not None:
        grain._inaho_record.value_unfit = True  # from here on it is neither saved nor handed over
    if policy == "stop":
        host.deactivate_soon(grain, "failed")
    else:
        host.lifecycle.turn_failed(grain, turn.method.name, describe(error))


class Resets:
    """Resets activations of one kind: loads their saved state again.

    Args:
        host: the kind.
    """

    def __init__(self, host: ActivationHost) -> None:
        self._host = host

    def begin(self, grain: Activation, method: str, reason: str) -> None:
        """Resets an activation at which no turn runs; `method` failed for `reason`."""
        self._host.changes.begin(grain, "reset", self._run(grain, method, reason))

    async def _run(self, grain: Activation, method: str, reason: str) -> None:
        """Loads the state again. The activation ends if that fails, or if another activation has saved since."""
        host = self._host
        lifecycle = host.lifecycle
        try:
            done = await host.around.states.reload(host, grain, _record(grain))
        except BaseException as error:
            if lifecycle.state_of(grain) is ActivationState.RESETTING:  # otherwise it was given up, and ends already
                if is_a(error, SIGNALS) or host.local.closing:
                    host.starting.failed(grain, error)
                else:
                    host.local.log.warning(
                        "the state of %s could not be reset, so it ends", grain.identity, exc_info=error
                    )
                    lifecycle.reset_failed(grain)
            if is_a(error, SIGNALS):
                raise
            return
        if lifecycle.state_of(grain) is not ActivationState.RESETTING:
            return
        if done:
            host.local.log.info("%s failed at %s, and its state was reset: %s", method, grain.identity, reason)
            if host.local.events_wanted(StateReset):
                host.local.publish(StateReset(identity=grain.identity, method=method, reason=reason))
        else:
            host.deactivate_soon(grain, "stale")
        lifecycle.reset_done(grain)

    def give_up(self, grain: Activation) -> None:
        """Ends an activation whose reset takes too long. The state that the failed turn left is not saved."""
        self._host.lifecycle.give_up(grain)


def _record(grain: Activation) -> StateRecord:
    """The durable state. A kind without durable state has no resets."""
    record = grain._inaho_record
    assert record is not None
    return record
