"""Creates, checks and opens the file of `SqliteStorage`, and explains its errors.

A file is checked before anything in it is changed: it carries our mark and schema version, or it is empty. A path
that points at another application's database, or at no database at all, is refused as it is.

A file stays open when someone removes it or moves another one to its path, and SQLite goes on in it: acknowledged
saves would be in a file that nobody finds, while the next process to open the path begins another. So whoever uses the
file compares what it has opened with what the path leads to.
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
"""Marks the file as ours ("inah"); `file` and SQLite's tools show it."""

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
"""The mark (see `instances`). A file from before there were marks gets the table with its next commit."""

_WAL_ATTEMPTS: Final = 20
"""Processes that start at the same moment hinder each other; each attempt waits for the lock in between."""


class SqliteFile:
    """How to connect to the file, and what its errors mean to a person.

    Args:
        path: absolute.
        synchronous: `full` or `normal`.
        busy_timeout_s: how long a statement waits for the lock of another process.
    """

    def __init__(self, path: Path, synchronous: str, busy_timeout_s: float) -> None:
        self.path = path
        self._synchronous = synchronous
        self._busy_timeout_s = busy_timeout_s

    def connect(self, *, writes: bool) -> sqlite3.Connection:
        """A connection for the calling thread, its file checked; the writer's makes what is missing.

        Raises:
            StorageFailed: the file cannot be opened, is damaged, or is not one of ours.
        """
        try:
            if writes:
                _make_folder(self.path.parent)
            connection = sqlite3.connect(self.path, timeout=self._busy_timeout_s, isolation_level=None)
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
        """Device and number of the file to which the path leads at this moment; None where there is none."""
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def lost(self, identity: str = "") -> StorageFailed:
        """The `StorageFailed` for a path that no longer leads to the file that was opened."""
        return StorageFailed(
            f"{self.path}: it was removed or replaced while it was open, and what it is given now would be lost: "
            "put it back, or restart this node to go on with what is there instead",
            identity=identity,
            maybe_executed=False,
        )

    def failure(self, error: OSError | sqlite3.Error, *, maybe_executed: bool, identity: str = "") -> StorageFailed:
        """The `StorageFailed` for `error`: the path, what is wrong, and what to do."""
        # The low byte is the primary code; the rest tells apart what a person handles alike.
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            remedy = (
                f"another process held its lock for more than {self._busy_timeout_s:g} s: end that process, or raise "
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
        """Whether the table is there. An empty file is not ours yet. Raises `StorageFailed` on a foreign one."""
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
            if not self._is_ours(connection):  # another process may have been quicker
                connection.execute(CREATE_MARK)
                connection.execute(_SCHEMA)
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            connection.execute("COMMIT")
        except BaseException:
            roll_back(connection)
            raise


def roll_back(connection: sqlite3.Connection) -> None:
    """Ends the transaction, if the failure has not done so. A failing rollback loses to the error that led here."""
    if connection.in_transaction:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")


def _number(connection: sqlite3.Connection, statement: str) -> int:
    value: Any = connection.execute(statement).fetchone()[0]
    return int(value)


def _enter_wal(connection: sqlite3.Connection) -> str:
    """Sets the journal mode, which is kept in the file, and returns what it is now.

    The change needs the file alone, and SQLite does not wait for that: with two at once, each would wait for the
    other. Taking the write lock does wait, up to the busy timeout, and by then the other is done.
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
    """Creates `folder` and its parents, each entry flushed, so that a power cut cannot take the file's folder."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    if os.name == "nt":  # there a folder cannot be opened, and needs no flush
        return
    for made in missing:
        descriptor = os.open(made.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
