"""A grain, a storage and callers that record what they do, for `grain_checkers`.

`Register` is a set of unique elements and a counter in one: `add` puts an element in and answers how many there are,
so a lost save, a save that happened twice and a stale read all show. Turns can be made to last, since a hand-off that
does not wait is only seen when there is something to wait for.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import msgspec

from inaho.errors import InahoError
from inaho.runtime.cluster.cluster import Cluster
from inaho.runtime.grains.grain import Grain, method
from inaho.storage import MemoryStorage
from inaho.testing.histories.grain_history import (
    Answered,
    Began,
    Called,
    Committed,
    Ended,
    Failed,
    Journal,
    Refused,
    Saved,
)
from inaho.types import ClusterIdentity, MemberStatus, Struct, TopologySnapshot
from inaho.wire.stored import unpack_state

__all__ = [
    "Caller",
    "RecordingStorage",
    "Register",
    "RegisterState",
    "Uniform",
    "register_with",
    "stored_elements",
    "view_of",
]


class Uniform(Protocol):
    """A source of chance, as `random.Random` is one."""

    def uniform(self, a: float, b: float) -> float: ...


class RegisterState(Struct):
    """What a register saves.

    Attributes:
        elements: in the order in which they came.
    """

    elements: list[str] = []  # noqa: RUF012  msgspec copies it


class Register(Grain[RegisterState]):
    """A set of unique elements. Use `register_with`, which gives it a journal."""

    journal: ClassVar[Journal]
    last_words_s: ClassVar[float] = 0.0
    """How long `on_deactivate` takes."""

    async def on_activate(self) -> None:
        """Records the beginning."""
        self.journal.write(Began(at=self.journal.now(), node=self._node, key=self.key, epoch=self._inaho_lease.epoch))

    async def on_deactivate(self, reason: str) -> None:
        """Records the end, as its last step."""
        if self.last_words_s:
            await asyncio.sleep(self.last_words_s)
        epoch = self._inaho_lease.epoch
        self.journal.write(Ended(at=self.journal.now(), node=self._node, key=self.key, epoch=epoch, reason=reason))

    async def add(self, element: str, hold_s: float = 0.0) -> int:
        """Adds an element after `hold_s` seconds; returns how many there are. Not idempotent: it may be added twice."""
        self.state.elements.append(element)
        if hold_s:
            await asyncio.sleep(hold_s)
        await self._save(element)
        return len(self.state.elements)

    @method(idempotent=True)
    async def put(self, element: str) -> int:
        """Adds an element unless it is there."""
        if element not in self.state.elements:
            self.state.elements.append(element)
        await self._save(element)
        return len(self.state.elements)

    @method(read_only=True)
    async def read(self) -> tuple[str, list[str]]:
        """Node id of the activation, and all elements."""
        return self._node, self.state.elements

    async def rest(self) -> None:
        """Ends the activation when nothing runs any more, as idleness would."""
        self.deactivate()

    @method(read_only=True)
    async def where(self) -> str:
        """Node id of the activation."""
        return self._node

    async def _save(self, element: str) -> None:
        about: Any = {"node": self._node, "key": self.key, "epoch": self._inaho_lease.epoch}
        try:
            await self.save()
        except InahoError as error:
            self.journal.write(Refused(at=self.journal.now(), **about, code=error.code))
            raise
        self.journal.write(Saved(at=self.journal.now(), **about, element=element))

    @property
    def _node(self) -> str:
        return self.cluster.self.node_id


def register_with(journal: Journal, *, last_words_s: float = 0.0) -> type[Register]:
    """A `Register` that writes into `journal`; all such classes are one kind."""
    body = {"journal": journal, "last_words_s": last_words_s, "__module__": __name__}
    return type("Register", (Register,), body)


def stored_elements(data: bytes | None) -> list[str]:
    """The elements in a stored state."""
    return [] if data is None else msgspec.msgpack.decode(unpack_state(data), type=RegisterState).elements


def view_of(snapshot: TopologySnapshot) -> str:
    """The view that decides owners, as a text: members that are up, and blocked authorities."""
    up = [f"{member.authority}/{member.node_id}" for member in snapshot.members if member.status is MemberStatus.UP]
    return f"{' '.join(sorted(up))} without {' '.join(snapshot.blocked)}"


class RecordingStorage(MemoryStorage):
    """`MemoryStorage` with delays before and after each commit, which it records.

    If a node crashes during such a delay, it is unknown whether its save was committed.

    Args:
        journal: is told.
        random: of the delays.
        delay_most_s: before a commit, after it, and before a load.
    """

    def __init__(self, journal: Journal, random: Uniform, delay_most_s: float = 0.02) -> None:
        super().__init__()
        self._journal = journal
        self._random = random
        self._delay_most_s = delay_most_s

    async def _load(self, identity: ClusterIdentity) -> Any:
        await asyncio.sleep(self._random.uniform(0.0, self._delay_most_s))
        return await super()._load(identity)

    async def _write(self, identity: ClusterIdentity, data: bytes | None, *, expected_version: int, epoch: int) -> int:
        await asyncio.sleep(self._random.uniform(0.0, self._delay_most_s))
        version = await super()._write(identity, data, expected_version=expected_version, epoch=epoch)
        self._journal.write(Committed(at=self._journal.now(), key=identity.key, version=version, epoch=epoch))
        await asyncio.sleep(self._random.uniform(0.0, self._delay_most_s))
        return version


class Caller:
    """Calls registers, and records each call and its outcome.

    Args:
        journal: is told.
        name: makes elements unique among callers; calls are numbered from `first` on.
        first: number of the first call; callers of one history need ranges of their own.

    Attributes:
        answered, failed: calls so far.
    """

    def __init__(self, journal: Journal, name: str, first: int = 0) -> None:
        self.answered = 0
        self.failed = 0
        self._journal = journal
        self._name = name
        self._numbers = itertools.count(first)

    async def call(
        self, cluster: Cluster, kind: type[Register], key: str, what: str, *, hold_s: float = 0.0, **options: Any
    ) -> InahoError | None:
        """One call of `add`, `put`, `read` or `rest`; what it failed with, if it did.

        Args:
            cluster: through which it goes.
            kind, key: whom it concerns.
            what: name of the method.
            hold_s: of `add`.
            options: of the reference.
        """
        journal, number = self._journal, next(self._numbers)
        element = f"{self._name}-{number}" if what in ("add", "put") else ""
        register = cluster.grain(kind, key, **options)
        journal.write(Called(at=journal.now(), call=number, key=key, method=what, element=element, again=what != "add"))
        count, node = 0, ""
        elements: Sequence[str] = ()
        try:
            if what == "add":
                count = await register.add(element, hold_s)
            elif what == "put":
                count = await register.put(element)
            elif what == "rest":
                await register.rest()
            else:
                node, elements = await register.read()
        except InahoError as error:
            self.failed += 1
            journal.write(Failed(at=journal.now(), call=number, code=error.code, maybe_executed=error.maybe_executed))
            return error
        self.answered += 1
        journal.write(Answered(at=journal.now(), call=number, count=count, elements=tuple(elements), node=node))
        return None
