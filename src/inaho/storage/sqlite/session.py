"""The SQLite statements that run on the threads of `SqliteStorage`: loads, and saves in transactions.

Requests to logs (`log_requests`) run in the same transactions.

A batch of writes is one transaction, and each write in it is conditional in its own statement, so a conflict fails that
write alone and the others commit. `BEGIN IMMEDIATE` takes the lock at the start: a transaction that reads first and
asks for the lock later may find that another process has written in between, and would have to start again.

If a statement fails (a damaged page, no room for a large value), the batch is undone and its requests are tried one by
one, so that a problem with one record does not stop the others. If the commit itself fails, it is unknown what reached
the disk, and every write of the batch fails with `maybe_executed`.

Before a commit, and before loads, the path must still lead to the file that was opened (see `file`). Otherwise nothing
is answered until it does so again or the storage is opened again. Opening the new file automatically, which may be
missing or empty, would let grains begin with empty states without anybody's decision.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

import msgspec

from inaho.errors import InahoError
from inaho.storage.base import StoredState, StoredVersion, conflict_of
from inaho.storage.instances import Mark, new_instance
from inaho.storage.sqlite.file import CREATE_MARK, SqliteFile, roll_back
from inaho.storage.sqlite.log_requests import LogChanged, LogFound, LogRequest
from inaho.storage.sqlite.turns import WriteTurns
from inaho.types import ClusterIdentity

__all__ = ["AnyRequest", "Found", "Loaded", "Numbers", "Reader", "Request", "Told", "Writer"]

_INSERT: Final = """
INSERT INTO grain_states (kind, key, version, epoch, data) VALUES (?, ?, 1, ?, ?) ON CONFLICT DO NOTHING
"""
_UPDATE: Final = """
UPDATE grain_states SET version = version + 1, epoch = ?, data = ?
WHERE kind = ? AND key = ? AND version = ? AND epoch <= ?
"""
_SELECT: Final = "SELECT data, version, epoch FROM grain_states WHERE kind = ? AND key = ?"
_SELECT_NUMBERS: Final = "SELECT version, epoch FROM grain_states WHERE kind = ? AND key = ?"
_SELECT_MARK: Final = "SELECT instance, commits FROM storage_mark"
_INSERT_MARK: Final = "INSERT INTO storage_mark VALUES (1, ?, 0)"
_COUNT_COMMIT: Final = "UPDATE storage_mark SET commits = commits + 1"


class Request(msgspec.Struct, frozen=True):
    """A write; a load when `loads`; or a read of the versions of `asked`, without an `identity`."""

    identity: ClusterIdentity | None = None
    data: bytes | None = None
    expected_version: int = 0
    epoch: int = 0
    loads: bool = False
    asked: tuple[ClusterIdentity, ...] = ()
    seen: Mark | None = None  # the mark of the file must not be behind this one

    @property
    def about(self) -> str:
        """The identity, for errors; empty when there are several."""
        return "" if self.identity is None else str(self.identity)


class Loaded(msgspec.Struct, frozen=True):
    """The answer to a load."""

    state: StoredState | None


class Numbers(msgspec.Struct, frozen=True):
    """The answer to a read of versions, in the order asked."""

    versions: list[StoredVersion | None]


AnyRequest = Request | LogRequest
Found = int | Loaded | Numbers | LogFound | None
_CHANGES = (int, LogChanged)


class Told(msgspec.Struct, frozen=True):
    """An outcome, with the mark of the storage that gave it; without an outcome if the mark refused a write.

    An outcome may be an error, which is raised only if the mark shows no loss.
    """

    outcome: Found
    mark: Mark


Outcome = Told | InahoError


class _UndoneError(Exception):
    """A statement failed and its transaction was rolled back."""

    def __init__(self, error: sqlite3.Error) -> None:
        super().__init__(str(error))
        self.error = error


class _NotBegunError(_UndoneError):
    """The transaction could not begin: the next one would wait for the lock as long again."""


class _Session:
    """Base of both servers: one connection, made and used on one thread."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._connection: sqlite3.Connection | None = None
        self._number: tuple[int, int] | None = None  # of the file that is open

    def close(self) -> None:
        """Closes the connection."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            connection.close()
        except sqlite3.Error as error:
            raise self._file.failure(error, maybe_executed=False) from error

    def _connect(self, *, writes: bool) -> None:
        self._connection = self._file.connect(writes=writes)
        self._number = self._file.number()

    def _is_lost(self) -> bool:
        number = self._file.number()
        return number is None or number != self._number

    def _all_lost(self, batch: Sequence[AnyRequest]) -> list[Outcome]:
        return [self._file.lost(each.about) for each in batch]

    def _read(self, request: AnyRequest) -> Found:
        if isinstance(request, LogRequest):
            assert self._connection is not None
            return request.serve(self._connection)
        if request.identity is None:
            return Numbers([self._numbers(each) for each in request.asked])
        row = self._execute(_SELECT, request.identity.kind, request.identity.key).fetchone()
        return Loaded(None if row is None else StoredState(*row))

    def _mark(self) -> Mark:
        try:
            row = self._execute(_SELECT_MARK).fetchone()
        except sqlite3.OperationalError as error:
            if "no such table" not in str(error):
                raise
            row = None
        return Mark() if row is None else Mark(*row)

    def _numbers(self, identity: ClusterIdentity) -> StoredVersion | None:
        row = self._execute(_SELECT_NUMBERS, identity.kind, identity.key).fetchone()
        return None if row is None else StoredVersion(*row)

    def _execute(self, statement: str, *values: object) -> sqlite3.Cursor:
        assert self._connection is not None
        return self._connection.execute(statement, values)


class Reader(_Session):
    """Serves loads, each from the newest commit of any process."""

    def open(self) -> None:
        """Connects to the file that the writer has made."""
        self._connect(writes=False)

    def serve(self, batch: Sequence[AnyRequest]) -> list[Outcome]:
        """The states, or what kept each from being read."""
        if self._is_lost():
            return self._all_lost(batch)
        outcomes: list[Outcome] = []
        for request in batch:
            try:
                outcomes.append(Told(self._read(request), self._mark()))
            except sqlite3.Error as error:
                outcomes.append(self._file.failure(error, maybe_executed=False, identity=request.about))
        return outcomes


class Writer(_Session):
    """Serves writes, and the loads that must come after them, in transactions.

    Attributes:
        commits: transactions that changed something.
    """

    def __init__(self, file: SqliteFile) -> None:
        super().__init__(file)
        self.commits = 0
        self._turns: WriteTurns | None = None

    def open(self) -> None:
        """Makes the folder, the file and the table where they are missing, and connects."""
        self._connect(writes=True)
        assert self._connection is not None
        self._turns = WriteTurns(self._connection, self._file.busy_timeout_s)

    def serve(self, batch: Sequence[AnyRequest]) -> list[Outcome]:
        """One commit for the batch; one for each request when a statement of the batch fails."""
        try:
            return self._transact(batch)
        except _UndoneError as undone:
            if len(batch) == 1 or isinstance(undone, _NotBegunError):
                return self._all_failed(batch, undone.error)
        outcomes: list[Outcome] = []
        for number, request in enumerate(batch):
            try:
                outcomes += self._transact([request])
            except _NotBegunError as undone:
                return outcomes + self._all_failed(batch[number:], undone.error)
            except _UndoneError as undone:
                outcomes += self._all_failed([request], undone.error)
        return outcomes

    def _transact(self, batch: Sequence[AnyRequest]) -> list[Outcome]:
        assert self._turns is not None
        try:
            self._turns.begin()
        except sqlite3.Error as error:
            raise _NotBegunError(error) from error
        try:
            mark = self._mark()
            outcomes = [self._serve_one(each, mark) for each in batch]
            changed = any(isinstance(outcome, _CHANGES) for outcome in outcomes)
            if changed:
                mark = self._count_commit(mark)
        except sqlite3.Error as error:
            self._undo()
            raise _UndoneError(error) from error
        except BaseException:
            self._undo()
            raise
        if self._is_lost():
            self._undo()
            return self._all_lost(batch)
        try:
            self._execute("COMMIT")
        except sqlite3.Error as error:
            self._undo()
            return [self._unknown(*each, error) for each in zip(batch, outcomes, strict=True)]
        self._turns.ended()
        if changed:
            self.commits += 1
        return [outcome if isinstance(outcome, InahoError) else Told(outcome, mark) for outcome in outcomes]

    def _serve_one(self, request: AnyRequest, mark: Mark) -> Found:
        if isinstance(request, Request) and (request.loads or request.asked):
            return self._read(request)
        if mark.contradicts(request.seen):
            return None
        return self._write(request) if isinstance(request, Request) else self._read(request)

    def _count_commit(self, mark: Mark) -> Mark:
        if not mark.instance:  # a new file, or one from before there were marks
            mark = Mark(new_instance())
            self._execute(CREATE_MARK)
            self._execute(_INSERT_MARK, mark.instance)
        self._execute(_COUNT_COMMIT)
        return Mark(mark.instance, mark.commits + 1)

    def _write(self, request: Request) -> Found:
        identity = request.identity
        assert identity is not None
        kind, key = identity.kind, identity.key
        if request.expected_version == 0:
            cursor = self._execute(_INSERT, kind, key, request.epoch, request.data)
        else:
            numbers = (request.expected_version, request.epoch)
            cursor = self._execute(_UPDATE, request.epoch, request.data, kind, key, *numbers)
        if cursor.rowcount == 1:
            return request.expected_version + 1
        stored = self._numbers(identity)
        conflict = conflict_of(identity, stored, expected_version=request.expected_version, epoch=request.epoch)
        assert conflict is not None, f"the statement refused what the rule allows: {request!r}, {stored!r}"
        return conflict

    def _unknown(self, request: AnyRequest, outcome: Found, error: sqlite3.Error) -> Outcome:
        """The outcomes of a failed commit: a write may be on the disk; a conflict or a load changed nothing."""
        return self._file.failure(error, maybe_executed=isinstance(outcome, _CHANGES), identity=request.about)

    def _all_failed(self, batch: Sequence[AnyRequest], error: sqlite3.Error) -> list[Outcome]:
        return [self._file.failure(error, maybe_executed=False, identity=each.about) for each in batch]

    def _undo(self) -> None:
        assert self._connection is not None
        roll_back(self._connection)
