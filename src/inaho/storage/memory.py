"""`MemoryStorage`: state in a dictionary, for tests, the simulator and state that may end with the process.

No thread, no await, no clock: an operation is done when it is called, in the order of the calls, so that one seed gives
one history. The data belongs to the object, also while it is closed: a simulated node that crashes and comes back, or
another node that shares the object, finds it again.

Why not SQLite's `:memory:`: it has a thread, and with it an order that no seed decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from inaho.config import StorageConfig
from inaho.storage.base import Storage, StoredState, StoredVersion, conflict_of
from inaho.storage.instances import WHOLE, Mark
from inaho.storage.log.memory import MemoryLog, MemoryLogRows
from inaho.types import ClusterIdentity

__all__ = ["MemorySnapshot", "MemoryStorage"]

_MARK: Final = ClusterIdentity("", "")
"""The identity of the mark, among the records and lost with them; no grain has it."""


class MemorySnapshot(msgspec.Struct, frozen=True):
    """What a `MemoryStorage` had at one moment.

    Attributes:
        states: the records.
        logs: the logs.
    """

    states: Mapping[ClusterIdentity, StoredState]
    logs: Mapping[str, MemoryLogRows]


class MemoryStorage(Storage):
    """Storage that lasts as long as the object; any number of nodes of one process may share it.

    Args:
        config: bounds of one record. The number of records is not bounded: every stored grain is one.
    """

    def __init__(self, config: StorageConfig | None = None) -> None:
        super().__init__(config)
        self._states: dict[ClusterIdentity, StoredState] = {}
        self._made = 0
        self._log = MemoryLog(self.config, self._check_log, self._count_commit)
        self._make_mark()

    def __repr__(self) -> str:
        return f"MemoryStorage({len(self._states) - (_MARK in self._states)} records)"

    @property
    def is_made(self) -> bool:
        """Whether it has a record or a log."""
        return len(self._states) > (_MARK in self._states) or bool(self._log.snapshot())

    @property
    def log(self) -> MemoryLog:
        """The logs of topics; they are lost and restored with the states."""
        return self._log

    def snapshot(self) -> MemorySnapshot:
        """The present content, as a backup has it; for `restore`."""
        return MemorySnapshot(dict(self._states), self._log.snapshot())

    def restore(self, snapshot: MemorySnapshot) -> None:
        """Goes back to `snapshot`, like a restored backup, or a fail-over to a late replica."""
        self._states = dict(snapshot.states)
        self._log.restore(snapshot.logs)

    def lose(self) -> None:
        """Loses everything, like a server without persistence that was restarted."""
        self._states = {}
        self._log.restore({})
        self._make_mark()

    def _make_mark(self) -> StoredState:
        """The ids are numbers, so that one seed gives one history; no other object has this storage."""
        self._made += 1
        mark = self._states[_MARK] = StoredState(str(self._made).encode(), 0, 0)
        return mark

    def _check_mark(self, identity: str) -> StoredState | None:
        """Compares the present mark with the one that was seen."""
        stored = self._states.get(_MARK)
        told = Mark() if stored is None else Mark((stored.data or b"").decode(), stored.version)
        self.instances.check(self.instances.seen(WHOLE), told, identity=identity)
        return stored

    def _check_log(self, log: str) -> None:
        self._check_usable(log)
        self._check_mark(log)

    def _count_commit(self, about: str) -> None:
        mark = self._check_mark(about) or self._make_mark()
        self._states[_MARK] = StoredState(mark.data, mark.version + 1, 0)
        self._check_mark(about)

    async def _open(self) -> None:
        """Nothing to take."""

    async def _close(self) -> None:
        """Nothing to release: the data stays."""

    async def _load(self, identity: ClusterIdentity) -> StoredState | None:
        self._check_mark(str(identity))
        return self._states.get(identity)

    async def _accept(self) -> None:
        if _MARK not in self._states:
            self._make_mark()

    async def _versions(self, identities: Sequence[ClusterIdentity]) -> list[StoredVersion | None]:
        self._check_mark("")
        found = (self._states.get(identity) for identity in identities)
        return [None if stored is None else StoredVersion(stored.version, stored.epoch) for stored in found]

    async def _write(self, identity: ClusterIdentity, data: bytes | None, *, expected_version: int, epoch: int) -> int:
        self._check_mark(str(identity))
        conflict = conflict_of(identity, self._states.get(identity), expected_version=expected_version, epoch=epoch)
        if conflict is not None:
            raise conflict
        self._count_commit(str(identity))
        self._states[identity] = StoredState(data, expected_version + 1, epoch)
        return expected_version + 1
