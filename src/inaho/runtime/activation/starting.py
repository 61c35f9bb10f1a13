"""Starts activations of one kind: the previous owner releases them, state is loaded, `on_activate` runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from inaho.errors import InahoError
from inaho.errors.inspection import is_a
from inaho.events import ActivationStarted
from inaho.runtime.activation.start_failures import not_run, start_failure
from inaho.runtime.grains.activation import ActivationTurns
from inaho.runtime.turns.hooks import run_hook
from inaho.runtime.turns.steps import report
from inaho.types import Pid

if TYPE_CHECKING:
    from inaho.runtime.activation.activation_host import ActivationHost
    from inaho.runtime.activation.records import ActivationRecord
    from inaho.runtime.grains.activation import Activation

__all__ = ["Starting"]

FIRST: Final = "first"
AGAIN: Final = "again"
MOVED: Final = "moved"
"""Values of `ActivationStarted.origin`."""


class Starting:
    """Starts the activations of one kind on one node.

    Args:
        host: the kind.
    """

    def __init__(self, host: ActivationHost) -> None:
        self._host = host

    def begin(self, grain: Activation, handed: ActivationRecord | None, again: bool) -> None:
        """Starts a new activation. One that has nothing to wait for has started when this returns.

        Args:
            grain: the activation.
            handed: the record of its previous owner, if it is known already.
            again: whether an activation of this identity was unloaded here before.
        """
        host = self._host
        around, kind, key = host.around, host.kind, grain._inaho_key
        around.count.count += 1
        origin = AGAIN if again else FIRST
        if kind.plain_start and kind.state_type is None and not around.ownership.has_previous(host.name, key):
            around.leases.activated(grain._inaho_lease)
            self._note(grain, MOVED if handed is not None else origin)
        else:
            host.lifecycle.begin(grain)
            host.changes.begin(grain, "activate", self._run(grain, origin, handed))

    async def _run(self, grain: Activation, origin: str, handed: ActivationRecord | None) -> None:
        """Loads state, runs `on_activate` and starts the waiting turns; on a failure, answers them with it."""
        host = self._host
        around = host.around
        try:
            if handed is None:
                handed = await self._take_over(grain)
            loaded_at = host.local.loop.time()
            if host.kind.state_type is not None:
                await around.freshness.before_activation()
                loaded_at = host.local.loop.time()
                grain._inaho_record = await around.states.load(host, grain, handed)
            if not host.kind.plain_start:
                around.leases.check_kept(host, grain)
                await run_hook(grain, around.runner.queue_of(grain), "on_activate", grain.on_activate())
            await around.leases.confirm(grain)
        except BaseException as error:
            report(host.local.loop, error, self.failed, grain, error)
            if is_a(error, (KeyboardInterrupt, SystemExit)):
                raise
            return
        if handed is not None:
            origin = MOVED
        elif grain._inaho_record is not None and grain._inaho_record.version:
            origin = AGAIN
        self._note(grain, origin)
        around.freshness.started(grain, loaded_at)
        host.lifecycle.up(grain)

    async def _take_over(self, grain: Activation) -> ActivationRecord | None:
        """Has the previous owner of the partition, if there is one to ask, end its activation first."""
        name, key, around = self._host.name, grain._inaho_key, self._host.around
        if around.ownership.has_previous(name, key):
            handed = await around.ownership.take_over(name, key)
            around.leases.check_owner(name, key)  # the owner may have changed during the hand-off
            around.leases.ledger.raise_epoch(grain._inaho_lease, handed.epoch)
            if handed.was_active:
                return around.ownership.newer(name, key, handed)
        return around.ownership.expected(name, key)

    def failed(self, grain: Activation, error: BaseException) -> None:
        """Removes an activation that failed to start, and answers its waiting turns with the failure."""
        if not self._host.lives(grain):  # `give_up` has removed it
            return
        failure = start_failure(self._host, grain, error)
        self._host.lifecycle.failed(grain)
        self._drop(grain, failure)

    def give_up(self, grain: Activation, error: BaseException) -> None:
        """As `failed`, for an activation that takes too long to start."""
        failure = start_failure(self._host, grain, error)
        self._host.lifecycle.give_up(grain)
        self._drop(grain, failure)

    def _drop(self, grain: Activation, failure: InahoError) -> None:
        host = self._host
        host.streams.interrupt(grain, "failed")
        host.remove(grain, failure)
        turns = grain._inaho_turn
        while isinstance(turns, ActivationTurns) and turns.waiting:
            host.around.runner.answer_error(turns.waiting.popleft(), not_run(failure, failure.__cause__))

    def _note(self, grain: Activation, origin: str) -> None:
        """Reports that an activation has started."""
        local, lease = self._host.local, grain._inaho_lease
        self._host.around.leases.note(lease, "started", origin)
        if local.events_wanted(ActivationStarted):
            identity = grain.identity
            pid = Pid(local.authority, local.node_id, identity)
            local.publish(ActivationStarted(identity=identity, pid=pid, epoch=lease.epoch, origin=origin))
