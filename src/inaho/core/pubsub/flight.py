"""How much has been published on one connection that the other node has not yet handled, and how much may be.

Calls and probes wait behind what was published before them on the same connection. The buffers of two hosts hold
megabytes, which a node with many subscribers handles in seconds; it would seem dead. So the publisher asks the node to
confirm a frame from time to time, and does not send more than a limit without confirmation. The limit grows while
confirmations come soon, and is halved when they come late. The time over which a confirmation always takes, such as
that of a long way, does not count.
"""

from __future__ import annotations

from collections import deque
from typing import Final

__all__ = ["Flight"]

STEP_BYTES: Final = 32 << 10
"""A confirmation is asked for after so many bytes. By so many the limit grows."""

FIRST_BYTES: Final = 128 << 10
"""The limit on a new connection."""

LATE_S: Final = 0.04
"""A confirmation is late when it takes so much longer than the fastest one."""


class Flight:
    """What was published on one connection.

    Args:
        bytes_max: the largest limit.

    Attributes:
        size: bytes that the node has not confirmed.
        limit: bytes that may be unconfirmed, for now.
        kept: frames that were sent with `kept` and are not confirmed.
    """

    __slots__ = ("_bytes_max", "_fastest_s", "_marks", "_step", "_unmarked", "kept", "limit", "size")

    def __init__(self, bytes_max: int) -> None:
        self.size = 0
        self.limit = min(FIRST_BYTES, bytes_max)
        self.kept = 0
        self._bytes_max = bytes_max
        self._step = min(STEP_BYTES, bytes_max)
        self._unmarked = 0
        self._marks: deque[tuple[int, bool, float]] = deque()
        """Frames to be confirmed: bytes up to each since the one before, whether it is kept, and when it was sent."""
        self._fastest_s = float("inf")

    @property
    def full(self) -> bool:
        """Whether no more may be sent. Then a confirmation is to come."""
        return self.size >= self.limit

    @property
    def low(self) -> bool:
        """Whether nearly all is confirmed."""
        return self.size < self._step

    @property
    def awaited(self) -> bool:
        """Whether a confirmation is to come."""
        return bool(self._marks)

    def add(self, size: int, now: float, *, kept: bool) -> bool:
        """A frame is sent.

        Args:
            size: its bytes.
            now: seconds.
            kept: it has to be confirmed, since it is kept until then.

        Returns:
            Whether the node has to confirm it.
        """
        self.size += size
        self._unmarked += size
        if not kept and self._unmarked < self._step:
            return False
        self._marks.append((self._unmarked, kept, now))
        self._unmarked = 0
        self.kept += kept
        return True

    def confirm(self, now: float) -> bool:
        """The node has handled the oldest frame that it had to confirm; there is one. Returns whether it is kept."""
        size, kept, sent_at = self._marks.popleft()
        self.size -= size
        self.kept -= kept
        taken_s = now - sent_at
        self._fastest_s = min(self._fastest_s, taken_s)
        if taken_s - self._fastest_s > LATE_S:
            self.limit = max(self.limit // 2, self._step)
        elif size >= self._step:
            self.limit = min(self.limit + self._step, self._bytes_max)
        return kept

    def check(self) -> None:
        """Asserts the invariants."""
        assert self.size == self._unmarked + sum(size for size, _, _ in self._marks)
        assert self.kept == sum(kept for _, kept, _ in self._marks)
        assert self._step <= self.limit <= self._bytes_max
        assert not self.full or self.awaited
