"""Creates, checks and opens the file of `SqliteStorage`, and explains its errors.

A file is checked before anything in it is changed: it has the mark and schema version of inaho, or it is empty. A path
of another application's database, or of no database at all, is refused and not changed.

When somebody removes the open file or moves another one to its path, SQLite continues in the old file: acknowledged
saves would be in a file that nobody finds, while the next process that opens the path begins another one. So the users
of the file compare the opened file with the file at the path.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Any, Final

from inaho.errors import StorageFailed

__all__ = ["APPLICATION_ID", "CREATE_MARK", "SCHEMA_VERSION", "SqliteFile", "roll_back"]

APPLICATION_ID: Final = 0x696E6168
"""Identifies files of inaho ("inah"); `file` and SQLite's tools show it."""

SCHEMA_VERSION: Final = 1

_SCHEMA: Final = """
CREATE TABLE grain_states (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    version INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    data BLOB, -- NULL: deleted, only the numbers are left
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID
"""

CREATE_MARK: Final = """
CREATE TABLE IF NOT EXISTS storage_mark (
    one INTEGER PRIMARY KEY CHECK (one = 1), instance TEXT NOT NULL, commits INTEGER NOT NULL
) STRICT
"""
"""The mark (see `instances`). An old file without a mark gets the table with its next commit."""

_WAL_ATTEMPTS: Final = 20
"""Attempts, since processes that start at the same moment hinder each other; each attempt waits for the lock."""


class SqliteFile:
    """Connects to the file, and explains its errors.

    Args:
        path: absolute.
        synchronous: `full` or `normal`.
        busy_timeout_s: how long a statement waits for the lock of another process.
    """

    def __init__(self, path: Path, synchronous: str, busy_timeout_s: float) -> None:
        self.path = path
        self._synchronous = synchronous
        self.busy_timeout_s = busy_timeout_s

    def connect(self, *, writes: bool) -> sqlite3.Connection:
        """A connection for the calling thread, its file checked; the writer's connection makes missing parts.

        Raises:
            StorageFailed: the file cannot be opened, is damaged, or is not a file of inaho.
        """
        try:
            if writes:
                _make_folder(self.path.parent)
            connection = sqlite3.connect(self.path, timeout=self.busy_timeout_s, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise self.failure(error, maybe_executed=False) from error
        try:
            connection.execute("BEGIN")  # one snapshot: another process may be making the table
            ready = self._is_ours(connection)
            connection.execute("COMMIT")
            if writes:
                self._prepare(connection, ready=ready)
            else:
                connection.execute("PRAGMA query_only = ON")
        except sqlite3.Error as error:
            connection.close()
            raise self.failure(error, maybe_executed=False) from error
        except BaseException:
            connection.close()
            raise
        return connection

    def number(self) -> tuple[int, int] | None:
        """Device and number of the file to which the path leads at this moment; None if there is none."""
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def lost(self, identity: str = "") -> StorageFailed:
        """The `StorageFailed` for a path that no longer leads to the file that was opened."""
        return StorageFailed(
            f"{self.path}: it was removed or replaced while it was open, so further saves would be lost: "
            "put it back, or restart this node to use the file that is there now",
            identity=identity,
            maybe_executed=False,
        )

    def failure(self, error: OSError | sqlite3.Error, *, maybe_executed: bool, identity: str = "") -> StorageFailed:
        """The `StorageFailed` for `error`: the path, what is wrong, and what to do."""
        # The low byte is the primary code; the rest distinguishes cases with the same remedy.
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            remedy = (
                f"another process held its lock for more than {self.busy_timeout_s:g} s: end that process, or raise "
                "storage.busy_timeout_s"
            )
        elif code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            remedy = "it is damaged, or no SQLite file: restore a copy, or move it away to start empty"
        elif code == sqlite3.SQLITE_FULL:
            remedy = "there is no room for it: make some on the disk"
        else:
            remedy = "check that its folder exists, that this user may write there, and that the disk works"
        failure = StorageFailed(f"{self.path}: {error}; {remedy}", identity=identity, maybe_executed=maybe_executed)
        failure.__cause__ = error
        return failure

    def _is_ours(self, connection: sqlite3.Connection) -> bool:
        """Whether the table exists. An empty file has none yet. Raises `StorageFailed` for a foreign file."""
        application_id = _number(connection, "PRAGMA application_id")
        schema_version = _number(connection, "PRAGMA user_version")
        if application_id == APPLICATION_ID and schema_version == SCHEMA_VERSION:
            return True
        if application_id == APPLICATION_ID:
            reason = f"has schema {schema_version}, this release reads {SCHEMA_VERSION}: use the one that wrote it"
        elif application_id or schema_version or _number(connection, "SELECT count(*) FROM sqlite_master"):
            reason = "belongs to another application: choose another path"
        else:
            return False
        raise StorageFailed(f"{self.path} {reason}", maybe_executed=False)

    def _prepare(self, connection: sqlite3.Connection, *, ready: bool) -> None:
        mode = _enter_wal(connection)
        if mode != "wal":
            raise StorageFailed(
                f"{self.path}: this file system has no write-ahead log (journal mode {mode}): choose a local disk",
                maybe_executed=False,
            )
        connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        # Without it, a flush on macOS stops at the cache of the drive.
        connection.execute("PRAGMA fullfsync = ON")
        connection.execute("PRAGMA checkpoint_fullfsync = ON")
        if ready:
            return
        connection.execute("BEGIN IMMEDIATE")
        try:
            if not self._is_ours(connection):  # another process may have done it first
                connection.execute(CREATE_MARK)
                connection.execute(_SCHEMA)
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            connection.execute("COMMIT")
        except BaseException:
            roll_back(connection)
            raise


def roll_back(connection: sqlite3.Connection) -> None:
    """Ends the transaction, if the failure has not done so. An error of the rollback is ignored: the first counts."""
    if connection.in_transaction:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")


def _number(connection: sqlite3.Connection, statement: str) -> int:
    value: Any = connection.execute(statement).fetchone()[0]
    return int(value)


def _enter_wal(connection: sqlite3.Connection) -> str:
    """Sets the journal mode, which the file keeps, and returns the present one.

    The change needs the file exclusively, and SQLite does not wait for that: two processes at once would wait for each
    other. Taking the write lock does wait, up to the busy timeout, and by then the other process is done.
    """
    for _ in range(_WAL_ATTEMPTS):
        try:
            return str(connection.execute("PRAGMA journal_mode = WAL").fetchone()[0])
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("COMMIT")
    return str(connection.execute("PRAGMA journal_mode = WAL").fetchone()[0])


def _make_folder(folder: Path) -> None:
    """Creates `folder` and its parents, each entry flushed, so that a power cut cannot remove the file's folder."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    if os.name == "nt":  # on Windows a folder cannot be opened, and needs no flush
        return
    for made in missing:
        descriptor = os.open(made.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
