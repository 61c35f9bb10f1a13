"""Holds which authorities an operator has blocked; per authority the highest counter holds.

The list is kept beside the members and not in their records, because it outlives incarnations: a blocked node that
restarts is still blocked.
"""

from __future__ import annotations

from collections.abc import Iterable

from inaho.core.messages import BlockNotice

__all__ = ["BlockList"]


class BlockList:
    """A last-writer-wins map with a counter per authority.

    Args:
        size_max: most authorities ever named; further ones are refused.
    """

    def __init__(self, size_max: int) -> None:
        self._size_max = size_max
        self._notices: dict[str, BlockNotice] = {}
        self._sorted: tuple[BlockNotice, ...] | None = ()
        # Sum of the counters: grows with every change, and is equal for equal lists.
        self.version = 0
        # Copies of all that `check` has found sound last.
        self._sound: tuple[object, ...] = ()

    @property
    def blocked(self) -> tuple[str, ...]:
        """Authorities that may hold no activation, sorted."""
        return tuple(notice.authority for notice in self.notices if notice.blocked)

    @property
    def notices(self) -> tuple[BlockNotice, ...]:
        """All notices, those of unblocked authorities included, sorted by authority."""
        if self._sorted is None:
            self._sorted = tuple(self._notices[authority] for authority in sorted(self._notices))
        return self._sorted

    def notice(self, authority: str) -> BlockNotice | None:
        """The notice about that authority; None when there is none."""
        return self._notices.get(authority)

    def set(self, authority: str, blocked: bool) -> BlockNotice | None:
        """Applies an operator's order; None when it changes nothing or the list is full."""
        held = self._notices.get(authority)
        if blocked == (held is not None and held.blocked):
            return None
        notice = BlockNotice(authority, 1 if held is None else held.counter + 1, blocked)
        return notice if self.merge((notice,)) else None

    def merge(self, notices: Iterable[BlockNotice]) -> list[BlockNotice]:
        """Takes over newer notices; at equal counters a block wins over an unblock. Returns what changed."""
        changed: list[BlockNotice] = []
        for notice in notices:
            held = self._notices.get(notice.authority)
            if held is None:
                if len(self._notices) >= self._size_max:
                    continue
            elif (held.counter, held.blocked) >= (notice.counter, notice.blocked):
                continue
            self.version += notice.counter - (0 if held is None else held.counter)
            self._notices[notice.authority] = notice
            self._sorted = None
            changed.append(notice)
        return changed

    def check(self) -> None:
        """Asserts the invariants."""
        notices = self._notices
        if (self.version, self._sorted, notices) != self._sound:
            assert len(notices) <= self._size_max
            assert self._sorted is None or notices.keys() == {notice.authority for notice in self._sorted}
            assert self.version == sum(notice.counter for notice in notices.values())
            self._sound = (self.version, self._sorted, notices.copy())
