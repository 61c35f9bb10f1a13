"""Numbers the openings of logs, so that an append that was sent before its log was opened again can no longer commit.

The epoch keeps other keepers out, but not what the same keeper has sent: after an append with an unknown outcome it
opens its log again with its own epoch, and the end of the log says whether the append is there. That must stay true. A
server that stood still may find the append in its buffers only then. So the log stores who has opened it and how often,
and an append carries both: one of an earlier opening by the same storage object is refused.

An opening with the same epoch by another object is no reason to refuse: epochs tell keepers apart.
"""

from __future__ import annotations

from itertools import count
from typing import Final

from inaho.errors import LogConflict
from inaho.storage.instances import new_instance
from inaho.storage.log.base import LogBounds

__all__ = ["Openings", "opened_again"]

OPENINGS_MAX: Final = 65_536
"""Logs whose number is remembered. Appends to others are compared by epoch and offset only."""


class Openings:
    """The openings of logs by one storage object.

    Attributes:
        opener: id of the object.
    """

    def __init__(self) -> None:
        self.opener = new_instance()
        self._numbers = count(1)
        self._of: dict[str, int] = {}

    def next(self) -> int:
        """The number of an opening that begins; greater than those before."""
        return next(self._numbers)

    def opened(self, log: str, number: int) -> None:
        """The opening of that number has succeeded."""
        self._of.pop(log, None)
        self._of[log] = number
        if len(self._of) > OPENINGS_MAX:
            del self._of[next(iter(self._of))]

    def of(self, log: str) -> int:
        """The number of the last opening of the log; 0 if it is not known."""
        return self._of.get(log, 0)


def opened_again(log: str, bounds: LogBounds) -> LogConflict:
    """The error of a write that epoch and offset allow, and that was sent before the log was opened last, or at all."""
    reason = f"log {log!r} was opened after this write was sent, or never"
    return LogConflict(reason, identity=log, end=bounds.end, epoch=bounds.epoch)
