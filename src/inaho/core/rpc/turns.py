"""Decides which turns of one activation may run and which wait.

A turn is one call at one activation. Turns run one after another, except that read-only turns may run together, and so
may all turns of a reentrant kind. Waiting turns keep their order: a read-only turn that arrives behind a waiting writer
waits too, or writers would never run. There is one exception: a turn that was called (through others) by a turn that is
running here. If it waited, both would wait for ever; so it goes ahead if it is compatible and is refused as a cycle if
not.

A queue exists only while turns contend; an idle activation has none (DESIGN section 8).
"""

from __future__ import annotations

from collections import deque
from typing import Final, Generic, Protocol, TypeVar

from inaho.errors import IllegalTransition

__all__ = ["DROPPED_OLDEST", "QUEUED", "REFUSED", "STARTED", "TurnQueue"]

STARTED: Final = 1
QUEUED: Final = 2
REFUSED: Final = 3
DROPPED_OLDEST: Final = 4


class TurnLike(Protocol):
    """What the queue needs to know of a turn."""

    @property
    def read_only(self) -> bool: ...


TurnType = TypeVar("TurnType", bound=TurnLike)


class TurnQueue(Generic[TurnType]):
    """Running and waiting turns of one activation (SPEC CL-6.3).

    Args:
        reentrant: turns of the kind need not wait for each other.
        depth: most turns that may wait, above 0.
        drop_oldest: what a full queue does: drop the oldest waiting turn, else refuse the new one.
    """

    __slots__ = ("_depth", "_drop_oldest", "_reentrant", "held", "running", "waiting")

    def __init__(self, *, reentrant: bool, depth: int, drop_oldest: bool) -> None:
        self._reentrant = reentrant
        self._depth = depth
        self._drop_oldest = drop_oldest
        self.running: list[TurnType] = []
        self.waiting: deque[TurnType] = deque()
        self.held = False
        """No turn starts, except one for which a running turn waits: the activation is not active."""

    def compatible(self, turn: TurnType, *, ahead: bool = False) -> bool:
        """Whether `turn` may run beside what is running now; for `ahead` see `offer`."""
        if self.held and not ahead:
            return False
        if not self.running or self._reentrant:
            return True
        return turn.read_only and all(other.read_only for other in self.running)

    def offer(self, turn: TurnType, *, ahead: bool = False) -> tuple[int, TurnType | None]:
        """Takes a new turn.

        Args:
            turn: the turn.
            ahead: it was called by a turn that runs here, so it must not wait behind others, nor for the end of a hold:
                these wait for the running turn.

        Returns:
            `STARTED` (it is now among `running`), `QUEUED`, `REFUSED` (the queue is full), or `DROPPED_OLDEST` with the
            turn that made room.
        """
        if (ahead or not self.waiting) and self.compatible(turn, ahead=ahead):
            self.running.append(turn)
            return STARTED, None
        if len(self.waiting) < self._depth:
            self.waiting.append(turn)
            return QUEUED, None
        if not self._drop_oldest:
            return REFUSED, None
        oldest = self.waiting.popleft()
        self.waiting.append(turn)
        return DROPPED_OLDEST, oldest

    def finish(self, turn: TurnType) -> None:
        """`turn` no longer runs.

        Raises:
            IllegalTransition: it did not run.
        """
        if turn not in self.running:
            raise IllegalTransition("a turn that does not run cannot finish")
        self.running.remove(turn)

    def withdraw(self, turn: TurnType) -> bool:
        """Takes a waiting turn out; False when it does not wait."""
        try:
            self.waiting.remove(turn)
        except ValueError:
            return False
        return True

    def next(self) -> TurnType | None:
        """Moves the first waiting turn to the running ones if it may run, and returns it."""
        if self.waiting and self.compatible(self.waiting[0]):
            turn = self.waiting.popleft()
            self.running.append(turn)
            return turn
        return None

    @property
    def idle(self) -> bool:
        """Nothing runs, waits or is held: the queue can be forgotten."""
        return not self.running and not self.waiting and not self.held

    def check(self) -> None:
        """Asserts the invariants: waiting turns are bounded, and a writer runs alone."""
        assert len(self.waiting) <= self._depth, "more turns wait than the depth allows"
        if len(self.running) > 1 and not self._reentrant:
            assert all(turn.read_only for turn in self.running), "a writer runs beside another turn"
