"""What brings activations up and down, and waiting for it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inaho.errors import InahoError
    from inaho.runtime.turns import TurnRunner

__all__ = ["Changes", "Gates"]


class Gates:
    """One gate per key that somebody waits for; nothing for all others."""

    def __init__(self) -> None:
        self._gates: dict[str, asyncio.Future[None]] = {}

    def __len__(self) -> int:
        return len(self._gates)

    async def wait(self, key: str) -> None:
        """Returns when the activation has come up or is gone; raises why it did not come up."""
        gate = self._gates.get(key)
        if gate is None:
            gate = self._gates[key] = asyncio.get_running_loop().create_future()
            gate.add_done_callback(_retrieve)
        await asyncio.wait((gate,))  # not a shield: its failure is lost on a waiter that is cancelled just then
        gate.result()

    def open(self, key: str, error: InahoError | None) -> None:
        """Lets go who waits for `key`; with an error where it did not come up."""
        gate = self._gates.pop(key, None)
        if gate is None or gate.done():
            return
        if error is None:
            gate.set_result(None)
        else:
            gate.set_exception(error)


class Changes:
    """Tasks that bring activations of one kind up or down, by key: one at a time each."""

    def __init__(self, runner: TurnRunner, kind: str) -> None:
        self._runner = runner
        self._kind = kind
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def begin(self, key: str, what: str, coroutine: Coroutine[Any, Any, None]) -> None:
        """Runs it; `what` is for the name of the Task."""
        task = self._tasks[key] = self._runner.spawn(coroutine, name=f"inaho-{what}-{self._kind}")
        task.add_done_callback(lambda done: self._ended(key, done))

    def cancel(self, key: str, why: str) -> bool:
        """Cancels what is under way for `key`; False when nothing is."""
        task = self._tasks.get(key)
        return task is not None and task.cancel(why)

    def _ended(self, key: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(key) is task:
            del self._tasks[key]


def _retrieve(gate: asyncio.Future[None]) -> None:
    """Whoever waited may have gone; the failure was published in any case."""
    if not gate.cancelled():
        gate.exception()
