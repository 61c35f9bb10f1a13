"""Ends activations of one kind: their streams end, `on_deactivate` runs, waiting turns go to the next activation."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from inaho.core.activation.lease import Lease, LeaseState
from inaho.core.activation.life import ActivationState
from inaho.errors import InahoError, Pending
from inaho.errors.inspection import is_a
from inaho.runtime.grains.activation import ActivationTurns
from inaho.runtime.grains.activation_turns import waiting_turns
from inaho.runtime.turns.hooks import run_hook

if TYPE_CHECKING:
    from inaho.runtime.activation.activation_host import ActivationHost
    from inaho.runtime.activation.changes import Change
    from inaho.runtime.grains.activation import Activation, Turn

__all__ = ["Ending"]


class Ending:
    """Ends the activations of one kind on one node.

    Args:
        host: the kind.
    """

    def __init__(self, host: ActivationHost) -> None:
        self._host = host

    def announce(self, grain: Activation, reason: str) -> None:
        """An activation will end: stops its timers, and has the pool give it no new turns."""
        if self._host.pool is not None:
            self._host.pool.retire(grain, reason)
        self._host.timers.end(grain)

    def begin(self, grain: Activation, reason: str) -> None:
        """Ends an activation at which no turn runs. One that has nothing to wait for has ended when this returns."""
        host, record = self._host, grain._inaho_record
        if host.kind.plain_stop and grain not in host.streams and (record is None or not record.busy):
            self._deactivated(grain, reason)
        else:
            host.around.leases.begin_release(grain._inaho_lease)
            host.changes.begin(grain, "deactivate", self._run(grain, reason))

    async def _run(self, grain: Activation, reason: str) -> None:
        host, record = self._host, grain._inaho_record
        try:
            try:
                await host.streams.end(grain, reason)
                queue = host.around.runner.queue_of(grain)
                await run_hook(grain, queue, "on_deactivate", grain.on_deactivate(reason))
            finally:
                if record is not None and record.busy:  # a save is under way: the next activation must find its state
                    async with record.writing():
                        pass
        except BaseException as error:
            host.local.log.warning("on_deactivate of %s failed", grain.identity, exc_info=error)
            if is_a(error, (KeyboardInterrupt, SystemExit)):
                raise
        finally:
            self._deactivated(grain, reason)

    def _deactivated(self, grain: Activation, reason: str) -> None:
        if self._host.lives(grain):  # otherwise `give_up_late` has removed it
            self._host.lifecycle.deactivated(grain)
            self._leave(grain, reason)

    def _leave(self, grain: Activation, reason: str) -> None:
        """Removes the activation. The turns that waited go to its successor, here or on another node."""
        host, key = self._host, grain._inaho_key
        host.streams.interrupt(grain, reason)  # streams are left only if the activation was given up
        host.remove(grain)
        host.around.leases.note(grain._inaho_lease, "ended", reason)
        if not host.apart:
            host.around.ownership.ended(host.name, grain, asked_for=host.is_asked_for(key))
        turns = grain._inaho_turn
        if isinstance(turns, ActivationTurns):
            waiting = list(turns.waiting)
            turns.waiting.clear()
            for turn in waiting:
                self._pass_on(turn, key)

    def _pass_on(self, turn: Turn, key: str) -> None:
        """Gives a turn that waited to the next activation, or answers it with the reason why this node makes none."""
        host, runner = self._host, self._host.around.runner
        if turn.connection is not None:
            turn.connection.running.pop(turn.correlation, None)
        try:
            successor = host.activations.get(key)
            turn.grain = host.activate(key) if successor is None else successor
        except InahoError as error:
            host.around.services.refused_here(turn)
            runner.answer_error(turn, error)
        else:
            runner.submit_soon(turn)

    def give_up_late(self) -> None:
        """Gives up starts, ends and resets that take longer than `activation.lease_pending_s`."""
        host = self._host
        for change in host.changes.late(host.local.config.activation.lease_pending_s):
            lease = change.grain._inaho_lease
            why = f"the lease of {lease.kind}/{lease.key} timed out"
            if host.lives(change.grain) and change.task.cancel(why):
                self._give_up(change, why)

    def _give_up(self, change: Change, why: str) -> None:
        """Removes the activation, whatever its code does with the cancellation. One that was being reset ends."""
        host, grain = self._host, change.grain
        leases, lease = host.around.leases, grain._inaho_lease
        host.local.log.warning("gave up the attempt to %s %s: it took too long", change.what, grain.identity)
        if host.lifecycle.state_of(grain) is ActivationState.RESETTING:
            host.resets.give_up(grain)
            return
        revoked = lease.state is LeaseState.REVOKED  # another activation may exist, and callers must look it up
        leases.time_out(lease)
        if reason := host.lifecycle.reason_of(grain):
            host.lifecycle.give_up(grain)
            self._leave(grain, reason)
        else:
            error = leases.lost(lease, executed=False) if revoked else self._too_late(lease, why)
            host.starting.give_up(grain, error)

    def waits_for_previous_owner(self, grain: Activation) -> bool:
        """Whether calls wait for a starting activation that its previous owner has not released, so that no user code
        has run. If so, the time of its lease begins anew, since those calls have deadlines of their own."""
        lease, around = grain._inaho_lease, self._host.around
        waits = bool(waiting_turns(grain)) and around.ownership.waits(lease.kind, lease.key)
        return waits and around.leases.renew(lease)

    def _too_late(self, lease: Lease, why: str) -> BaseException:
        """The error for callers of an activation that took too long to start."""
        if self._host.around.ownership.waits(lease.kind, lease.key):  # no user code has run; the next start asks again
            return Pending(f"{why}: its previous owner has not released it", identity=f"{lease.kind}/{lease.key}")
        return asyncio.CancelledError(why)
