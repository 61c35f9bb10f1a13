"""The storage of a `freshness_swarm`: draws its faults from the seed and records commits and failures.

In memory or in a SQLite file. The file is used with the statements of `SqliteStorage`, but in the thread of the
simulation: a seed cannot decide when another thread answers.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from inaho.errors import InahoError
from inaho.storage import MemoryStorage, Storage, StoredState
from inaho.storage.base import StoredVersion
from inaho.storage.sqlite.file import SqliteFile
from inaho.storage.sqlite.session import Found, Loaded, Numbers, Outcome, Reader, Request, Writer
from inaho.testing.cluster.sim_cluster import PORT
from inaho.testing.histories.freshness_history import StorageFault, Stored
from inaho.testing.histories.freshness_workload import PLACEMENTS, content_of
from inaho.testing.histories.grain_history import Journal
from inaho.testing.simulation.simulated_process import OWNER, SimulatedProcess
from inaho.testing.storage.faults import FaultyStorage, StorageFaults
from inaho.types import ClusterIdentity

__all__ = ["STORAGES", "CellStorage"]

STORAGES: Final = {
    "memory": StorageFaults(slow=1.0, slow_s=0.01),
    "slow": StorageFaults(slow=1.0, slow_s=0.2),
    "sqlite": StorageFaults(slow=1.0, slow_s=0.02),
    "faulty": StorageFaults(refuse=0.02, lose_request=0.02, lose_answer=0.03, repeat=0.03, slow=0.5, slow_s=0.05),
}
"""Faults of the storage, by name. `sqlite` is in a file, the others are in memory."""

Committed = Callable[[ClusterIdentity, bytes | None, int, int], None]
"""Called at each commit with identity, data, version, epoch."""


class CellStorage(FaultyStorage):
    """The storage that all nodes of a swarm share.

    Args:
        journal: is told of commits, and of operations that failed.
        name: one of `STORAGES`.
        seed: of the faults.
    """

    def __init__(self, journal: Journal, name: str, seed: int) -> None:
        inner = _SqliteHere(self._committed) if name == "sqlite" else _Memory(self._committed)
        super().__init__(inner, STORAGES[name], seed, observe=self._noticed)
        self._journal = journal

    def discard(self) -> None:
        """Removes what is on the disk."""
        if isinstance(self.inner, _SqliteHere):
            self.inner.discard()

    def _committed(self, identity: ClusterIdentity, data: bytes | None, version: int, epoch: int) -> None:
        if identity.kind in PLACEMENTS:
            now, value, cell = self._journal.now(), content_of(data), str(identity)
            saver = _authority_of(OWNER.get())
            self._journal.write(Stored(at=now, cell=cell, version=version, epoch=epoch, value=value, saver=saver))

    def _noticed(self, fault: str, identity: object) -> None:
        if fault not in ("slow", "repeat"):
            self._journal.write(StorageFault(at=self._journal.now(), cell=str(identity)))


def _authority_of(process: SimulatedProcess | None) -> str:
    """Of the node in that process, whose name begins with `node INDEX`; empty for none."""
    return "" if process is None else f"node-{process.name.split(',')[0].removeprefix('node ')}:{PORT}"


class _Memory(MemoryStorage):
    def __init__(self, committed: Committed) -> None:
        super().__init__()
        self._committed = committed

    async def _write(self, identity: ClusterIdentity, data: bytes | None, *, expected_version: int, epoch: int) -> int:
        version = await super()._write(identity, data, expected_version=expected_version, epoch=epoch)
        self._committed(identity, data, version, epoch)
        return version


class _SqliteHere(Storage):
    """A SQLite file that the caller's thread reads and writes. It is opened once, for all nodes."""

    def __init__(self, committed: Committed) -> None:
        super().__init__()
        self._committed = committed
        self._folder = ""
        self._writer: Writer | None = None
        self._reader: Reader | None = None

    async def _open(self) -> None:
        if self._writer is not None:
            return
        self._folder = tempfile.mkdtemp(prefix="inaho-cells-")
        file = SqliteFile(Path(self._folder, "cells.sqlite"), "normal", self.config.busy_timeout_s)
        self._writer, self._reader = Writer(file), Reader(file)
        self._writer.open()
        self._reader.open()

    async def _close(self) -> None:
        """Does nothing: other nodes still use the file."""

    def discard(self) -> None:
        """Ends it, and removes the file."""
        for session in (self._reader, self._writer):
            if session is not None:
                session.close()
        self._reader = self._writer = None
        if self._folder:
            shutil.rmtree(self._folder)

    async def _load(self, identity: ClusterIdentity) -> StoredState | None:
        assert self._reader is not None
        outcome = _answer(self._reader.serve([Request(identity, loads=True)]))
        assert isinstance(outcome, Loaded)
        return outcome.state

    async def _versions(self, identities: Sequence[ClusterIdentity]) -> list[StoredVersion | None]:
        assert self._reader is not None
        outcome = _answer(self._reader.serve([Request(asked=tuple(identities))]))
        assert isinstance(outcome, Numbers)
        return outcome.versions

    async def _write(self, identity: ClusterIdentity, data: bytes | None, *, expected_version: int, epoch: int) -> int:
        assert self._writer is not None
        request = Request(identity, data=data, expected_version=expected_version, epoch=epoch)
        outcome = _answer(self._writer.serve([request]))
        assert isinstance(outcome, int)
        self._committed(identity, data, outcome, epoch)
        return outcome


def _answer(outcomes: Sequence[Outcome]) -> Found:
    (outcome,) = outcomes
    if isinstance(outcome, InahoError):
        raise outcome
    return outcome.outcome
