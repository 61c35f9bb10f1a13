"""The records that the freshness checker reads: stored values, acknowledged saves, answers, faults.

The records extend those of `grain_history`. A cell (`freshness_workload`) has one value, and every save brings a value
that no other save has. So an answer names the save that it comes from, and the checker needs no version numbers of the
activation that answered: it looks up in the commits of the storage which versions had that content.

An activation may hold a value that is not stored, because a turn failed in the middle of its work or a save has not
returned yet. So each value comes with the one that was saved before it (`before`): such an answer is as old as that.
"""

from __future__ import annotations

from typing import Final

from inaho.testing.histories.grain_history import Record

__all__ = ["EVERYBODY", "Acknowledged", "Doubted", "Fault", "Observed", "StorageFault", "Stored"]


EVERYBODY: Final = "everybody"


class Stored(Record, frozen=True, tag=True, kw_only=True):
    """The storage made this content durable.

    Attributes:
        cell: kind and key.
        version, epoch: of the commit.
        value: the content; empty for a tombstone.
        saver: authority of the node that saved.
    """

    cell: str
    version: int
    epoch: int
    value: str
    saver: str = ""


class StorageFault(Record, frozen=True, tag=True, kw_only=True):
    """A storage operation failed: at this time the storage could not be reached."""

    cell: str


class Acknowledged(Record, frozen=True, tag=True, kw_only=True):
    """A caller has been told that its save is done; a tick or reminder handler that saved is its own caller.

    Attributes:
        cell: kind and key.
        value: that was saved; empty where the state was cleared.
        since: when the call began, seconds.
    """

    cell: str
    value: str
    since: float


class Observed(Record, frozen=True, tag=True, kw_only=True):
    """The value of a cell was seen by a caller, the consumer of a stream, a timer tick or a reminder.

    Attributes:
        cell: kind and key.
        way: `read` (a read-only method), `look` (an ordinary one), `tick`, `reminder` or `item` (of a stream).
        began: when the call began; for a tick or reminder when its handler began; for an item when it was made.
        node: node id of the activation.
        local: whether it was called through the node that has the activation.
        value, before: see the module.
    """

    cell: str
    way: str
    began: float
    node: str
    value: str
    before: str = ""
    local: bool = False


class Fault(Record, frozen=True, tag=True, kw_only=True):
    """The simulator begins or ends a fault from which nodes may come to doubt each other.

    Attributes:
        what: its name, such as `cut 0 1`; a fault ends under the name under which it began.
        active: whether it begins.
    """

    what: str
    active: bool


class Doubted(Record, frozen=True, tag=True, kw_only=True):
    """A node has found a member unreachable, or sees it up again, by the events that it published.

    Attributes:
        node: node id of the node that doubts.
        member: authority of the doubted member; `EVERYBODY` after a pause.
        active: whether the doubt begins.
    """

    node: str
    member: str
    active: bool
