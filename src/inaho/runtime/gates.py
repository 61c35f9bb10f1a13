"""Waiting until an activation has come up, or is gone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inaho.errors import InahoError

__all__ = ["Gates"]


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


def _retrieve(gate: asyncio.Future[None]) -> None:
    """Whoever waited may have gone; the failure was published in any case."""
    if not gate.cancelled():
        gate.exception()
