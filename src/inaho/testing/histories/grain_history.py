"""The records of what happened to grains, written by an observer: the input of `grain_checkers`.

A history is a list of small records in the order of their times: activations begin and end, nodes change their views,
pause and die, storages commit, callers call and are answered. It says nothing about how any of it came to be, so the
checkers share no code with what they check, and one history serves whole nodes in virtual time as well as processes
that were killed: a record is one line of JSON, written at once (`Journal`), so a file survives the SIGKILL of whoever
wrote it.

Times are seconds of one clock: virtual time in a simulation, the machine's monotonic clock for processes on it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import msgspec

__all__ = [
    "Activation",
    "Answered",
    "Began",
    "Called",
    "Committed",
    "Died",
    "Ended",
    "Failed",
    "Journal",
    "Paused",
    "Record",
    "Refused",
    "Resumed",
    "Saved",
    "Viewed",
    "activations_of",
    "read_journals",
]


class Record(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """One thing that happened at the time `at`."""

    at: float


class Began(Record, frozen=True, tag=True, kw_only=True):
    """An activation of `key` is about to serve on `node`, with that fencing token."""

    node: str
    key: str
    epoch: int


class Ended(Record, frozen=True, tag=True, kw_only=True):
    """The activation that began with these fields runs no user code any more."""

    node: str
    key: str
    epoch: int
    reason: str = ""


class Viewed(Record, frozen=True, tag=True, kw_only=True):
    """From now on `node` has this view: equal texts mean equal owners."""

    node: str
    view: str


class Paused(Record, frozen=True, tag=True, kw_only=True):
    """`node` does not run until `Resumed`."""

    node: str


class Resumed(Record, frozen=True, tag=True, kw_only=True):
    """It runs again."""

    node: str


class Died(Record, frozen=True, tag=True, kw_only=True):
    """`node` never runs again."""

    node: str


class Committed(Record, frozen=True, tag=True, kw_only=True):
    """The storage made this version durable."""

    key: str
    version: int
    epoch: int


class Saved(Record, frozen=True, tag=True, kw_only=True):
    """A save of the activation with these fields returned; `element` is what it brought in."""

    node: str
    key: str
    epoch: int
    element: str = ""


class Refused(Record, frozen=True, tag=True, kw_only=True):
    """A save of the activation with these fields failed with an error of that code."""

    node: str
    key: str
    epoch: int
    code: str


class Called(Record, frozen=True, tag=True, kw_only=True):
    """A call is made: `add` and `put` add `element`, `read` asks for all elements.

    Attributes:
        call: its number, unique in the history.
        again: it may run more than once, as idempotent calls may.
    """

    call: int
    key: str
    method: str
    element: str = ""
    again: bool = False


class Answered(Record, frozen=True, tag=True, kw_only=True):
    """The caller has its answer.

    Attributes:
        call: number of the call.
        count: elements there were, the new one included.
        elements: of a `read`.
        node: that answered, where the answer says so.
    """

    call: int
    count: int = 0
    elements: tuple[str, ...] = ()
    node: str = ""


class Failed(Record, frozen=True, tag=True, kw_only=True):
    """The call failed, and the caller got the error."""

    call: int
    code: str
    maybe_executed: bool = True


_Line = Began | Ended | Viewed | Paused | Resumed | Died | Committed | Saved | Refused | Called | Answered | Failed
_decoder: Final[msgspec.json.Decoder[_Line]] = msgspec.json.Decoder(_Line)


class Journal:
    """Takes records, and keeps them in memory or in a file.

    Args:
        now: seconds of the history's clock.
        path: of a file that is appended to, one system call per record, so that the end of the process takes nothing
            with it (the end of the machine may). None keeps them in `records`.

    Attributes:
        now: as given.
        records: in the order in which they were written.
    """

    def __init__(self, now: Callable[[], float], path: str | os.PathLike[str] | None = None) -> None:
        self.now = now
        self.records: list[Record] = []
        self._file = -1 if path is None else os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, record: Record) -> None:
        """Adds a record."""
        if self._file < 0:
            self.records.append(record)
        else:
            os.write(self._file, msgspec.json.encode(record) + b"\n")

    def close(self) -> None:
        """Closes the file. May be repeated."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def read_journals(paths: Iterable[str | os.PathLike[str]]) -> list[Record]:
    """The history that several processes wrote, in the order of its times. A last line that was cut off is left out."""
    records: list[Record] = []
    for path in sorted(map(str, paths)):
        lines = Path(path).read_bytes().split(b"\n")
        records.extend(_decoder.decode(line) for line in lines[:-1])
    records.sort(key=lambda record: record.at)
    return records


class Activation(msgspec.Struct, frozen=True):
    """One activation from its first moment to its last; `until` is infinite where the history has no end of it."""

    node: str
    key: str
    epoch: int
    since: float
    until: float


def activations_of(history: Iterable[Record]) -> list[Activation]:
    """The activations of a history in the order of their beginnings; the death of a node ends those on it."""
    open_ones: dict[tuple[str, str, int], float] = {}
    closed: list[Activation] = []
    for record in history:
        if isinstance(record, Began):
            open_ones[record.node, record.key, record.epoch] = record.at
        elif isinstance(record, Ended):
            since = open_ones.pop((record.node, record.key, record.epoch), None)
            if since is not None:
                closed.append(Activation(record.node, record.key, record.epoch, since, record.at))
        elif isinstance(record, Died):
            for node, key, epoch in [each for each in open_ones if each[0] == record.node]:
                closed.append(Activation(node, key, epoch, open_ones.pop((node, key, epoch)), record.at))
    closed.extend(Activation(node, key, epoch, since, float("inf")) for (node, key, epoch), since in open_ones.items())
    return sorted(closed, key=lambda activation: (activation.since, activation.key, activation.node))
