"""How activations of one kind end: streams end, `on_deactivate` runs, and turns that wait go to the next activation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from inaho.core.activation.lease import LeaseState
from inaho.core.activation.life import ActivationState
from inaho.errors import InahoError
from inaho.errors.inspection import is_a
from inaho.runtime.grains.activation_turns import ActivationTurns
from inaho.runtime.turns.hooks import run_hook

if TYPE_CHECKING:
    from inaho.runtime.activation.changes import Change
    from inaho.runtime.activation.kind_host import KindHost
    from inaho.runtime.grains.grain import Grain
    from inaho.runtime.grains.turn import Turn

__all__ = ["Ending"]


class Ending:
    """Ends the activations of one kind on one node.

    Args:
        host: the kind.
    """

    def __init__(self, host: KindHost) -> None:
        self._host = host

    def announce(self, grain: Grain[Any], reason: str) -> None:
        """It is certain that an activation ends: its timers stop, and a pool gives it no new turns."""
        if self._host.pool is not None:
            self._host.pool.ends(grain, reason)
        self._host.timers.end(grain)

    def begin(self, grain: Grain[Any], reason: str) -> None:
        """Ends an activation where no turn runs. One that has nothing to wait for is gone when this returns."""
        host, record = self._host, grain._inaho_record
        if host.kind.plain_stop and grain not in host.streams and (record is None or not record.busy):
            self._deactivated(grain, reason)
        else:
            host.node.leases.ending(grain._inaho_lease)
            host.changes.begin(grain, "deactivate", self._run(grain, reason))

    async def _run(self, grain: Grain[Any], reason: str) -> None:
        host, record = self._host, grain._inaho_record
        try:
            try:
                await host.streams.end(grain, reason)
                queue = host.node.runner.queue_of(grain)
                await run_hook(grain, queue, "on_deactivate", grain.on_deactivate(reason))
            finally:
                if record is not None and record.busy:  # the next activation must find what is being saved
                    async with record.writing():
                        pass
        except BaseException as error:
            host.local.log.warning("on_deactivate of %s failed", grain.identity, exc_info=error)
            if is_a(error, (KeyboardInterrupt, SystemExit)):
                raise
        finally:
            self._deactivated(grain, reason)

    def _deactivated(self, grain: Grain[Any], reason: str) -> None:
        if self._host.lives(grain):  # else it was given up
            self._host.lifecycle.deactivated(grain)
            self._leave(grain, reason)

    def _leave(self, grain: Grain[Any], reason: str) -> None:
        """The activation is gone; turns that waited go to its successor, here or elsewhere."""
        host = self._host
        node, key = host.node, grain._inaho_key
        host.streams.interrupt(grain, reason)  # there are none left, unless it was given up just now
        host.remove(grain)
        node.history.note_lease(grain._inaho_lease, "ended", reason)
        if not host.apart:
            node.saved_versions.ended(host.name, grain, asked_for=host.is_asked_for(key))
        turns = grain._inaho_turn
        if isinstance(turns, ActivationTurns):
            waiting = list(turns.waiting)
            turns.waiting.clear()
            for turn in waiting:
                self._pass_on(turn, key)

    def _pass_on(self, turn: Turn, key: str) -> None:
        """Gives a turn that waited to the next activation; its caller is told where this node makes none."""
        host, runner = self._host, self._host.node.runner
        if turn.connection is not None:
            turn.connection.running.pop(turn.correlation, None)
        try:
            successor = host.activations.get(key)
            turn.grain = host.activate(key) if successor is None else successor
        except InahoError as error:
            host.node.context.order.refused_here(turn)
            runner.answer_error(turn, error)
        else:
            runner.submit_soon(turn)

    def give_up_late(self) -> None:
        """Gives up what is under way with an activation for longer than `activation.lease_pending_s`."""
        host = self._host
        for change in host.changes.late(host.local.config.activation.lease_pending_s):
            lease = change.grain._inaho_lease
            why = f"the lease of {lease.kind}/{lease.key} timed out"
            if host.lives(change.grain) and change.task.cancel(why):
                self._give_up(change, why)

    def _give_up(self, change: Change, why: str) -> None:
        """The activation is gone now, whatever its code makes of the cancellation; one that was reset ends."""
        host, grain = self._host, change.grain
        leases, lease = host.node.leases, grain._inaho_lease
        host.local.log.warning("gave up the attempt to %s %s: it took too long", change.what, grain.identity)
        if host.lifecycle.state_of(grain) is ActivationState.RESETTING:
            host.resets.give_up(grain)
            return
        revoked = lease.state is LeaseState.REVOKED  # another may be active, and callers shall look for it
        leases.time_out(lease)
        if reason := host.lifecycle.reason_of(grain):
            host.lifecycle.give_up(grain)
            self._leave(grain, reason)
        else:
            host.starting.give_up(grain, leases.lost(lease, executed=False) if revoked else leases.gave_up(lease, why))
