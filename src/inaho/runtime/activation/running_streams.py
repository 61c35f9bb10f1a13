"""Runs streams beside the turns of their activations. An activation with a running stream is not idle.

A stream ends with its activation: once another activation may exist, a generator of the old one would yield outdated
items, and its changes would be lost. The stream is interrupted after the last turn and before `on_deactivate`, so that
`on_deactivate` runs alone. It is not interrupted during a save, because the outcome of the save would be unknown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from inaho.core.activation.life import ActivationState
from inaho.errors import InahoError, Pending

if TYPE_CHECKING:
    from inaho.runtime.activation.activation_host import ActivationHost
    from inaho.runtime.grains.activation import Activation, Turn
    from inaho.runtime.turns.streams import StreamProducer

__all__ = ["StreamTurns"]

CLOSE_S: Final = 5.0
"""How long an ending activation waits for its generators to clean up. Then their clean-up is interrupted too."""


class StreamTurns:
    """The streams of one kind on one node. `grain in streams`: whether an activation has running streams."""

    def __init__(self, host: ActivationHost) -> None:
        self._host = host
        self._running: dict[int, dict[StreamProducer, None]] = {}
        """By `id` of the activation, since users may define `__eq__`."""

    def __contains__(self, grain: Activation) -> bool:
        return id(grain) in self._running

    def __len__(self) -> int:
        return len(self._running)

    def start(self, producer: StreamProducer, done: Callable[[], object]) -> None:
        """Runs a stream; `done` is called when it has ended."""
        self._host.local.spawn(self._run(producer, done), name=f"inaho-stream-{self._host.name}")

    def interrupt(self, grain: Activation, reason: str) -> list[asyncio.Task[Any]]:
        """Ends the streams of an activation; consumers are notified at once.

        Args:
            grain: the activation.
            reason: as for `on_deactivate`.

        Returns:
            The Tasks that close the generators.
        """
        producers = list(self._running.get(id(grain), ()))
        for producer in producers:
            producer.end(reason)
        return [producer.turn.task for producer in producers if producer.turn.task is not None]

    async def end(self, grain: Activation, reason: str) -> None:
        """As `interrupt`; returns when the generators are closed, or after `CLOSE_S`."""
        if grain not in self:
            return
        record = grain._inaho_record
        if record is None:
            tasks = self.interrupt(grain, reason)
        else:
            async with record.writing():  # a save that is under way ends first
                tasks = self.interrupt(grain, reason)
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=CLOSE_S)
        for task in late:
            task.cancel()
        if late:
            self._host.local.log.warning("%d streams of %s did not end in %s s", len(late), grain.identity, CLOSE_S)

    async def _run(self, producer: StreamProducer, done: Callable[[], object]) -> None:
        turn = producer.turn
        try:
            turn.task = asyncio.current_task()
            if turn.cancelled:  # before it had a Task to cancel
                return
            await self._wait_until_up(turn)
            self._running.setdefault(id(turn.grain), {})[producer] = None
            await producer.run()
        except InahoError as error:  # no activation started; the producer reports what the generator raises
            producer.sink.send_failure(error)
        finally:
            turn.over = True  # a Task that the generator has started may still run
            self._remove(producer)
            done()

    def _remove(self, producer: StreamProducer) -> None:
        grain = producer.turn.grain
        running = self._running.get(id(grain))
        if running is not None and producer in running:
            del running[producer]
            if not running:
                del self._running[id(grain)]
                grain._inaho_touched = self._host.local.now

    async def _wait_until_up(self, turn: Turn) -> None:
        """Returns when the turn's activation, or its successor, accepts calls. Raises if no activation starts."""
        host = self._host
        key = turn.grain._inaho_key
        made = False
        while True:
            grain = host.activations.get(key)
            if grain is None:
                if made:  # `on_activate` may end the activation each time
                    reason = "the activation ended as soon as it had started"
                    raise Pending(reason, identity=f"{host.name}/{key}", authority=host.authority)
                grain = host.activate(key)
                made = True
            turn.grain = grain
            state = host.lifecycle.state_of(grain)
            if state is ActivationState.ACTIVE:
                return
            if state is ActivationState.UNPROVED:
                await host.until_proved(grain)
            else:
                await host.gates.wait(key)
