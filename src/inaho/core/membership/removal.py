"""Decides when an unreachable member is removed, and which member announces it.

All members see the same unreachable member, and one statement is enough. So they take turns: the first by authority
makes the statement when the time is up, each further one an interval later, if the member is still not removed. Why not
one leader: it may be the member that died.
"""

from __future__ import annotations

from typing import Final

__all__ = ["RemovalClock"]

RANK_MAX: Final = 3


class RemovalClock:
    """Members that are unreachable, with when each is to be removed by this node.

    Args:
        wait_s: see `MembershipConfig.remove_unreachable_after_s`.
        turn_s: time between the turns of two members.
    """

    def __init__(self, wait_s: float, turn_s: float) -> None:
        self._wait_s = wait_s
        self._turn_s = turn_s
        self._due: dict[str, float] = {}
        # Since when each has been unreachable here, seconds.
        self._since: dict[str, float] = {}

    def watch(self, now: float, authority: str, rank: int) -> None:
        """The member became unreachable; `rank` counts the members whose turn is before this node's."""
        self._since.setdefault(authority, now)
        self._due.setdefault(authority, now + self._wait_s + self._turn_s * min(rank, RANK_MAX))

    def forget(self, authority: str) -> None:
        """The member is back or removed."""
        self._due.pop(authority, None)
        self._since.pop(authority, None)

    def since(self, authority: str) -> float | None:
        """When the member became unreachable to this node, None while it is not."""
        return self._since.get(authority)

    def put_off(self, now: float, authority: str) -> None:
        """The member was due and could not be removed: tries again a turn later."""
        self._due[authority] = now + self._turn_s

    def clear(self) -> None:
        """Forgets all."""
        self._due.clear()
        self._since.clear()

    def due(self, now: float) -> list[str]:
        """Members that this node removes now."""
        if not self._due:
            return []
        ready = [authority for authority, at in self._due.items() if at <= now]
        for authority in ready:
            del self._due[authority]
        return ready

    def next_deadline(self) -> float | None:
        """When the next one is due."""
        return min(self._due.values()) if self._due else None
