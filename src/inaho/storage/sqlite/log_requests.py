"""Requests to the logs of `SqliteStorage`, and their statements. They run on its threads, beside those about states.

A log is a row with its bounds, and a row for each chunk (see `log.chunks`). An append changes both in the transaction
that it shares with the saves and appends that gathered with it. The update of the bounds is conditional in its own
statement, so an append costs two statements.

Chunks are in a table with row ids, in the order of time, and an index finds them by log and offset. A table that is
ordered by log and offset itself would spread the appends to several logs over the file, and each page would hold the
large values of one or two chunks.

A read takes its chunks before the bounds. Records are only added at the end and removed at the beginning, so bounds
that allow the read prove that the chunks were complete; the two statements need no common transaction.
"""

from __future__ import annotations

import sqlite3
from abc import abstractmethod
from contextlib import closing
from typing import ClassVar, Final

import msgspec

from inaho.errors import InahoError
from inaho.storage.instances import Mark
from inaho.storage.log.base import LogBounds, LogRecord, log_conflict_of, open_conflict_of
from inaho.storage.log.chunks import ReadPortion, check_offset

__all__ = [
    "AppendChunk",
    "LogChanged",
    "LogFound",
    "LogRequest",
    "OpenLog",
    "ReadBounds",
    "ReadRecords",
    "RecordsFound",
    "TrimLog",
]

_CREATE_LOGS: Final = """
CREATE TABLE IF NOT EXISTS logs (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, first_offset INTEGER NOT NULL, end_offset INTEGER NOT NULL,
    epoch INTEGER NOT NULL, size_bytes INTEGER NOT NULL
) STRICT
"""
_CREATE_CHUNKS: Final = """
CREATE TABLE IF NOT EXISTS log_chunks (
    place INTEGER PRIMARY KEY, log INTEGER NOT NULL, first_offset INTEGER NOT NULL, records INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL, data BLOB NOT NULL, UNIQUE (log, first_offset)
) STRICT
"""
_BOUNDS: Final = "SELECT first_offset, end_offset, epoch, size_bytes, id FROM logs WHERE name = ?"
_OPEN: Final = """
INSERT INTO logs (name, first_offset, end_offset, epoch, size_bytes) VALUES (?, 0, 0, ?, 0)
ON CONFLICT (name) DO UPDATE SET epoch = excluded.epoch
"""
_MOVE_END: Final = """
UPDATE logs SET end_offset = end_offset + ?, size_bytes = size_bytes + ?
WHERE name = ? AND end_offset = ? AND epoch = ? RETURNING id
"""
_INSERT_CHUNK: Final = """
INSERT INTO log_chunks (log, first_offset, records, size_bytes, data) VALUES (?, ?, ?, ?, ?)
"""
_CHUNKS: Final = """
SELECT chunk.first_offset, chunk.data FROM logs JOIN log_chunks AS chunk ON chunk.log = logs.id
WHERE logs.name = ?1 AND chunk.first_offset >= coalesce(
    (SELECT max(first_offset) FROM log_chunks WHERE log = logs.id AND first_offset <= ?2), 0
) ORDER BY chunk.first_offset
"""
_DELETE_CHUNKS: Final = """
DELETE FROM log_chunks WHERE place IN (
    SELECT place FROM log_chunks WHERE log = ?1 AND first_offset < ?2 AND first_offset + records <= ?2
    ORDER BY first_offset LIMIT ?3
) RETURNING size_bytes
"""
_MOVE_FIRST: Final = "UPDATE logs SET first_offset = ?, size_bytes = size_bytes - ? WHERE id = ?"

_TRIM_CHUNKS_MAX: Final = 128
"""Chunks that one request removes, so that saves and appends need not wait for the end of a long log."""

_NONE: Final = LogBounds(0, 0, 0, 0)


class LogChanged(msgspec.Struct, frozen=True):
    """The answer to a request that changed a log.

    Attributes:
        bounds: after it, for `OpenLog`.
        unfinished: a trim has more to remove.
    """

    bounds: LogBounds | None = None
    unfinished: bool = False


class RecordsFound(msgspec.Struct, frozen=True):
    """The answer to `ReadRecords`."""

    records: list[LogRecord]


LogFound = LogChanged | RecordsFound | LogBounds | InahoError
"""Bounds without `LogChanged` changed nothing: the answer to `ReadBounds`, and to a trim that had nothing to do."""


class LogRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request about one log.

    Attributes:
        writes: whether it may change something, so that the writer serves it.
        log: its name.
        seen: the mark of the file must not be behind this one.
    """

    writes: ClassVar[bool] = True
    log: str
    seen: Mark | None

    @property
    def about(self) -> str:
        """The name, for errors."""
        return self.log

    @abstractmethod
    def serve(self, connection: sqlite3.Connection) -> LogFound:
        """Runs the statements; the transaction is that of the session. Raises `sqlite3.Error`."""


class OpenLog(LogRequest, frozen=True, kw_only=True):
    """`LogStorage.open_log`. The tables are made here, because older files have none."""

    epoch: int

    def serve(self, connection: sqlite3.Connection) -> LogFound:
        """See `LogRequest.serve`."""
        connection.execute(_CREATE_LOGS)
        connection.execute(_CREATE_CHUNKS)
        bounds, _ = _bounds(connection, self.log)
        conflict = open_conflict_of(self.log, bounds, epoch=self.epoch)
        if conflict is not None:
            return conflict
        connection.execute(_OPEN, (self.log, self.epoch))
        return LogChanged(msgspec.structs.replace(bounds, epoch=self.epoch))


class AppendChunk(LogRequest, frozen=True, kw_only=True):
    """`LogStorage.append`.

    Attributes:
        offset: of the first record.
        epoch: of the keeper.
        records: their number.
        size_bytes: of the records.
        value: the records, see `log.chunks`.
    """

    offset: int
    epoch: int
    records: int
    size_bytes: int
    value: bytes

    def serve(self, connection: sqlite3.Connection) -> LogFound:
        """See `LogRequest.serve`."""
        numbers = (self.records, self.size_bytes, self.log, self.offset, self.epoch)
        moved = _rows(connection, _MOVE_END, numbers)
        if moved:
            row = (moved[0][0], self.offset, self.records, self.size_bytes, self.value)
            connection.execute(_INSERT_CHUNK, row)
            return LogChanged()
        bounds, _ = _bounds(connection, self.log)
        conflict = log_conflict_of(self.log, bounds, epoch=self.epoch, offset=self.offset)
        assert conflict is not None, f"the statement refused what the rule allows: {self.log!r}, {bounds!r}"
        return conflict


class TrimLog(LogRequest, frozen=True, kw_only=True):
    """`LogStorage.trim`. `unfinished` asks for the same request again."""

    upto: int
    epoch: int

    def serve(self, connection: sqlite3.Connection) -> LogFound:
        """See `LogRequest.serve`."""
        bounds, number = _bounds(connection, self.log)
        conflict = log_conflict_of(self.log, bounds, epoch=self.epoch, offset=None)
        if conflict is not None:
            return conflict
        first = max(bounds.first, min(self.upto, bounds.end))
        removed = connection.execute(_DELETE_CHUNKS, (number, first, _TRIM_CHUNKS_MAX)).fetchall()
        if first == bounds.first and not removed:
            return bounds
        connection.execute(_MOVE_FIRST, (first, sum(size for (size,) in removed), number))
        return LogChanged(unfinished=len(removed) == _TRIM_CHUNKS_MAX)


class ReadBounds(LogRequest, frozen=True, kw_only=True):
    """`LogStorage.bounds`."""

    writes: ClassVar[bool] = False

    def serve(self, connection: sqlite3.Connection) -> LogFound:
        """See `LogRequest.serve`."""
        return _bounds(connection, self.log)[0]


class ReadRecords(LogRequest, frozen=True, kw_only=True):
    """`LogStorage.read`."""

    writes: ClassVar[bool] = False
    offset: int
    records_max: int
    bytes_max: int

    def serve(self, connection: sqlite3.Connection) -> LogFound:
        """See `LogRequest.serve`."""
        portion = ReadPortion(self.log, self.offset, records_max=self.records_max, bytes_max=self.bytes_max)
        try:
            self._gather(connection, portion)
            check_offset(self.log, _bounds(connection, self.log)[0], self.offset)
        except InahoError as error:
            return error
        return RecordsFound(portion.records)

    def _gather(self, connection: sqlite3.Connection, portion: ReadPortion) -> None:
        try:
            cursor = connection.execute(_CHUNKS, (self.log, self.offset))
        except sqlite3.OperationalError as error:
            if not _no_table(error):
                raise
            return
        with closing(cursor):  # a cursor that is left open would keep the snapshot
            for first, value in cursor:
                if not portion.add_encoded(first, value):
                    return


def _bounds(connection: sqlite3.Connection, log: str) -> tuple[LogBounds, int]:
    """The bounds of a log, and its id; all 0 if there is none."""
    rows = _rows(connection, _BOUNDS, (log,))
    if not rows:
        return _NONE, 0
    first, end, epoch, size, number = rows[0]
    return LogBounds(first, end, epoch, size), number


def _rows(connection: sqlite3.Connection, statement: str, values: tuple[object, ...]) -> list[tuple[int, ...]]:
    """The rows; none while no log was opened in this file."""
    try:
        return connection.execute(statement, values).fetchall()
    except sqlite3.OperationalError as error:
        if not _no_table(error):
            raise
        return []


def _no_table(error: sqlite3.OperationalError) -> bool:
    return "no such table" in str(error)
