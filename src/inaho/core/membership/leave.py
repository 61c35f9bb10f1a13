"""Decides the steps of a graceful leave: announce `LEAVING`, drain, announce `REMOVED`, wait until others know.

Each announcement waits until enough peers have acknowledged the table that contains it, or until a time limit: a peer
that does not answer must not keep a node from leaving. A peer that missed the announcement detects the silence later.
"""

from __future__ import annotations

from typing import Final

from inaho.errors import IllegalTransition

__all__ = ["LeavePhase", "Leaver"]

LeavePhase = str
STAYING: Final[LeavePhase] = "staying"
DRAINING: Final[LeavePhase] = "draining"
TELLING: Final[LeavePhase] = "telling"
GONE: Final[LeavePhase] = "gone"

TRANSITIONS: Final[dict[LeavePhase, tuple[LeavePhase, ...]]] = {
    STAYING: (DRAINING, GONE),
    DRAINING: (TELLING, GONE),
    TELLING: (GONE,),
    GONE: (),
}


class Leaver:
    """The leave of one node.

    Args:
        acknowledge_wait_s: longest time that an announcement waits for acknowledgements.
    """

    def __init__(self, acknowledge_wait_s: float) -> None:
        self._acknowledge_wait_s = acknowledge_wait_s
        self.phase = STAYING
        self._hold_until = 0.0
        self._told_by = 0.0
        self._told = False

    def start(self, now: float, hold_s: float) -> None:
        """`LEAVING` was announced; activations may drain for `hold_s`.

        Raises:
            IllegalTransition: a leave is going on already.
        """
        self._become(DRAINING)
        self._hold_until = now + hold_s
        self._announced(now)

    def drained(self, now: float) -> None:
        """Nothing is left to wait for."""
        self._hold_until = min(self._hold_until, now)

    def may_remove(self, now: float) -> bool:
        """Whether `REMOVED` may be announced: drained, and `LEAVING` acknowledged."""
        return self.phase is DRAINING and now >= self._hold_until and self._is_told(now)

    def removing(self, now: float) -> None:
        """`REMOVED` was announced."""
        self._become(TELLING)
        self._announced(now)

    def may_go(self, now: float) -> bool:
        """Whether the leave is complete."""
        return self.phase is TELLING and self._is_told(now)

    def gone(self) -> None:
        """The leave is complete."""
        self._become(GONE)

    def told(self) -> None:
        """Enough peers have acknowledged the last announcement."""
        self._told = True

    def next_deadline(self) -> float | None:
        """When waiting ends without acknowledgements."""
        if self.phase is DRAINING:
            return self._hold_until if self._told else max(self._hold_until, self._told_by)
        return self._told_by if self.phase is TELLING else None

    def _announced(self, now: float) -> None:
        self._told = False
        self._told_by = now + self._acknowledge_wait_s

    def _is_told(self, now: float) -> bool:
        return self._told or now >= self._told_by

    def _become(self, phase: LeavePhase) -> None:
        if phase not in TRANSITIONS[self.phase]:
            raise IllegalTransition(f"a leave cannot go from {self.phase} to {phase}")
        self.phase = phase

    def check(self) -> None:
        """Asserts the invariants."""
        assert self.phase in TRANSITIONS
