"""Decides which request may enter the queue of a storage: bounded by number and bytes, first come first served.

Beyond the bound a caller waits in its own coroutine. So the queue never grows past what the configuration says, and
nothing is dropped either.

Why not `asyncio.Semaphore`: it counts one thing, and what fills the memory of a storage is bytes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress

from inaho.config import StorageConfig
from inaho.errors import StorageFailed

__all__ = ["Admission"]


class Admission:
    """The bound of one queue. It belongs to the event loop on which it is made.

    A single request that exceeds the bytes is accepted when it is alone; `StorageConfig` makes sure that no state is so
    large.

    Args:
        config: `queue_requests_max` and `queue_bytes_max` apply.

    Attributes:
        requests: accepted and not yet finished.
        bytes: their sizes together.
        closed: whether `close` was called.
    """

    def __init__(self, config: StorageConfig) -> None:
        self.requests = 0
        self.bytes = 0
        self.closed = False
        self._config = config
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()

    async def enter(self, size: int) -> None:
        """Takes room for a request of `size` bytes, waiting for it. Each entry needs one `leave`.

        Raises:
            StorageFailed: closed, before or meanwhile.
        """
        self._refuse_when_closed()
        if not self._waiting and self._has_room(size):
            self._take(size)
            return
        gate: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append((gate, size))
        try:
            await gate
        except asyncio.CancelledError:
            if gate.cancelled():
                with suppress(ValueError):  # `leave` may have dropped it already
                    self._waiting.remove((gate, size))
            elif gate.exception() is None:  # it got room at the same moment
                self._give(size)
            self._let_in()
            raise
        try:
            self._refuse_when_closed()  # it got room, then the queue was closed before the request could be queued
        except StorageFailed:
            self._give(size)
            raise

    def leave(self, size: int) -> None:
        """Gives the room of a finished request to waiting ones."""
        self._give(size)
        self._let_in()

    def close(self) -> None:
        """Refuses waiting and new requests. Accepted ones stay."""
        self.closed = True
        while self._waiting:
            gate, _ = self._waiting.popleft()
            if not gate.done():
                gate.set_exception(_closed())

    def _refuse_when_closed(self) -> None:
        if self.closed:
            raise _closed()

    def _has_room(self, size: int) -> bool:
        fits = self.bytes + size <= self._config.queue_bytes_max
        return self.requests < self._config.queue_requests_max and (fits or self.requests == 0)

    def _take(self, size: int) -> None:
        self.requests += 1
        self.bytes += size

    def _give(self, size: int) -> None:
        self.requests -= 1
        self.bytes -= size

    def _let_in(self) -> None:
        while self._waiting:
            gate, size = self._waiting[0]
            if not gate.done():
                if not self._has_room(size):
                    return
                self._take(size)
                gate.set_result(None)
            self._waiting.popleft()


def _closed() -> StorageFailed:
    return StorageFailed("the storage was closed", maybe_executed=False)
