"""Counts the turns that run and wait on one node, by kind, on request (SPEC CL-6.3).

A turn that ends in its first step is never counted, since no request can come during that step. A turn that suspends
has a worker, and a waiting turn is in a queue. So this module remembers the workers, and the queues in which a turn has
begun to wait. The cost of a request depends on the present work, not on the number of idle activations.

Why not counters per kind: each turn would change two of them, on the path of every call.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from inaho.core.rpc.turns import TurnQueue
from inaho.runtime.grains.activation import Turn

if TYPE_CHECKING:
    from inaho.runtime.turns.worker import Worker

__all__ = ["TurnLoad"]

QUEUES_MIN: Final = 256
"""This many queues are remembered before the empty ones are removed."""


class TurnLoad:
    """The turns of one node that have not ended.

    Args:
        ready: turns that may run and have not begun; the runner changes it.

    Attributes:
        workers: all workers that have a Task, including idle ones.
    """

    def __init__(self, ready: Collection[Turn]) -> None:
        self._ready = ready
        self.workers: dict[Worker, None] = {}
        self._queues: dict[TurnQueue[Turn], None] = {}
        self._queues_max = QUEUES_MIN

    def waits(self, queue: TurnQueue[Turn]) -> None:
        """Remembers a queue in which a turn has begun to wait."""
        self._queues[queue] = None
        if len(self._queues) > self._queues_max:
            self._forget_empty()

    def running(self) -> dict[str, int]:
        """Turns that run, by the name of their kind."""
        counts: dict[str, int] = {}
        begun = (worker.turn for worker in self.workers)
        for turn in (*(turn for turn in begun if turn is not None), *self._ready):
            name = turn.grain._inaho_host.name
            counts[name] = counts.get(name, 0) + 1
        return counts

    def waiting(self) -> dict[str, int]:
        """Turns that wait in the queues of their activations, by the name of their kind."""
        self._forget_empty()
        counts: dict[str, int] = {}
        for queue in self._queues:
            name = queue.waiting[0].grain._inaho_host.name
            counts[name] = counts.get(name, 0) + len(queue.waiting)
        return counts

    def _forget_empty(self) -> None:
        self._queues = {queue: None for queue in self._queues if queue.waiting}
        self._queues_max = max(QUEUES_MIN, 2 * len(self._queues))

    def check(self) -> None:
        """Asserts the bound of the remembered queues."""
        assert len(self._queues) <= self._queues_max
