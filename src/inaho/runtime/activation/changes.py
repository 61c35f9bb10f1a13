"""The Tasks that start, end and reset activations, and gates for callers that wait for this."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from inaho.errors import InahoError
    from inaho.runtime.grains.activation import Activation
    from inaho.runtime.local.local_node import LocalNode

__all__ = ["Change", "Changes", "Gates"]


class Gates:
    """Lets callers wait until the activation of a key has started or ended. Only keys with waiters have a gate."""

    def __init__(self) -> None:
        self._gates: dict[str, asyncio.Future[None]] = {}

    def __len__(self) -> int:
        return len(self._gates)

    async def wait(self, key: str) -> None:
        """Returns when the activation has started or ended; raises the error when it failed to start."""
        gate = self._gates.get(key)
        if gate is None:
            gate = self._gates[key] = asyncio.get_running_loop().create_future()
            gate.add_done_callback(_retrieve)
        await asyncio.wait((gate,))  # not a shield: its failure is lost on a waiter that is cancelled just then
        gate.result()

    def open(self, key: str, error: InahoError | None) -> None:
        """Wakes all that wait for `key`; with the error if its activation failed to start."""
        gate = self._gates.pop(key, None)
        if gate is None or gate.done():
            return
        if error is None:
            gate.set_result(None)
        else:
            gate.set_exception(error)


class Change(msgspec.Struct, eq=False, frozen=True):
    """The start, end or reset of one activation, while it is under way.

    Attributes:
        grain: the activation.
        what: `activate`, `deactivate` or `reset`.
        task: the Task that does it.
        since: when it began, seconds of the node's clock.
    """

    grain: Activation
    what: str
    task: asyncio.Task[None]
    since: float


class Changes:
    """The changes of one kind's activations that are under way, at most one per activation.

    A change is late by its own time, not by that of the lease: the lease may be revoked, in no ledger, or still active.

    Args:
        local: the node.
        kind: name of the kind.
        waits: whether a starting activation, for which calls wait, still waits for its previous owner.
    """

    def __init__(self, local: LocalNode, kind: str, waits: Callable[[Activation], bool]) -> None:
        self._local = local
        self._kind = kind
        self._waits = waits
        self._changes: dict[int, Change] = {}
        """In the order in which they began, by `id` of the activation: a stateless kind has several of one key."""

    def begin(self, grain: Activation, what: str, coroutine: Coroutine[Any, Any, None]) -> None:
        """Runs `coroutine` as a change; for `what` see `Change`."""
        task = self._local.spawn(coroutine, name=f"inaho-{what}-{self._kind}")
        change = Change(grain, what, task, self._local.now)
        self._changes.pop(id(grain), None)
        self._changes[id(grain)] = change
        task.add_done_callback(lambda _: self._ended(change))

    def late(self, limit_s: float) -> list[Change]:
        """Removes and returns the changes that are under way for `limit_s` or longer, the oldest first.

        The time of an activation that still waits for a previous owner, and for which calls wait, begins anew instead.
        """
        found = list[Change]()
        for change in self._changes.values():
            if self._local.now - change.since < limit_s:
                break
            found.append(change)
        for change in found:
            self._ended(change)
        waiting = [change for change in found if change.what == "activate" and self._waits(change.grain)]
        for change in waiting:
            found.remove(change)
            self._changes[id(change.grain)] = msgspec.structs.replace(change, since=self._local.now)
        return found

    def cancel(self, grain: Activation) -> None:
        """Cancels the change of an activation, if one is under way."""
        change = self._changes.get(id(grain))
        if change is not None:
            change.task.cancel()

    def _ended(self, change: Change) -> None:
        if (current := self._changes.get(id(change.grain))) is not None and current.task is change.task:
            del self._changes[id(change.grain)]


def _retrieve(gate: asyncio.Future[None]) -> None:
    """Retrieves the error, since all waiters may have been cancelled. The failure was published in any case."""
    if not gate.cancelled():
        gate.exception()
