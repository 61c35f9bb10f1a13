"""Decides what happens to an activation's state when a turn fails (`on_failure` of the class).

A turn that raises may have changed half of its state. Only the author of the kind knows whether that matters, so each
kind says it:

- `keep`: the state stays as the turn left it. Right if methods check before they change; the default, because it costs
  nothing and plain objects behave so.
- `reset`: before the next turn the saved state is loaded again. Running turns continue to their end; later ones wait
  for the load. Only the durable state is reset, not other attributes of the instance. If it cannot be loaded, the
  activation ends (`failed`), waiting turns go to the next one, and `on_deactivate` cannot save.
- `stop`: the activation ends (`failed`) when its running turns have, and the next call makes a new one, with all its
  attributes.

Failures are: any exception that leaves user code, its own ones and those of calls that it made and did not catch
(inaho's errors included: they too stop a turn in the middle); an interruption at the deadline or because the caller is
gone; in a turn, a tick of a timer, a reminder, or a stream that raises. Not failures are: a call that was refused
before it ran; a consumer that breaks off its stream, which is how streams end; a read-only method, which has changed
nothing by its own declaration.
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
    """Applies the policy of the kind. Call it while the turn still counts as running, so that no other begins first."""
    grain, policy = turn.grain, host.kind.on_failure
    if policy == "keep" or turn.method.read_only or host.local.closing or is_a(error, SIGNALS):
        return
    if not host.lives(grain):
        return
    if grain._inaho_record is not None:
        grain._inaho_record.value_unfit = True  # the next owner, if there is one, must not go on from here
    if policy == "stop":
        host.deactivate_soon(grain, "failed")
    else:
        host.lifecycle.turn_failed(grain, turn.method.name, describe(error))


class Resets:
    """Loads the states of one kind's activations again as they were saved.

    Args:
        host: the kind.
    """

    def __init__(self, host: ActivationHost) -> None:
        self._host = host

    def begin(self, grain: Activation, method: str, reason: str) -> None:
        """Resets an activation where no turn runs, since `method` has failed for that reason."""
        self._host.changes.begin(grain, "reset", self._run(grain, method, reason))

    async def _run(self, grain: Activation, method: str, reason: str) -> None:
        """Loads the state again. An activation for which that fails ends, and so does a stale one."""
        host = self._host
        lifecycle = host.lifecycle
        try:
            done = await host.around.states.reload(host, grain, _record(grain))
        except BaseException as error:
            if lifecycle.state_of(grain) is ActivationState.RESETTING:  # else it was given up, and ends already
                if is_a(error, SIGNALS) or host.local.closing:
                    host.starting.failed(grain, error)
                else:
                    host.local.log.warning(
                        "the state of %s could not be reset, so it ends", grain.identity, exc_info=error
                    )
                    _record(grain).broken = True
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
        """A reset takes too long: the activation ends, and what the failed turn left of its state is not saved."""
        _record(grain).broken = True
        self._host.lifecycle.give_up(grain)


def _record(grain: Activation) -> StateRecord:
    """The durable state; a kind without it has no resets."""
    record = grain._inaho_record
    assert record is not None
    return record
