"""Keeps the messages of one node that cannot be reached, until it can, or until a bound is met.

A batch is *waiting* while there is no way to the node, and *sent* until the node has confirmed it. What was sent and
not confirmed when the connection breaks waits again, before all others: it may have been lost with the connection. The
node recognises by the sequence numbers what it has already. So nothing within the bounds is lost, nothing comes twice,
and the order stays.

The oldest batches go first when a bound is met. The bounds hold for both stages together; a batch that was sent and
does not fit any more is not lost, only no longer kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

__all__ = ["CutOffQueue", "Kept"]

T = TypeVar("T")


class Kept(Generic[T]):
    """One batch.

    Attributes:
        item: whatever the owner of the queue needs to send it.
        count: its messages.
        size: its bytes.
        at: when it was published, seconds.
    """

    __slots__ = ("at", "count", "item", "size")

    def __init__(self, item: T, count: int, size: int, at: float) -> None:
        self.item = item
        self.count = count
        self.size = size
        self.at = at


class CutOffQueue(Generic[T]):
    """The batches for one node.

    Args:
        messages_max, bytes_max: bounds of what is kept.
        age_s: a batch that waits longer is given up.

    Attributes:
        messages, size: messages and bytes that are kept.
        accepted: messages so far. Each of them is waiting, sent, confirmed, let go or dropped.
        confirmed: messages that the node has.
        let_go: messages that were sent and are no longer kept.
        dropped: messages that were given up.
    """

    def __init__(self, messages_max: int, bytes_max: int, age_s: float) -> None:
        self.messages = 0
        self.size = 0
        self.accepted = 0
        self.confirmed = 0
        self.let_go = 0
        self.dropped = 0
        self._messages_max = messages_max
        self._bytes_max = bytes_max
        self._age_s = age_s
        self._sent: deque[Kept[T] | None] = deque()
        """None for batches that are no longer kept, the first `_not_kept`; their confirmations are still to come."""
        self._not_kept = 0
        self._waiting: deque[Kept[T]] = deque()

    @property
    def waits(self) -> bool:
        """Whether a batch waits, so that later ones have to wait behind it."""
        return bool(self._waiting)

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits and nothing is unconfirmed."""
        return not self._waiting and not self._sent

    def add(self, kept: Kept[T], *, sent: bool) -> list[Kept[T]]:
        """Takes a batch that is sent now (`sent`, only while nothing waits) or waits. Returns what is given up."""
        assert not (sent and self._waiting), "a batch overtakes those that wait"
        self.accepted += kept.count
        self._count(kept, 1)
        (self._sent if sent else self._waiting).append(kept)
        return self._shrink()

    def take(self) -> Kept[T] | None:
        """The next batch that waits, to be sent now; None if there is none."""
        if not self._waiting:
            return None
        kept = self._waiting.popleft()
        self._sent.append(kept)
        return kept

    def connected(self, unconfirmed: int) -> None:
        """There is a connection. On it were sent so many batches that are not kept here, and not yet confirmed."""
        assert not self._sent, "batches that were sent on another connection"
        self._sent.extend([None] * unconfirmed)
        self._not_kept = unconfirmed

    def confirm(self) -> None:
        """The node has the oldest batch that was sent; there is one."""
        kept = self._sent.popleft()
        if kept is None:
            self._not_kept -= 1
        else:
            self._count(kept, -1)
            self.confirmed += kept.count

    def disconnected(self) -> None:
        """The connection is lost: what was sent and not confirmed waits again, first."""
        self._waiting.extendleft(kept for kept in reversed(self._sent) if kept is not None)
        self._sent.clear()
        self._not_kept = 0

    def expire(self, now: float) -> list[Kept[T]]:
        """Gives up batches that have waited too long, and returns them. `now` in seconds."""
        late: list[Kept[T]] = []
        while self._waiting and now > self._waiting[0].at + self._age_s:
            late.append(self._drop())
        return late

    def clear(self) -> list[Kept[T]]:
        """The node has ended: gives up all that waits, and returns it."""
        for kept in self._sent:
            if kept is not None:
                self._let_go(kept)
        self._sent.clear()
        self._not_kept = 0
        return [self._drop() for _ in range(len(self._waiting))]

    def _shrink(self) -> list[Kept[T]]:
        given_up: list[Kept[T]] = []
        while self.messages > self._messages_max or self.size > self._bytes_max:
            if self._not_kept == len(self._sent):
                given_up.append(self._drop())
                continue
            kept = self._sent[self._not_kept]
            assert kept is not None
            self._sent[self._not_kept] = None
            self._not_kept += 1
            self._let_go(kept)
        return given_up

    def _let_go(self, kept: Kept[T]) -> None:
        self._count(kept, -1)
        self.let_go += kept.count

    def _drop(self) -> Kept[T]:
        kept = self._waiting.popleft()
        self._count(kept, -1)
        self.dropped += kept.count
        return kept

    def _count(self, kept: Kept[T], sign: int) -> None:
        self.messages += sign * kept.count
        self.size += sign * kept.size

    def _kept(self) -> Iterator[Kept[T]]:
        yield from (kept for kept in self._sent if kept is not None)
        yield from self._waiting

    def check(self) -> None:
        """Asserts that every message is counted once, and the bounds."""
        assert self.messages == sum(kept.count for kept in self._kept())
        assert self.size == sum(kept.size for kept in self._kept())
        assert [kept is None for kept in self._sent] == [n < self._not_kept for n in range(len(self._sent))]
        assert self.messages <= self._messages_max
        assert self.size <= self._bytes_max
        assert self.accepted == self.confirmed + self.let_go + self.dropped + self.messages
