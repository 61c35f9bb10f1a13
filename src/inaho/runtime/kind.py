"""One kind on one node: its activations, how they come up, and how they end.

A stateless activation without hooks is a dict entry, made and dropped between two calls. Where something must be
awaited (state to load, `on_activate`, `on_deactivate`) the activation's queue is *held*: calls that arrive meanwhile
wait in their order and see nothing of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from inaho.core.activation.idle import IdleWheel
from inaho.core.identity.identity import validate_key
from inaho.core.rpc.turns import TurnQueue
from inaho.errors import (
    ActivationFailed,
    InahoError,
    Overloaded,
)
from inaho.events import ActivationFailed as ActivationFailedEvent
from inaho.events import ActivationPassivated, ActivationStarted, ActivationTerminated
from inaho.runtime.grain_state import load_state
from inaho.runtime.placement_actor import ActivationRecord
from inaho.runtime.turn import SIGNALS, Turn
from inaho.types import Pid
from inaho.wire.exceptions import text_of

if TYPE_CHECKING:
    from inaho.runtime.grain import Grain, GrainKind
    from inaho.runtime.node import Node
    from inaho.runtime.streams import StreamProducer

__all__ = ["KindHost"]

IDLE_SLICE: Final = 1_000
"""Activations looked at per tick when passivating: a few milliseconds at most."""


class KindHost:
    """A kind as one node knows it: to host it, or only to call it.

    Args:
        node: the node.
        kind: what was read from the class.
        hosted: whether activations may live here.

    Attributes:
        name: of the kind.
        activations: by key. The call path looks here first.
        calls, failures: of callers on this node.
        latency: such calls by the bit length of their duration in units of 1.024 us.
        system: it belongs to the runtime: it is not placed, not counted, and stays until the end.
        moving: keys whose activations end because another node owns them now.
    """

    def __init__(self, node: Node, kind: GrainKind, *, hosted: bool) -> None:
        self.node = node
        self.kind = kind
        self.name = kind.name
        self.hosted = hosted
        self.activations: dict[str, Grain[Any]] = {}
        self.calls = 0
        self.failures = 0
        self.latency = [0] * 40
        self.system = False
        self.moving: set[str] = set()
        self._streams: dict[str, int] = {}
        self._gates: dict[str, asyncio.Future[None]] = {}
        ttl_s = node.config.activation.idle_ttl_s if kind.idle_ttl_s is None else kind.idle_ttl_s
        self._idle: IdleWheel | None = IdleWheel(ttl_s) if ttl_s else None

    @property
    def authority(self) -> str:
        """Of this node."""
        return self.node.authority

    # Coming up.

    def activate(self, key: str) -> Grain[Any]:
        """Makes the activation of an identity that this node owns.

        Raises:
            OwnershipChanged: another member owns it.
            ShuttingDown: this node leaves.
            Overloaded: the node has `activation.activations_max` activations.
            ActivationFailed: the user's constructor raised.
            InvalidArguments: the key is no key.
        """
        node = self.node
        node.check_owner(self.name, key)
        validate_key(key)
        if node.activation_count >= node.config.activation.activations_max:
            raise Overloaded(
                f"{node.activation_count} grains are active here (activation.activations_max)",
                identity=f"{self.name}/{key}",
                authority=node.authority,
            )
        kind = self.kind
        grain = self._make(key)
        if kind.has_init:
            self._initialise(grain)
        self.activations[key] = grain
        node.activation_count += 1
        if self._idle is not None:
            self._idle.add(key, node.now)
        if kind.plain_start and kind.state_type is None and node.bridge.last_owner(self.name, key) is None:
            self._started(grain)
        else:
            queue = self._hold(grain)
            queue.starting = True
            node.runner.spawn(self._start(grain, queue), name=f"inaho-activate-{self.name}")
        return grain

    def _make(self, key: str) -> Grain[Any]:
        grain = self.kind.cls.__new__(self.kind.cls)
        grain._inaho_host = self
        grain._inaho_key = key
        grain._inaho_turn = None
        grain._inaho_touched = self.node.now
        grain._inaho_epoch = self.node.next_epoch()
        grain._inaho_record = None
        return grain

    def install(self, key: str) -> None:
        """Makes the one activation of a system kind."""
        self.system = True
        self.activations[key] = self._make(key)

    def _initialise(self, grain: Grain[Any]) -> None:
        try:
            type(grain).__init__(grain)
        except BaseException as error:
            if isinstance(error, SIGNALS):
                raise
            raise self._activation_failed(grain, error) from error

    def _hold(self, grain: Grain[Any]) -> TurnQueue[Turn]:
        """The activation's queue, held: turns wait. What runs goes on."""
        config = self.node.config.activation
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

    async def _start(self, grain: Grain[Any], queue: TurnQueue[Turn]) -> None:
        """Loads state and runs `on_activate`, then lets the waiting turns go; or fails them all."""
        try:
            await self._take_over(grain)
            if self.kind.state_type is not None:
                grain._inaho_record = await load_state(self, grain)
            if not self.kind.plain_start:
                await grain.on_activate()
        except BaseException as error:  # whatever it was, nobody shall wait for this activation
            failure = error if isinstance(error, InahoError) else self._activation_failed(grain, error)
            self._remove(grain, failure)
            self._fail_waiting(queue, failure)
            if isinstance(error, SIGNALS):
                raise
            return
        queue.starting = False
        self._started(grain)
        if queue.ending:
            self.settle(grain, queue)
            return
        queue.held = False
        self._open_gate(grain._inaho_key, None)
        self.node.runner.advance(grain, queue)

    async def _take_over(self, grain: Grain[Any]) -> None:
        """Has the last owner of the partition, if there is one to ask, end its activation first."""
        node = self.node
        if node.bridge.last_owner(self.name, grain._inaho_key) is None:
            return
        record = await node.bridge.take_over(self.name, grain._inaho_key)
        node.check_owner(self.name, grain._inaho_key)  # it may have moved on meanwhile
        if record.epoch >= grain._inaho_epoch:
            grain._inaho_epoch = node.epoch_above(record.epoch)

    async def release(self, key: str) -> ActivationRecord:
        """Ends the activation for its next owner, after its running turns, and tells what it was."""
        grain = self.activations.get(key)
        if grain is None:
            return ActivationRecord(False)
        self.deactivate_soon(grain, "moved")
        while self.activations.get(key) is grain:
            await self._gate(key)
        record = grain._inaho_record
        return ActivationRecord(True, 0 if record is None else record.version, grain._inaho_epoch)

    def _started(self, grain: Grain[Any]) -> None:
        node = self.node
        if node.events_wanted(ActivationStarted):
            identity = grain.identity
            pid = Pid(node.authority, node.node_id, identity)
            node.publish(ActivationStarted(identity=identity, pid=pid, epoch=grain._inaho_epoch))

    def _activation_failed(self, grain: Grain[Any], error: BaseException) -> ActivationFailed:
        reason = f"{type(error).__name__}: {text_of(error)}"
        identity = grain.identity
        self.node.log.warning("activation of %s failed", identity, exc_info=error)
        self.node.publish(ActivationFailedEvent(identity=identity, reason=reason))
        failure = ActivationFailed(reason, identity=str(identity), authority=self.authority)
        failure.__cause__ = error
        return failure

    def _fail_waiting(self, queue: TurnQueue[Turn], error: InahoError) -> None:
        while queue.waiting:
            turn = queue.waiting.popleft()
            self.node.runner.answer_error(turn, error)

    # Ending.

    def deactivate_soon(self, grain: Grain[Any], reason: str) -> None:
        """Ends the activation when its running turns have; at once when there are none."""
        if self.activations.get(grain._inaho_key) is not grain:
            return
        queue = self._hold(grain)
        if queue.ending:
            return
        queue.ending = reason
        if not queue.running:
            self.settle(grain, queue)

    def settle(self, grain: Grain[Any], queue: TurnQueue[Turn]) -> None:
        """Nothing runs in a held queue: if the activation is to end, it ends now."""
        reason = queue.ending
        if not reason or queue.starting:
            return
        if self.kind.plain_stop:
            self._ended(grain, queue, reason)
        else:
            self.node.runner.spawn(self._stop(grain, queue, reason), name=f"inaho-deactivate-{self.name}")

    async def _stop(self, grain: Grain[Any], queue: TurnQueue[Turn], reason: str) -> None:
        try:
            await grain.on_deactivate(reason)
        except BaseException as error:
            self.node.log.warning("on_deactivate of %s failed", grain.identity, exc_info=error)
            if isinstance(error, SIGNALS):
                raise
        finally:
            self._ended(grain, queue, reason)

    def _ended(self, grain: Grain[Any], queue: TurnQueue[Turn], reason: str) -> None:
        """The activation is gone; turns that waited go to its successor, here or elsewhere."""
        self._remove(grain)
        waiting = list(queue.waiting)
        queue.waiting.clear()
        node = self.node
        if node.events_wanted(ActivationTerminated):
            node.publish(ActivationTerminated(identity=grain.identity, reason=reason))
        for turn in waiting:
            if turn.connection is not None:
                turn.connection.running.pop(turn.correlation, None)
            try:
                successor = self.activations.get(grain._inaho_key)
                turn.grain = self.activate(grain._inaho_key) if successor is None else successor
            except InahoError as error:
                node.runner.answer_error(turn, error)
                continue
            node.loop.call_soon(node.runner.submit, turn)

    def _remove(self, grain: Grain[Any], error: InahoError | None = None) -> None:
        if self.activations.get(grain._inaho_key) is grain:
            del self.activations[grain._inaho_key]
            self.node.activation_ended()
            if self.moving:
                self.moving.discard(grain._inaho_key)
                if not self.moving:
                    self.node.bridge.tell_drained()
            self._open_gate(grain._inaho_key, error)

    def passivate(self, now: float) -> None:
        """Unloads activations that were not called for the time to live, a slice at a time."""
        if self._idle is None or not len(self._idle):
            return

        def touched_at(key: str) -> float | None:
            grain = self.activations.get(key)
            if grain is None:
                return None
            return now if grain._inaho_turn is not None or key in self._streams else grain._inaho_touched

        for key in self._idle.due(now, touched_at, IDLE_SLICE):
            grain = self.activations.get(key)
            if grain is None:  # the wheel knew it twice, from an activation before
                continue
            if self.node.events_wanted(ActivationPassivated):
                self.node.publish(ActivationPassivated(identity=grain.identity, idle_s=now - grain._inaho_touched))
            self.deactivate_soon(grain, "idle")

    def drop_unowned(self) -> None:
        """Ends activations that the new topology gives to others (SPEC VA-2.4)."""
        for key, grain in list(self.activations.items()):
            if not self.node.owns(self.name, key):
                self.moving.add(key)
                self.deactivate_soon(grain, "moved")

    def drop_all(self, reason: str) -> None:
        """Ends all activations, those of the runtime excepted."""
        if self.system:
            return
        for grain in list(self.activations.values()):
            self.deactivate_soon(grain, reason)

    # Streams.

    def run_stream(self, producer: StreamProducer, done: Callable[[], object]) -> None:
        """Runs a stream beside the turns of its activation, which is not idle meanwhile."""
        self.node.runner.spawn(self._run_stream(producer, done), name=f"inaho-stream-{self.name}")

    async def _run_stream(self, producer: StreamProducer, done: Callable[[], object]) -> None:
        turn = producer.turn
        key = turn.grain._inaho_key
        self._streams[key] = self._streams.get(key, 0) + 1
        try:
            turn.task = asyncio.current_task()
            if turn.cancelled:  # before there was a Task that could be
                return
            await self._wait_until_up(turn)
            await producer.run()
        except InahoError as error:  # it did not come up; what the generator raises is told by the producer
            producer.sink.send_failure(error)
        finally:
            left = self._streams[key] - 1
            if left:
                self._streams[key] = left
            else:
                del self._streams[key]
                turn.grain._inaho_touched = self.node.now
            done()

    async def _wait_until_up(self, turn: Turn) -> None:
        """Returns when the turn's activation, or its successor, takes calls. Raises why there is none."""
        key = turn.grain._inaho_key
        while True:
            grain = self.activations.get(key)
            if grain is None:
                grain = self.activate(key)
            turn.grain = grain
            queue = grain._inaho_turn
            if not isinstance(queue, TurnQueue) or not queue.held:
                return
            await self._gate(key)

    async def _gate(self, key: str) -> None:
        """Returns when the activation has come up or is gone; raises why it did not come up."""
        gate = self._gates.get(key)
        if gate is None:
            gate = self._gates[key] = self.node.loop.create_future()
            gate.add_done_callback(_retrieve)
        await asyncio.shield(gate)

    def _open_gate(self, key: str, error: InahoError | None) -> None:
        gate = self._gates.pop(key, None)
        if gate is None or gate.done():
            return
        if error is None:
            gate.set_result(None)
        else:
            gate.set_exception(error)


def _retrieve(gate: asyncio.Future[None]) -> None:
    """Whoever waited may have gone; the failure was published in any case."""
    if not gate.cancelled():
        gate.exception()
