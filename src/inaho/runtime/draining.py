"""Ending activations that a topology has given to others, a slice at a time.

The new owner asks for the identities that are called (`PartitionBridge`), so nobody waits for this walk. It frees the
rest, and when it is through and the last of them has ended, the partitions are drained and the new owners are told.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from inaho.runtime.passivation import STOP_SLICE

if TYPE_CHECKING:
    from inaho.runtime.kind import KindHost

__all__ = ["Draining"]

DRAIN_SLICE: Final = 500
"""Activations looked at per turn of the loop: about a millisecond, of which a call waits for one at the most."""


class Draining:
    """The walk over the activations of one kind after a change of owners (SPEC VA-2.4).

    Attributes:
        moving: keys of activations that end because another node owns them.
        walking: not all activations have been looked at since the last change.
    """

    def __init__(self, host: KindHost) -> None:
        self.moving: set[str] = set()
        self.walking = False
        self._host = host
        self._left: Iterator[str] = iter(())

    def begin(self) -> None:
        """Owners have changed: looks at all activations, again if it was about to."""
        self._left = iter(tuple(self._host.activations))
        if not self.walking:
            self.walking = True
            self._step()

    def _step(self) -> None:
        host = self._host
        keeps = host.node.leases.keeps
        stops = 0
        for looked, key in enumerate(self._left, 1):
            grain = host.activations.get(key)
            if grain is not None and not keeps(host, grain):
                self.moving.add(key)
                host.deactivate_soon(grain, "moved")
                stops += not host.kind.plain_stop
            elif grain is not None and host.kind.placed:
                host.node.holdings.look(host, grain)
            if looked == DRAIN_SLICE or stops == STOP_SLICE:
                host.node.loop.call_soon(self._step)
                return
        self.walking = False
        if not self.moving:
            host.node.bridge.tell_drained()

    def ended(self, grain: Any) -> None:
        """An activation has ended, for whatever reason."""
        self.moving.discard(grain._inaho_key)
        if not self.moving and not self.walking:
            self._host.node.bridge.tell_drained()
