"""One kind on one node: its activations, how they come up, and how they end.

A stateless activation without hooks is a dict entry, made and dropped between two calls. Where something must be
awaited (state to load, `on_activate`, `on_deactivate`) the activation's queue is *held*: calls that arrive meanwhile
wait in their order and see nothing of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from inaho.core.activation.lease import Lease, LeaseState
from inaho.core.identity.identity import validate_key
from inaho.core.rpc.turns import TurnQueue
from inaho.errors import InahoError
from inaho.errors.inspection import is_a
from inaho.events import ActivationStarted
from inaho.runtime.activation.changes import Change, Changes, Gates
from inaho.runtime.activation.draining import Draining
from inaho.runtime.activation.failure_policy import reset_failed, reset_state
from inaho.runtime.activation.passivation import Passivation
from inaho.runtime.activation.records import ActivationRecord
from inaho.runtime.activation.running_streams import StreamTurns
from inaho.runtime.activation.start_failures import initialise, not_run, start_failure
from inaho.runtime.activation.state import load_handed
from inaho.runtime.activation.timers import ActivationTimers
from inaho.runtime.grains.stateless import WorkerPool
from inaho.runtime.grains.turn import Turn
from inaho.runtime.turns.hooks import run_hook
from inaho.types import Pid

if TYPE_CHECKING:
    from inaho.runtime.calls.call_order import FirstCalls, Line
    from inaho.runtime.grains.grain import Grain, GrainKind
    from inaho.runtime.node.node import Node

__all__ = ["KindHost"]

FIRST: Final = "first"
AGAIN: Final = "again"
MOVED: Final = "moved"
"""What an activation is (`ActivationStarted.origin`)."""


class KindHost:
    """A kind as one node knows it: to host it, or only to call it.

    Args:
        node: the node.
        kind: what was read from the class.
        hosted: whether activations may live here.
        parts: of the node, which the constructor of a class of the runtime is given.

    Attributes:
        name: of the kind.
        activations: by key. The call path looks here first.
        calls, failures: of callers on this node.
        exceptions: calls that ended with an exception that the program has registered; no failures.
        latency: such calls by the bit length of their duration in units of 1.024 us, as far as a call may last.
        lines, first_calls: by key, calls of this node that wait or are on their way (`call_order`); mostly empty.
        pool: the further activations of a stateless kind; None for all others.
        spread: it is stateless and this a client: calls go to the members that host it in turn.
        turns: by method of such a kind, how far the turn of members has come.
        system: it belongs to the runtime: it is not placed, not counted, and stays until the end.
    """

    def __init__(self, node: Node, kind: GrainKind, *, hosted: bool, parts: tuple[Any, ...] = ()) -> None:
        self.node = node
        self.local = node.local
        self.kind = kind
        self.name = kind.name
        self.hosted = hosted
        self._parts = parts
        self.activations: dict[str, Grain[Any]] = {}
        self.calls = 0
        self.failures = 0
        self.exceptions = 0
        self.latency = [0] * 42
        self.lines: dict[str, Line] = {}
        self.first_calls: dict[str, FirstCalls] = {}
        self.system = False
        self.gates = Gates()
        self.streams = StreamTurns(self)
        self.timers = ActivationTimers(self)
        self.draining = Draining(self)
        self.pool = WorkerPool(self) if hosted and kind.stateless_max else None
        self.spread = bool(kind.stateless_max) and node.local.client
        self.turns: dict[str, int] = {}
        ttl_s = node.local.config.activation.idle_ttl_s if kind.idle_ttl_s is None else kind.idle_ttl_s
        self.passivation = Passivation(self, ttl_s) if ttl_s else None
        self.changes = Changes(node, kind.name)
        self._asked_for: set[str] = set()

    @property
    def apart(self) -> bool:
        """Its activations do not follow the owners of partitions: it is placed, or stateless and hosted here."""
        return self.kind.placed or self.pool is not None

    @property
    def authority(self) -> str:
        """Of this node."""
        return self.local.authority

    # Coming up.

    def activate(self, key: str) -> Grain[Any]:
        """Makes the activation of an identity that this node owns.

        Raises:
            OwnershipChanged: another member owns it.
            ShuttingDown, Blocked: this node takes nothing.
            Pending: its lease is held.
            Overloaded: the node has `activation.activations_max` activations.
            ActivationFailed: the user's constructor raised.
            InvalidArguments: the key is no key.
        """
        validate_key(key)
        return self.begin(self.node.leases.obtain(self, key))

    def begin(self, lease: Lease, handed: ActivationRecord | None = None) -> Grain[Any]:
        """Makes the activation of a pending lease; it goes on from `handed`. Raises `ActivationFailed`."""
        grain = self._make(lease.key, lease)
        self.activations[lease.key] = grain
        if self.kind.placed:
            self.node.freshness.begins(self.name, lease.key, grain)
        self.node.context.order.came_here(self, lease.key)
        self.start(grain, handed, self.passivation is not None and self.passivation.add(lease.key, self.local.now))
        return grain

    def start(self, grain: Grain[Any], handed: ActivationRecord | None, again: bool) -> None:
        """Brings up an activation that has been made."""
        node, kind, key = self.node, self.kind, grain._inaho_key
        node.activations.count += 1
        origin = AGAIN if again else FIRST
        if kind.plain_start and kind.state_type is None and node.bridge.last_owner(self.name, key) is None:
            node.leases.activated(grain._inaho_lease)
            self._started(grain, MOVED if handed is not None else origin)
        else:
            queue = self.hold(grain)
            queue.starting = True
            self.changes.begin(grain, "activate", self._start(grain, queue, origin, handed))

    def make_worker(self, key: str) -> Grain[Any]:
        """A further activation of a stateless kind, for its pool. Raises as `activate`."""
        assert self.pool is not None
        return self._make(key, self.pool.lease(key))

    def _make(self, key: str, lease: Lease) -> Grain[Any]:
        grain = self.kind.cls.__new__(self.kind.cls)
        grain._inaho_host = self
        grain._inaho_key = key
        grain._inaho_turn = None
        grain._inaho_touched = self.local.now
        grain._inaho_lease = lease
        grain._inaho_record = None
        if self.kind.has_init:
            initialise(self, grain, self._parts)
        return grain

    def install(self, key: str) -> None:
        """Makes the one activation of a system kind. Its lease is in no ledger: nobody else may have it anyway."""
        self.system = True
        self.activations[key] = self._make(key, Lease(self.name, key, self.local.node_id, 0, self.local.now))

    def storage_accepted(self) -> None:
        """An operator has accepted what the storage has: activations with a state begin again from it."""
        for grain in list(self.activations.values()):
            record = grain._inaho_record
            if record is not None:
                record.version = 0  # what it had is not expected of the storage any more
                record.version_unknown = True
                self.deactivate_soon(grain, "stale")

    def give_up_late(self) -> None:
        """Gives up what is under way with an activation for longer than `activation.lease_pending_s`."""
        for change in self.changes.late(self.local.config.activation.lease_pending_s):
            lease = change.grain._inaho_lease
            why = f"the lease of {lease.kind}/{lease.key} timed out"
            if self.lives(change.grain) and change.task.cancel(why):
                self._give_up(change, lease, why)

    def _give_up(self, change: Change, lease: Lease, why: str) -> None:
        """The activation is gone now, whatever its code makes of the cancellation; one that was reset ends."""
        grain, leases = change.grain, self.node.leases
        queue = self.hold(grain)
        self.local.log.warning("gave up the attempt to %s %s: it took too long", change.what, grain.identity)
        if change.what == "reset":
            reset_failed(self, grain, queue)
            return
        revoked = lease.state is LeaseState.REVOKED  # another may be active, and callers shall look for it
        leases.time_out(lease)
        if queue.ending:
            self._ended(grain, queue, queue.ending)
        else:
            error = leases.lost(lease, executed=False) if revoked else leases.gave_up(lease, why)
            self.start_failed(grain, queue, error)

    def hold(self, grain: Grain[Any]) -> TurnQueue[Turn]:
        """The activation's queue, held: turns wait. What runs goes on."""
        config = self.local.config.activation
        busy = grain._inaho_turn
        queue: TurnQueue[Turn]
        if isinstance(busy, TurnQueue):
            queue = busy
        else:
            queue = TurnQueue(
                reentrant=self.kind.reentrant,
                depth=config.queue_depth,
                drop_oldest=config.queue_policy == "drop_oldest",
            )
            if busy is not None:
                queue.running.append(busy)
            grain._inaho_turn = queue
        queue.held = True
        return queue

    async def _start(
        self, grain: Grain[Any], queue: TurnQueue[Turn], origin: str, handed: ActivationRecord | None
    ) -> None:
        """Loads state and runs `on_activate`, then lets the waiting turns go; or fails them all."""
        try:
            if handed is None:
                handed = await self._take_over(grain)
            loaded_at = self.local.loop.time()
            if self.kind.state_type is not None:
                await self.node.freshness.before_activation()
                loaded_at = self.local.loop.time()
                grain._inaho_record = await load_handed(self, grain, handed)
            if not self.kind.plain_start:
                self.node.leases.check_kept(self, grain)
                await run_hook(grain, queue, "on_activate", grain.on_activate())
            await self.node.leases.confirm(grain)
        except BaseException as error:
            self.node.runner.report(error, self.start_failed, grain, queue, error)
            if is_a(error, (KeyboardInterrupt, SystemExit)):
                raise
            return
        if handed is not None:
            origin = MOVED
        elif grain._inaho_record is not None and grain._inaho_record.version:
            origin = AGAIN
        self._started(grain, origin)
        if queue.ending == "requested":
            self._run_first(grain, queue)
        self.node.proofs.started(grain, loaded_at)
        self.opened(grain, queue)

    def _run_first(self, grain: Grain[Any], queue: TurnQueue[Turn]) -> None:
        """`on_activate` asked for the end: first runs what would have its turn. A successor might ask for the same."""
        queue.held = False
        self.node.runner.advance(grain, queue)
        grain._inaho_turn, queue.held = queue, True  # also where all that waited had been cancelled

    def start_failed(self, grain: Grain[Any], queue: TurnQueue[Turn], error: BaseException) -> None:
        """An activation did not come up: whatever it was, nobody shall wait for it."""
        if not self.lives(grain):  # it was given up (`give_up_late`)
            return
        failure = start_failure(self, grain, error)
        self.streams.interrupt(grain, "failed")
        self._remove(grain, failure)
        while queue.waiting:
            self.node.runner.answer_error(queue.waiting.popleft(), not_run(failure, failure.__cause__))

    def opened(self, grain: Grain[Any], queue: TurnQueue[Turn]) -> None:
        """An activation is up: what waited goes on, unless it is to end at once."""
        queue.starting = False
        if queue.ending:
            if not queue.running:
                self.settle(grain, queue)
            return
        queue.held = queue.unproved
        self.gates.open(grain._inaho_key, None)
        if queue.unproved and queue.waiting:
            self.node.proofs.want(grain)
        self.node.runner.advance(grain, queue)

    async def _take_over(self, grain: Grain[Any]) -> ActivationRecord | None:
        """Has the last owner of the partition, if there is one to ask, end its activation first."""
        node, key = self.node, grain._inaho_key
        if node.bridge.last_owner(self.name, key) is not None:
            handed = await node.bridge.take_over(self.name, key)
            node.leases.check_owner(self.name, key)  # it may have moved on meanwhile
            node.leases.ledger.raise_epoch(grain._inaho_lease, handed.epoch)
            if handed.was_active:
                return node.saved_versions.newer(self.name, key, handed)
        return node.saved_versions.expected(self.name, key)

    async def release(self, key: str) -> ActivationRecord:
        """Ends the activation for its next owner, after its running turns, and tells what it was."""
        grain = self.activations.get(key)
        if grain is None:
            return ActivationRecord(False)
        self._asked_for.add(key)
        try:
            self.deactivate_soon(grain, "moved")
            while self.activations.get(key) is grain:
                await self.gates.wait(key)
        finally:
            self._asked_for.discard(key)
        record, epoch = grain._inaho_record, grain._inaho_lease.epoch
        if record is None:
            return ActivationRecord(True, 0, epoch, None, self.authority)
        version, snapshot = record.hand_over(self, grain)
        return ActivationRecord(True, version, epoch, snapshot, self.authority, stored_epoch=record.stored_epoch)

    def has_saved(self, key: str, version: int) -> bool:
        """Whether an activation here has that version. One that has less begins again."""
        grain = self.activations.get(key)
        if grain is None:
            return False
        if grain._inaho_record is not None and grain._inaho_record.version >= version:
            return True
        self.deactivate_soon(grain, "stale")
        return False

    def _started(self, grain: Grain[Any], origin: str) -> None:
        node = self.node
        lease = grain._inaho_lease
        node.history.note_lease(lease, "started", origin)
        if self.local.events_wanted(ActivationStarted):
            identity = grain.identity
            pid = Pid(self.local.authority, self.local.node_id, identity)
            self.local.publish(ActivationStarted(identity=identity, pid=pid, epoch=lease.epoch, origin=origin))

    # Ending.

    def lives(self, grain: Grain[Any]) -> bool:
        """Whether it is an activation of this kind and not a former one."""
        return self.activations.get(grain._inaho_key) is grain or (self.pool is not None and grain in self.pool)

    def deactivate_soon(self, grain: Grain[Any], reason: str) -> None:
        """Ends the activation when its running turns have; at once when there are none."""
        if not self.lives(grain):
            return
        queue = self.hold(grain)
        if queue.ending:
            return
        queue.ending = reason
        if self.pool is not None:
            self.pool.ends(grain, reason)
        self.timers.end(grain)
        if not queue.running:
            self.settle(grain, queue)

    def settle(self, grain: Grain[Any], queue: TurnQueue[Turn]) -> None:
        """Nothing runs in a held queue: what it is held for begins now, the end of the activation or a reset."""
        reason = queue.ending
        if queue.starting:
            return
        if queue.resetting is not None and reason != "stale":
            what, queue.resetting, queue.starting = queue.resetting, None, True
            self.changes.begin(grain, "reset", reset_state(self, grain, queue, *what))
            return
        if not reason:
            return
        record = grain._inaho_record
        if self.kind.plain_stop and grain not in self.streams and (record is None or not record.busy):
            self._ended(grain, queue, reason)
        else:
            queue.starting = True  # nothing else begins in the queue: a stream may fail meanwhile
            self.node.leases.ending(grain._inaho_lease)
            self.changes.begin(grain, "deactivate", self._stop(grain, queue, reason))

    async def _stop(self, grain: Grain[Any], queue: TurnQueue[Turn], reason: str) -> None:
        record = grain._inaho_record
        try:
            try:
                await self.streams.end(grain, reason)
                await run_hook(grain, queue, "on_deactivate", grain.on_deactivate(reason))
            finally:
                if record is not None and record.busy:  # the next activation must find what is being saved
                    async with record.writing():
                        pass
        except BaseException as error:
            self.local.log.warning("on_deactivate of %s failed", grain.identity, exc_info=error)
            if is_a(error, (KeyboardInterrupt, SystemExit)):
                raise
        finally:
            self._ended(grain, queue, reason)

    def _ended(self, grain: Grain[Any], queue: TurnQueue[Turn], reason: str) -> None:
        """The activation is gone; turns that waited go to its successor, here or elsewhere."""
        if not self.lives(grain):  # it was given up (`give_up_late`)
            return
        self.streams.interrupt(grain, reason)  # there are none left, unless it was given up just now
        self._remove(grain)
        waiting, node = list(queue.waiting), self.node
        queue.waiting.clear()
        node.history.note_lease(grain._inaho_lease, "ended", reason)
        if not self.apart:
            node.saved_versions.ended(self.name, grain, asked_for=grain._inaho_key in self._asked_for)
        for turn in waiting:
            if turn.connection is not None:
                turn.connection.running.pop(turn.correlation, None)
            try:
                successor = self.activations.get(grain._inaho_key)
                turn.grain = self.activate(grain._inaho_key) if successor is None else successor
            except InahoError as error:
                node.context.order.refused_here(turn)
                node.runner.answer_error(turn, error)
                continue
            node.runner.submit_soon(turn)

    def _remove(self, grain: Grain[Any], error: InahoError | None = None) -> None:
        pool = self.pool
        if self.activations.get(grain._inaho_key) is grain:
            if pool is not None:
                pool.ends(grain, "first one gone")
            del self.activations[grain._inaho_key]
            self.timers.end(grain)
            self.node.leases.ended(grain._inaho_lease)
            self.node.activations.ended()
            if self.kind.placed:
                self.node.holdings.ended(self, grain)
                self.node.freshness.begun.pop((self.name, grain._inaho_key), None)
            if self.draining.moving:
                self.draining.ended(grain)
            self.gates.open(grain._inaho_key, error)
        elif pool is not None and pool.remove(grain):
            self.timers.end(grain)
            self.node.leases.ended(grain._inaho_lease)
            self.node.activations.ended()

    def drop_all(self, reason: str) -> None:
        """Ends all activations, those of the runtime excepted."""
        if not self.system:
            self.draining.end_all(reason)
