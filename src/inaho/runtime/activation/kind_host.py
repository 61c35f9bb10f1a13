"""One kind on one node: the table of its activations, and the parts that start them, end them and keep their state.

An activation without state and hooks is a dict entry, made and dropped between two calls. Where something must be
awaited (state to load, `on_activate`, `on_deactivate`), calls that arrive in the meantime wait in their order.
`lifecycle` keeps the lifecycle states; `starting`, `ending` and `failure_policy` do the work of each state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, cast

from inaho.core.activation.lease import Lease
from inaho.core.activation.life import ActivationState
from inaho.core.identity.identity import validate_key
from inaho.core.pubsub.latest_received import LatestReceived
from inaho.errors import InahoError
from inaho.runtime.activation.changes import Changes, Gates
from inaho.runtime.activation.collector import BIG_TABLE, hide, show
from inaho.runtime.activation.draining import Draining
from inaho.runtime.activation.ending import Ending
from inaho.runtime.activation.failure_policy import Resets, turn_failed
from inaho.runtime.activation.lifecycle import Lifecycle
from inaho.runtime.activation.passivation import Passivation
from inaho.runtime.activation.records import ActivationRecord
from inaho.runtime.activation.running_streams import StreamTurns
from inaho.runtime.activation.start_failures import initialise
from inaho.runtime.activation.starting import Starting
from inaho.runtime.activation.timers import ActivationTimers
from inaho.runtime.activation.worker_pool import WorkerPool

if TYPE_CHECKING:
    from inaho.runtime.activation.activation_host import Surroundings
    from inaho.runtime.grains.activation import Activation, Reminders, Turn
    from inaho.runtime.grains.kind import GrainKind
    from inaho.runtime.grains.state_record import StateRecord
    from inaho.runtime.grains.timer import Timer

__all__ = ["KindHost", "host_of"]

RECEIVED_MAX: Final = 65_536
"""Grains of one kind, each with one publisher, whose last message of a topic is remembered."""


def host_of(grain: Activation) -> KindHost:
    """The host of an activation, of which the grain itself knows only `GrainHost`."""
    return cast("KindHost", grain._inaho_host)


class KindHost:
    """A kind on one node that hosts it, or only calls it.

    Args:
        around: what the hosts of one node share.
        kind: what was read from the class.
        hosted: whether this node may activate the kind.
        parts: parts of the node, arguments for the constructor of a class of the runtime.

    Attributes:
        name: of the kind.
        activations: by key. The call path looks here first.
        calls, failures: of callers on this node.
        exceptions: calls that ended with an exception that the program has registered. They are no failures.
        latency: calls of callers on this node, by the bit length of their duration in units of 1.024 us.
        lines, first_calls: by key, calls of this node that wait or are on their way; mostly empty. The room `calls`
            has their classes.
        pool: the further activations of a stateless kind; None for all others.
        spread: whether the kind is stateless and this node a client: calls go to its hosts in turn.
        of_runtime: whether users did not name the kind; members host it for the runtime.
        turns: for `spread`, by method, the position of the next host.
        system: whether the kind belongs to the runtime. It is not placed, not counted, and stays until the node stops.
    """

    def __init__(self, around: Surroundings, kind: GrainKind, *, hosted: bool, parts: tuple[Any, ...] = ()) -> None:
        self.around = around
        self.local = around.local
        self.kind = kind
        self.name = kind.name
        self.hosted = hosted
        self.of_runtime = kind.name.startswith("inaho.")
        self._parts = parts
        self._hides = hosted and not around.local.config.activation.collector_sees_activations
        """Whether its activations are hidden from the collector (`collector`)."""
        self.activations: dict[str, Activation] = {}
        self.calls = 0
        self.failures = 0
        self.exceptions = 0
        self.latency = [0] * 42
        self.lines: dict[str, object] = {}
        self.first_calls: dict[str, object] = {}
        self.system = False
        self.lifecycle = Lifecycle(self)
        self.starting = Starting(self)
        self.ending = Ending(self)
        self.resets = Resets(self)
        self.gates = Gates()
        self.streams = StreamTurns(self)
        self.timers = ActivationTimers(self)
        self.draining = Draining(self)
        self.pool = WorkerPool(self) if hosted and kind.stateless_max else None
        self.spread = bool(kind.stateless_max) and around.local.client
        self.turns: dict[str, int] = {}
        ttl_s = around.local.config.activation.idle_ttl_s if kind.idle_ttl_s is None else kind.idle_ttl_s
        self.passivation = Passivation(self, ttl_s) if ttl_s else None
        self.changes = Changes(around.local, kind.name, self.ending.waits_for_previous_owner)
        self._asked_for: set[str] = set()
        self._received = LatestReceived(RECEIVED_MAX)

    @property
    def apart(self) -> bool:
        """Whether its activations are independent of the owners of partitions: it is placed, or stateless here."""
        return self.kind.placed or self.pool is not None

    @property
    def listed(self) -> bool:
        """Whether reports and metrics list the kind; one of the runtime only while it is used."""
        return self.hosted and not self.system and (bool(self.activations) or not self.of_runtime)

    @property
    def authority(self) -> str:
        """Of this node."""
        return self.local.authority

    # Starting.

    def activate(self, key: str) -> Activation:
        """Makes the activation of an identity that this node owns.

        Raises:
            OwnershipChanged: another member owns it.
            ShuttingDown, Blocked: this node activates nothing.
            Pending: another activation holds the lease.
            Overloaded: the node has `activation.activations_max` activations.
            ActivationFailed: the user's constructor raised.
            InvalidArguments: the key is not valid.
        """
        validate_key(key)
        return self.begin(self.around.leases.obtain(self, key))

    def begin(self, lease: Lease, handed: ActivationRecord | None = None) -> Activation:
        """Makes the activation of a pending lease; `handed` is its previous activation. Raises `ActivationFailed`."""
        key, activations, around = lease.key, self.activations, self.around
        grain = activations[key] = self._make(key, lease)
        if self._hides:
            hide(grain)
            if len(activations) >= BIG_TABLE:  # each new entry makes the collector track the table again
                hide(activations)
        if self.kind.placed:
            around.freshness.begins(self.name, key, grain)
        around.services.came_here(self.name, key)
        passivation = self.passivation
        again = passivation is not None and passivation.add(key, self.local.now)
        self.starting.begin(grain, handed, again)
        return grain

    def make_worker(self, key: str) -> Activation:
        """Makes a further activation of a stateless kind, for its pool. Raises as `activate`."""
        assert self.pool is not None
        return self._make(key, self.pool.lease(key))

    def _make(self, key: str, lease: Lease) -> Activation:
        grain: Activation = self.kind.cls.__new__(self.kind.cls)
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
        """Makes the one activation of a system kind. Its lease is in no ledger, since no other node may have it."""
        self.system = True
        self.activations[key] = self._make(key, Lease(self.name, key, self.local.node_id, 0, self.local.now))

    def storage_accepted(self) -> None:
        """An operator has accepted the state in the storage: ends activations with state, so that they load it."""
        for grain in list(self.activations.values()):
            record = grain._inaho_record
            if record is not None:
                record.version = 0  # the storage need not have this version any more
                record.version_unknown = True
                self.deactivate_soon(grain, "stale")

    async def hand_over(self, key: str) -> ActivationRecord:
        """Ends the activation for its next owner, after its running turns, and returns its record."""
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
        version, snapshot = self.around.states.hand_over(self, grain, record)
        return ActivationRecord(True, version, epoch, snapshot, self.authority, stored_epoch=record.stored_epoch)

    def is_asked_for(self, key: str) -> bool:
        """Whether the next owner waits for the record of this activation (`hand_over`)."""
        return key in self._asked_for

    def end_older(self, key: str, version: int) -> bool:
        """Ends an activation older than `version`. Returns whether one here has that version or a newer one."""
        grain = self.activations.get(key)
        if grain is None:
            return False
        if grain._inaho_record is not None and grain._inaho_record.version >= version:
            return True
        self.deactivate_soon(grain, "stale")
        return False

    # Ending.

    def lives(self, grain: Activation) -> bool:
        """Whether `grain` is an activation of this kind that has not ended."""
        return self.activations.get(grain._inaho_key) is grain or (self.pool is not None and grain in self.pool)

    def deactivate_soon(self, grain: Activation, reason: str) -> None:
        """Ends the activation after its running turns; at once when no turn runs.

        Args:
            grain: the activation; nothing happens if it has ended or is ending.
            reason: the argument of `on_deactivate`, see `inaho.core.activation.life.Reason`.
        """
        self.lifecycle.end(grain, reason)

    def remove(self, grain: Activation, error: InahoError | None = None) -> None:
        """Removes an ended activation from all tables.

        Args:
            grain: the activation.
            error: why it failed to start, raised to those that wait for its start.
        """
        pool = self.pool
        if self.activations.get(grain._inaho_key) is grain:
            if pool is not None:
                pool.retire(grain, "first one gone")
            del self.activations[grain._inaho_key]
            if self._hides:
                show(grain)
            self.timers.end(grain)
            self.around.leases.ended(grain._inaho_lease)
            self.around.count.ended()
            if self.kind.placed:
                self.around.ownership.placed_ended(self.name, grain)
                self.around.freshness.ended(self.name, grain._inaho_key)
            if self.draining.moving:
                self.draining.activation_ended(grain)
            self.gates.open(grain._inaho_key, error)
        elif pool is not None and pool.remove(grain):
            self.timers.end(grain)
            self.around.leases.ended(grain._inaho_lease)
            self.around.count.ended()

    def show_all(self) -> Iterator[None]:
        """Puts all activations back on the collector's list, one per step: they will not be ended."""
        for grain in tuple(self.activations.values()) if self._hides else ():
            show(grain)
            yield
        show(self.activations)

    def drop_all(self, reason: str) -> None:
        """Ends all activations, except those of the runtime."""
        if not self.system:
            self.draining.end_all(reason)

    @property
    def is_stopping(self) -> bool:
        """Whether code of grains is cancelled because the node or its program ends."""
        return self.around.services.is_stopping

    # For grains, see `GrainHost`.

    async def save(self, grain: Activation, record: StateRecord) -> None:
        """See `Grain.save`."""
        await self.around.states.save(self, grain, record)

    async def clear(self, grain: Activation, record: StateRecord) -> None:
        """See `Grain.clear`."""
        await self.around.states.clear(self, grain, record)

    def start_timer(
        self,
        grain: Activation,
        callback: Callable[..., object] | str,
        interval_s: float | None,
        arguments: tuple[Any, ...],
        *,
        first_s: float | None,
        keep_alive: bool,
        timeout_s: float | None,
    ) -> Timer:
        """See `Grain.timer`."""
        return self.timers.start(
            grain, callback, interval_s, arguments, first_s=first_s, keep_alive=keep_alive, timeout_s=timeout_s
        )

    @property
    def cluster(self) -> Any:
        """See `Grain.cluster`."""
        return self.around.services.cluster

    @property
    def reminders(self) -> Reminders:
        """See `GrainHost.reminders`."""
        return self.around.services.reminders

    def is_next(self, key: str, topic: str, publisher: str, sequence: int, published_at: float) -> bool:
        """See `LatestReceived.is_next`."""
        return self._received.is_next(key, topic, publisher, sequence, published_at)

    # For turns, see `TurnHost`.

    def turn_failed(self, turn: Turn, error: BaseException) -> None:
        """Applies the failure policy of the kind to a turn that has raised `error` and is not released yet."""
        turn_failed(self, turn, error)

    def turn_waits(self, grain: Activation) -> None:
        """A turn waits at an activation that is not active."""
        self.lifecycle.turn_waits(grain)

    def at_rest(self, grain: Activation) -> None:
        """No turn runs any more at an activation that is not active."""
        self.lifecycle.at_rest(grain)

    def is_unproved(self, grain: Activation) -> bool:
        """Whether a stream may yield nothing more until `until_proved` returns."""
        return self.lifecycle.is_unproved(grain)

    async def until_proved(self, grain: Activation) -> None:
        """Returns when a proof has shown that the activation has the stored state. Raises as `Proofs.passed`."""
        await self.around.freshness.passed(grain)

    def waits_for_previous_owner(self, grain: Activation) -> bool:
        """Whether an activation is starting and its previous owner must release it first."""
        if self.lifecycle.state_of(grain) is not ActivationState.ACTIVATING:
            return False
        return self.around.ownership.has_previous(self.name, grain._inaho_key)
