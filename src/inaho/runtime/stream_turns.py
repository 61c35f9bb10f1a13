"""Running streams beside the turns of their activations, which are not idle meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from inaho.core.rpc.turns import TurnQueue
from inaho.errors import InahoError

if TYPE_CHECKING:
    from inaho.runtime.kind import KindHost
    from inaho.runtime.streams import StreamProducer
    from inaho.runtime.turn import Turn

__all__ = ["StreamTurns"]


class StreamTurns:
    """The streams of one kind on one node; `key in streams` tells whether an activation has any."""

    def __init__(self, host: KindHost) -> None:
        self._host = host
        self._running: dict[str, int] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._running

    def __len__(self) -> int:
        return len(self._running)

    def start(self, producer: StreamProducer, done: Callable[[], object]) -> None:
        """Runs a stream; `done` is called when it has ended."""
        self._host.node.runner.spawn(self._run(producer, done), name=f"inaho-stream-{self._host.name}")

    async def _run(self, producer: StreamProducer, done: Callable[[], object]) -> None:
        turn = producer.turn
        key = turn.grain._inaho_key
        self._running[key] = self._running.get(key, 0) + 1
        try:
            turn.task = asyncio.current_task()
            if turn.cancelled:  # before there was a Task that could be
                return
            await self._wait_until_up(turn)
            await producer.run()
        except InahoError as error:  # it did not come up; what the generator raises is told by the producer
            producer.sink.send_failure(error)
        finally:
            turn.over = True  # a Task that the generator has started may live on
            left = self._running[key] - 1
            if left:
                self._running[key] = left
            else:
                del self._running[key]
                turn.grain._inaho_touched = self._host.node.now
            done()

    async def _wait_until_up(self, turn: Turn) -> None:
        """Returns when the turn's activation, or its successor, takes calls. Raises why there is none."""
        host = self._host
        key = turn.grain._inaho_key
        while True:
            grain = host.activations.get(key)
            if grain is None:
                grain = host.activate(key)
            turn.grain = grain
            queue = grain._inaho_turn
            if not isinstance(queue, TurnQueue) or not queue.held:
                return
            await host.gates.wait(key)
