"""`SqliteStorage`: durable state in one file, shared by all nodes of one machine.

Each node process has one thread that writes and one that reads. The writer commits all saves that have gathered during
the last commit (`thread_queue`), so that a thousand grains share one flush. The reader has a connection of its own,
because in WAL mode a reader never waits: loading a grain costs microseconds even while a commit waits for the disk or
for the lock of another process. Processes take turns by SQLite's own file lock.

The setting `synchronous` decides what "durable" means. `full` flushes the log at each commit: an acknowledged save
survives the end of the process and a power cut, if the disk does not lie about flushes. `normal` flushes only at
checkpoints: it saves one flush per commit; a power cut may lose the last seconds, the end of the process alone loses
nothing. The file stays valid in both cases. (https://www.sqlite.org/pragma.html#pragma_synchronous)

A file that is removed or replaced while it is open is noticed at the next save or load: these fail, and the error says
what to do.

Not for network file systems: WAL needs memory that all processes share (https://www.sqlite.org/wal.html). Nodes on
several machines need a storage server.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, TypeAlias

from inaho.config import StorageConfig
from inaho.errors import InahoError, InvalidConfig, StorageFailed
from inaho.storage.base import Storage, StoredState, StoredVersion
from inaho.storage.sqlite.file import SqliteFile
from inaho.storage.sqlite.log import SqliteLog
from inaho.storage.sqlite.log_requests import LogFound, LogRequest
from inaho.storage.sqlite.session import AnyRequest, Found, Loaded, Numbers, Reader, Request, Told, Writer
from inaho.storage.thread_queue import BatchWorker
from inaho.types import ClusterIdentity

__all__ = ["SqliteStorage"]

_SQLITE_OLDEST: Final = (3, 37, 0)
"""First release with STRICT tables (2021)."""

_VALUE_BYTES_MAX: Final = 999_000_000
"""SQLite refuses values of 10**9 bytes, keys and all (https://www.sqlite.org/limits.html)."""

_LOAD_SIZE: Final = 0
"""The size of a waiting load, which holds no state in memory yet."""

Worker: TypeAlias = BatchWorker[AnyRequest, Told]


class SqliteStorage(Storage):
    """Storage in the file `path`, which other processes of this machine may use at the same time.

    It belongs to the event loop on which it is opened.

    Args:
        path: of the file. It and its folder are created. Beside it SQLite keeps `-wal` and `-shm` while it is open;
            to copy the file of a running node use `sqlite3 FILE ".backup COPY"`.
        synchronous: `full` or `normal`, see the module.
        config: bounds, and `busy_timeout_s`.

    Raises:
        InvalidConfig: the path or a bound is none that SQLite can serve.

    Attributes:
        path: absolute.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        synchronous: Literal["full", "normal"] = "full",
        config: StorageConfig | None = None,
    ) -> None:
        super().__init__(config)
        if str(path) in ("", ":memory:"):
            raise InvalidConfig(f"SqliteStorage needs the path of a file, not {str(path)!r}: use MemoryStorage")
        if "\0" in str(path):
            raise InvalidConfig(f"SqliteStorage needs the path of a file, not {str(path)!r}: no file's name has a NUL")
        if synchronous not in ("full", "normal"):
            raise InvalidConfig(f"synchronous must be 'full' or 'normal', not {synchronous!r}")
        if self.config.data_bytes_max + self.config.key_bytes_max > _VALUE_BYTES_MAX:
            raise InvalidConfig(f"storage.data_bytes_max must leave SQLite's values below {_VALUE_BYTES_MAX} bytes")
        self.path = Path(path).absolute()
        self._file = SqliteFile(self.path, synchronous, self.config.busy_timeout_s)
        self._commits_earlier = 0
        self._write_server = Writer(self._file)
        self._writer: Worker | None = None
        self._reader: Worker | None = None
        self._log = SqliteLog(self.config, self._check_usable, self.instances.seen, self._ask_log)

    def __repr__(self) -> str:
        return f"SqliteStorage({str(self.path)!r})"

    @property
    def log(self) -> SqliteLog:
        """The logs of topics; appends share commits with saves."""
        return self._log

    @property
    def is_made(self) -> bool:
        """Whether the file exists."""
        return self.path.exists()

    @property
    def commits(self) -> int:
        """Transactions of this process that changed something; `saves / commits` is the number of saves per commit."""
        return self._commits_earlier + self._write_server.commits

    @property
    def queued(self) -> int:
        """Saves and appends accepted and not yet answered."""
        return 0 if self._writer is None else self._writer.queued

    async def _open(self) -> None:
        if sqlite3.sqlite_version_info < _SQLITE_OLDEST:
            raise StorageFailed(
                f"SQLite {sqlite3.sqlite_version} is too old: Python needs one of at least "
                f"{'.'.join(map(str, _SQLITE_OLDEST))}",
                maybe_executed=False,
            )
        # New servers each time: the thread of a cancelled open may still use its own.
        self._commits_earlier = self.commits
        self._write_server = Writer(self._file)
        writer = Worker(f"inaho-save-{self.path.name}", self._write_server, self.config)
        await writer.start()  # it makes the file, so it goes first
        reader = Worker(f"inaho-load-{self.path.name}", Reader(self._file), self.config)
        try:
            await reader.start()
        except BaseException:
            await writer.stop()
            raise
        self._writer, self._reader = writer, reader

    async def _close(self) -> None:
        writer, reader = self._require(self._writer), self._require(self._reader)
        self._writer = self._reader = None
        try:
            await reader.stop()
        finally:
            await writer.stop()  # last: the last connection merges the log into the file

    async def _load(self, identity: ClusterIdentity) -> StoredState | None:
        writer = self._require(self._writer)
        # A save of this identity is on its way, perhaps of a cancelled caller: only a load after it is correct.
        worker = writer if writer.busy_with(identity) else self._require(self._reader)
        request = Request(identity, loads=True, seen=self.instances.seen())
        outcome = self._checked(request, await worker.submit(identity, request, _LOAD_SIZE))
        assert isinstance(outcome, Loaded)
        return outcome.state

    async def _versions(self, identities: Sequence[ClusterIdentity]) -> list[StoredVersion | None]:
        writer = self._require(self._writer)
        busy = any(writer.busy_with(identity) for identity in identities)  # see `_load`
        worker = writer if busy else self._require(self._reader)
        request = Request(asked=tuple(identities), seen=self.instances.seen())
        outcome = self._checked(request, await worker.submit(None, request, _LOAD_SIZE))
        assert isinstance(outcome, Numbers)
        return outcome.versions

    async def _write(self, identity: ClusterIdentity, data: bytes | None, *, expected_version: int, epoch: int) -> int:
        seen = self.instances.seen()
        request = Request(identity, data=data, expected_version=expected_version, epoch=epoch, seen=seen)
        outcome = self._checked(request, await self._require(self._writer).submit(identity, request, len(data or b"")))
        assert isinstance(outcome, int)
        return outcome

    async def _ask_log(self, request: LogRequest, size: int) -> LogFound:
        worker = self._require(self._writer if request.writes else self._reader)
        outcome = self._checked(request, await worker.submit(request.log, request, size))
        assert not isinstance(outcome, int | Loaded | Numbers | None)
        return outcome

    def _checked(self, request: AnyRequest, told: Told) -> Found:
        self.instances.check(request.seen, told.mark, identity=request.about)
        if isinstance(told.outcome, InahoError):
            raise told.outcome
        return told.outcome

    def _require(self, worker: Worker | None) -> Worker:
        if worker is None:
            raise StorageFailed(f"{self!r} is not open", maybe_executed=False)
        return worker
