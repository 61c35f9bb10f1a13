"""Ends activations in slices: those whose partitions now have other owners, or all.

A new owner asks for the identities that are called (`PartitionBridge`), so no call waits for this walk. It ends the
other activations. When the last of them has ended, the partitions are drained and the new owners are notified.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from inaho.runtime.activation.passivation import STOP_SLICE
from inaho.runtime.grains.activation_turns import running_turns
from inaho.runtime.local.slices import TURN_US

if TYPE_CHECKING:
    from inaho.runtime.activation.activation_host import ActivationHost
    from inaho.runtime.grains.activation import Activation

__all__ = ["Draining"]

STEP_US: Final = 200
"""Length of one step (`Slices`)."""

LOOK_US: Final = 2
PLACED_US: Final = 8
END_US: Final = 20
"""Time to check an activation, to find the owner of a placed one, and to end one that has nothing to wait for."""

STOP_US: Final = TURN_US // STOP_SLICE
"""Time to begin the end of an activation that runs `on_deactivate`: per loop iteration as many as in passivation."""


class Draining:
    """The walk over the activations of one kind after a change of owners (SPEC VA-2.4).

    Attributes:
        moving: keys of activations that end because another node owns them.
        walking: whether the walk is under way.
    """

    def __init__(self, host: ActivationHost) -> None:
        self.moving: set[str] = set()
        self.walking = False
        self._host = host
        self._left: Iterator[str] = iter(())
        self._doomed: list[tuple[Activation, str]] = []

    def begin(self) -> None:
        """Owners have changed: checks all activations, from the start if a walk is under way."""
        self._left = iter(tuple(self._host.activations))
        self._walk()

    def end_all(self, reason: str) -> None:
        """Ends all present activations, whatever node owns them."""
        self._doomed = [(grain, reason) for grain in self._host.activations.values()]
        self._walk()

    def _walk(self) -> None:
        if not self.walking:
            self.walking = True
            self._host.local.slices.add(f"drain-{self._host.name}", self._steps())

    def _steps(self) -> Iterator[int]:
        """Checks the activations that are left. Each step yields an estimate of its microseconds."""
        host = self._host
        look_us = PLACED_US if host.kind.placed else LOOK_US
        while True:
            taken_us = 0
            while taken_us < STEP_US:
                taken_us += look_us
                if self._doomed:
                    grain, reason = self._doomed.pop()
                else:
                    key = next(self._left, None)
                    if key is None:
                        self.walking = False
                        if not self.moving:
                            host.around.ownership.drained(host.name)
                        return
                    found = host.activations.get(key)
                    if found is None:
                        continue
                    if host.around.leases.keeps(host, found):
                        if host.kind.placed:
                            host.around.ownership.placed_looked_at(host.name, found)
                        continue
                    self.moving.add(key)
                    grain, reason = found, "moved"
                host.deactivate_soon(grain, reason)
                taken_us += END_US if host.kind.plain_stop else STOP_US
            yield taken_us

    def interrupt(self, grain: Activation) -> None:
        """Cancels the running turns and hooks of an activation that did not end in time when the node leaves."""
        for turn in running_turns(grain):
            if turn.task is not None:
                turn.task.cancel()
        self._host.changes.cancel(grain)

    def activation_ended(self, grain: Any) -> None:
        """An activation has ended, for any reason: with the last one, the partitions are drained."""
        self.moving.discard(grain._inaho_key)
        if not self.moving and not self.walking:
            self._host.around.ownership.drained(self._host.name)
