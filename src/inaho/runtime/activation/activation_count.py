"""Counts the activations of one node, without system grains, and waits until there are none."""

from __future__ import annotations

import asyncio

__all__ = ["ActivationCount"]


class ActivationCount:
    """Counts the activations of one node.

    Args:
        loop: the node's.

    Attributes:
        count: activations of all kinds, including those that start or end.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.count = 0
        self._loop = loop
        self._empty: asyncio.Future[None] | None = None

    def ended(self) -> None:
        """Counts one activation less."""
        self.count -= 1
        if not self.count and self._empty is not None and not self._empty.done():
            self._empty.set_result(None)

    async def wait_none(self, within_s: float) -> bool:
        """Waits at most `within_s` seconds until no activation is left. Returns whether none is left."""
        if self.count:
            self._empty = self._loop.create_future()
            await asyncio.wait((self._empty,), timeout=within_s)
        return not self.count
