"""What the log of one partition of stored sends contains, and what callers see of a stored send.

A send is written once, and small records that follow it say what became of it. A keeper that starts reads the log from
its first record and has the state of its predecessor. An entry that has to stay for long is written again at the end of
the log, with all that is known of it, so that what is before it can be trimmed. The last record of an entry counts.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

__all__ = ["ClockSet", "DurableSend", "NewSend", "SendFailed", "SendRecord", "SendsSettled", "StoredSend", "made_id"]


def made_id(sender: str, sequence: int) -> str:
    """The id of a send to which its sender gave none."""
    return f"{sender}-{sequence}"


class DurableSend(msgspec.Struct, frozen=True, array_like=True):
    """A call of a grain that is stored, as `Cluster.send` returns it and `Cluster.durable_sends` lists it.

    Attributes:
        id: given by the sender, otherwise made; unique among the sends to the grain.
        kind, key: of the grain.
        method: its name.
        due: Unix seconds from which it may run, by the clock of the node that keeps it.
        attempts: calls that have failed so far.
        dead: it was given up after too many attempts and is a dead letter.
        reason: why the last attempt failed; empty if none did.
    """

    id: str
    kind: str
    key: str
    method: str
    due: float
    attempts: int = 0
    dead: bool = False
    reason: str = ""


class NewSend(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A send that is to be stored.

    Attributes:
        kind, key: of the grain.
        method: its name.
        arity: number of arguments in `body`.
        body: the key and the arguments, as in the body of a call.
        after_s: seconds from now until it is due; 0 sends it in the order of the sends to the grain.
        id: of the sender, for deduplication; empty for none.
    """

    kind: str
    key: str
    method: str
    arity: int
    body: bytes
    after_s: float = 0.0
    id: str = ""


class StoredSend(msgspec.Struct, frozen=True, array_like=True, tag=1, gc=False):
    """One send with what is known of it.

    Attributes:
        number: of the send in its partition, from 1; sends to a grain run in this order unless delayed.
        sender, sequence: node id of the sender, and the number of the send there: a repeated request is recognised.
        kind, key, method, arity, body, id: see `NewSend`.
        due: Unix seconds.
        delayed: it was sent with a delay.
        attempts, dead, reason: see `DurableSend`.
        settled_at: Unix seconds when it had run or was cancelled; 0 if neither. Only its id is kept then.
    """

    number: int
    sender: str
    sequence: int
    kind: str
    key: str
    method: str
    arity: int
    body: bytes
    id: str
    due: float
    delayed: bool = False
    attempts: int = 0
    dead: bool = False
    reason: str = ""
    settled_at: float = 0.0

    @property
    def name(self) -> str:
        """The id by which callers know it."""
        return self.id or made_id(self.sender, self.sequence)

    @property
    def handle(self) -> DurableSend:
        """What callers see of it."""
        return DurableSend(self.name, self.kind, self.key, self.method, self.due, self.attempts, self.dead, self.reason)


class SendsSettled(msgspec.Struct, frozen=True, array_like=True, tag=2, gc=False):
    """These sends have run or were cancelled, about at Unix time `at`."""

    at: float
    numbers: list[int]

    def applied(self, send: StoredSend) -> StoredSend:
        """A send after it of which the id stays."""
        return msgspec.structs.replace(send, body=b"", settled_at=self.at)


class SendFailed(msgspec.Struct, frozen=True, array_like=True, tag=3, gc=False):
    """Attempts of one send so far. A dead letter that is sent again has 0 and is not dead any more."""

    number: int
    attempts: int
    dead: bool
    reason: str

    def applied(self, send: StoredSend) -> StoredSend:
        """The send after it."""
        return msgspec.structs.replace(send, attempts=self.attempts, dead=self.dead, reason=self.reason)


class ClockSet(msgspec.Struct, frozen=True, array_like=True, tag=4, gc=False):
    """The wall clock of the keeper was set by `by_s` seconds when it showed `before`; delays keep their length."""

    before: float
    by_s: float

    def applied(self, send: StoredSend) -> StoredSend:
        """The send after it."""
        if send.settled_at:
            return msgspec.structs.replace(send, settled_at=send.settled_at + self.by_s)
        return msgspec.structs.replace(send, due=self.moved(send.due)) if send.delayed else send

    def moved(self, due: float) -> float:
        """A time after it; one that had come stays in the past."""
        return due + self.by_s if due > self.before else min(due, self.before + self.by_s)


SendRecord: TypeAlias = StoredSend | SendsSettled | SendFailed | ClockSet
