"""One connection to PostgreSQL: runs statements, and turns answers and failures into results.

`postgres` describes what they guarantee.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from inaho.config import StorageConfig
from inaho.errors import InahoError, InvalidConfig, StorageFailed
from inaho.errors.inspection import describe
from inaho.storage.base import StoredState, StoredVersion, conflict_of
from inaho.storage.instances import Mark, new_instance
from inaho.storage.postgres.log_statements import LOG_MARK, LogFound, LogRequest, LogStatements
from inaho.storage.postgres.statements import CREATE, MARK, MARK_NAME, SELECT, SELECT_NUMBERS, WRITE
from inaho.storage.urls import missing_package
from inaho.types import ClusterIdentity

try:
    import asyncpg as _asyncpg  # type: ignore[import-untyped,unused-ignore]
except ImportError as error:
    raise missing_package("asyncpg", "postgres") from error

__all__ = ["Answer", "Outcome", "Request", "Session", "limit_ms_of"]

asyncpg: Any = _asyncpg  # it has no types

_MARK: Final = "inaho grain states, schema 1"
"""The comment of the table: it identifies tables of inaho, and the version of their schema."""

_UNDEFINED_TABLE: Final = "42P01"

_LOOK: Final = "SELECT to_regclass($1)::oid, obj_description(to_regclass($1)::oid, 'pg_class')"

_LOCK: Final = f"SELECT pg_advisory_lock({0x696E6168_6F000001})"
_UNLOCK: Final = f"SELECT pg_advisory_unlock({0x696E6168_6F000001})"
"""Advisory lock for making tables."""

_STATEMENT_SHARE: Final = 0.8
"""Part of the remaining time after which the server gives a statement up."""

_LIMIT_MS_MIN: Final = 50
"""Least `statement_timeout`: it also applies to the statement with which the next batch sets a longer one."""

_WAITED: Final = ("57", "55P03")
"""SQLSTATEs of statements that took or waited too long. They are not retried one by one: each would take as long."""

_UNKNOWN_STATES: Final = ("08", "40003", "57P", "58")
"""SQLSTATEs after which a commit may have happened: connection, unknown completion, end of the server, its system.

In 57P01 the session may have been ended while its commit, already done, waited for a standby.
(https://www.postgresql.org/docs/current/errcodes-appendix.html)
"""


class Request(msgspec.Struct, frozen=True):
    """A write, a load when `version` is 0, or a read of the versions of `asked`."""

    about: str  # the identity, for errors; empty when there are several
    name: bytes = b""
    kind: str = ""
    key: str = ""
    version: int = 0
    epoch: int = 0
    data: bytes | None = None
    asked: tuple[bytes, ...] = ()
    seen: Mark | None = None  # the mark of the storage must not be behind this one


class Told(msgspec.Struct, frozen=True):
    """A result, with the mark of the storage that gave it.

    Attributes:
        found: of a load: the record. Of a read of versions: the versions. Of a write: a conflict, or None.
        mark: see `instances`.
        committed: the mark is that of a commit.
    """

    found: StoredState | list[StoredVersion | None] | InahoError | None
    mark: Mark
    committed: bool = False


Answer: TypeAlias = Told | LogFound
Outcome: TypeAlias = Answer | InahoError


class Session:
    """One connection, which is made again after a failure.

    Args:
        name: of the storage, for messages, without secrets.
        table: its name.
        config: `operation_timeout_s` applies.
        connect: makes a connection of asyncpg.
    """

    def __init__(self, name: str, table: str, config: StorageConfig, connect: Callable[[], Awaitable[Any]]) -> None:
        self._name = name
        self._table = table
        self._timeout_s = config.operation_timeout_s
        self._connect = connect
        self._connection: Any = None
        self._writing = False  # a write was sent and not answered: only then may a failure hide that it was executed
        self._limit_ms = 0  # the `statement_timeout` of the connection
        self._logs = LogStatements(table)
        self._has_logs = False  # the tables of the logs are there
        self._write, self._select, self._select_numbers, self._create, self._mark = (
            statement.format(table=table) for statement in (WRITE, SELECT, SELECT_NUMBERS, CREATE, MARK)
        )

    async def prepare(self) -> None:
        """Makes the table, and the mark in it, where they are missing.

        Raises:
            StorageFailed: the server cannot be reached, refuses, or the table is another application's.
            InvalidConfig: see `PostgresStorage.connect`.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._connected()
                await self._make_table(self._table, _MARK, self._create)
                await self._connection.execute(self._mark, new_instance().encode())
        except _ERRORS as error:
            raise self._failure(error, "", unknown=False) from error

    async def _make_table(self, table: str, mark: str, create: str) -> None:
        """Makes a table where it is missing."""
        connection = self._connection
        if await self._is_ours(table, mark):
            return
        # Several nodes may be starting at this moment. The lock belongs to the session: a transaction that began before
        # it would not reliably see the table that another one has made.
        await connection.execute(_LOCK)
        try:
            if not await self._is_ours(table, mark):
                async with connection.transaction():
                    await connection.execute(create)
                    await connection.execute(f"COMMENT ON TABLE {table} IS '{mark}'")
        except asyncpg.PostgresError:  # after other errors the session ends
            await connection.execute(_UNLOCK)
            raise
        await connection.execute(_UNLOCK)

    async def _is_ours(self, table: str, ours: str) -> bool:
        """Whether the table exists. Raises `StorageFailed` for a table of another application."""
        oid, mark = await self._connection.fetchrow(_LOOK, table)
        if oid is not None and mark is None:
            # `to_regclass` sees a table whose creation ended during this statement, `obj_description` not its comment.
            oid, mark = await self._connection.fetchrow(_LOOK, table)
        if oid is None or mark == ours:
            return oid is not None
        reason = f"has another schema ({mark})" if (mark or "").startswith("inaho") else "is another application's"
        raise StorageFailed(f"{self._name}: the table {table} {reason}: choose another", maybe_executed=False)

    async def serve(self, batch: Sequence[Request | LogRequest]) -> list[Outcome]:
        """Loads share one statement, a read of versions has its own, writes share as few as possible.

        Two writes of one record need two statements, and so do two appends to one log. Other requests about logs have
        their own. All of them share one deadline.
        """
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        outcomes: dict[int, Outcome] = {}
        rounds: list[dict[bytes, int]] = []
        loads: list[int] = []
        appends: list[dict[bytes, int]] = []
        alone: list[list[int]] = []
        for number, request in enumerate(batch):
            if isinstance(request, LogRequest):
                if request.operation == "append":
                    _join(appends, request.name, number)
                else:
                    alone.append([number])
            elif request.asked:
                alone.append([number])
            elif not request.version:
                loads.append(number)
            else:
                _join(rounds, request.name, number)
        parts = [loads, *alone, *(list(each.values()) for each in (*rounds, *appends))]
        for part in filter(None, parts):
            answers = await self._attempt([batch[number] for number in part], deadline)
            for number, answer in zip(part, answers, strict=True):
                outcomes[number] = answer
        return [outcomes[number] for number in range(len(batch))]

    async def _attempt(self, part: Sequence[Request | LogRequest], deadline: float) -> Sequence[Outcome]:
        """All loads, a read of versions, writes of different records, appends to different logs, or one log request.

        Requests that the server refuses together are tried one by one.
        """
        if asyncio.get_running_loop().time() >= deadline:
            return [self._failure(TimeoutError(), each.about, unknown=False) for each in part]
        answers: dict[bytes, Outcome] = {}
        self._writing = False
        try:
            async with asyncio.timeout_at(deadline):
                await self._ready(deadline)
                await self._run(part, answers)
        except _FAILURES as error:
            refused = _is_refusal(error)
            if _state_of(error) == _UNDEFINED_TABLE:
                self._has_logs = False
            unknown = self._writing and not refused
            if not refused:
                self._drop()
            elif len(part) > 1 and not _state_of(error).startswith(_WAITED):
                for each in part:
                    if each.name not in answers:
                        (answers[each.name],) = await self._attempt([each], deadline)
            return [
                answers[each.name] if each.name in answers else self._failure(error, each.about, unknown=unknown)
                for each in part
            ]
        except StorageFailed as failure:  # the tables of the logs are another application's
            self._drop()
            return [StorageFailed(failure.reason, identity=each.about, maybe_executed=False) for each in part]
        except BaseException:
            self._drop()
            raise
        return [answers[each.name] for each in part]

    async def _run(self, part: Sequence[Request | LogRequest], answers: dict[bytes, Outcome]) -> None:
        logs = [each for each in part if isinstance(each, LogRequest)]
        states = [each for each in part if isinstance(each, Request)]
        if logs:
            await self._ask_logs(logs, answers)
        elif states[0].version:
            await self._save(states, answers)
        elif states[0].asked:
            await self._read(states, answers)
        else:
            await self._load(states, answers)

    async def _ask_logs(self, logs: Sequence[LogRequest], answers: dict[bytes, Outcome]) -> None:
        if not self._has_logs:  # made when they are needed: not every user may make tables, nor needs logs
            await self._make_table(self._logs.table, LOG_MARK, self._logs.create)
            self._has_logs = True
        self._writing = logs[0].operation != "read"
        answers |= await self._logs.run(self._connection, logs)
        self._writing = False

    async def _load(self, loads: Sequence[Request], answers: dict[bytes, Outcome]) -> None:
        rows, mark = await self._fetch(self._select, [each.name for each in loads])
        found = {row[0]: StoredState(row[3], row[1], row[2]) for row in rows}
        for each in loads:
            answers[each.name] = Told(found.get(each.name), mark)

    async def _read(self, reads: Sequence[Request], answers: dict[bytes, Outcome]) -> None:
        for each in reads:
            found, mark = await self._numbers(each.asked)
            answers[each.name] = Told([found.get(name) for name in each.asked], mark)

    async def _numbers(self, names: Sequence[bytes]) -> tuple[dict[bytes, StoredVersion], Mark]:
        rows, mark = await self._fetch(self._select_numbers, names)
        return {row[0]: StoredVersion(row[1], row[2]) for row in rows}, mark

    async def _fetch(self, statement: str, names: Sequence[bytes]) -> tuple[list[Any], Mark]:
        rows: list[Any] = []
        mark = Mark()
        for row in await self._connection.fetch(statement, [*names, MARK_NAME]):
            if row[0] == MARK_NAME:
                mark = Mark(row[4], row[5])
            else:
                rows.append(row)
        return rows, mark

    async def _save(self, writes: Sequence[Request], answers: dict[bytes, Outcome]) -> None:
        """Fills `answers` as they become known, so that committed writes stay acknowledged if others fail."""
        left = list(writes)
        # All are from one storage object; the oldest mark is compared, since an answer may be on its way.
        seen = min((each.seen or Mark() for each in writes), key=lambda mark: mark.commits)
        while left:
            columns = (
                [each.name for each in left],
                [each.kind for each in left],
                [each.key for each in left],
                [each.version for each in left],
                [each.epoch for each in left],
                [each.data for each in left],
                seen.instance,
                seen.commits,
            )
            self._writing = True
            rows = await self._connection.fetch(self._write, *columns)
            self._writing = False
            written = {name: Told(None, Mark(instance or "", commit), True) for name, instance, commit in rows}
            answers |= written
            left = [each for each in left if each.name not in written]
            if not left:
                return
            found, mark = await self._numbers([each.name for each in left])
            for each in left:
                identity, stored = ClusterIdentity(each.kind, each.key), found.get(each.name)
                conflict = conflict_of(identity, stored, expected_version=each.version - 1, epoch=each.epoch)
                if conflict is not None or mark.contradicts(seen if seen.instance else None):
                    answers[each.name] = Told(conflict, mark)
            # The reason for refusing the others is gone: they were not written, and may be tried again.
            left = [each for each in left if each.name not in answers]

    async def _connected(self) -> Any:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._connect()
            self._limit_ms = limit_ms_of(self._timeout_s)
        return self._connection

    async def _ready(self, deadline: float) -> None:
        """Connects, and sets the server's time limit before `deadline`. The first statement of a batch needs none."""
        await self._connected()
        limit_ms = limit_ms_of(deadline - asyncio.get_running_loop().time())
        if abs(limit_ms - self._limit_ms) > limit_ms / 10:
            await self._connection.execute(f"SET statement_timeout = {limit_ms}")
            self._limit_ms = limit_ms

    def _drop(self) -> None:
        """Aborts the connection: no result on it is needed any more."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def close(self) -> None:
        """Closes the connection with a message to the server, if it still answers."""
        connection, self._connection = self._connection, None
        if connection is not None and not connection.is_closed():
            try:
                await connection.close(timeout=1.0)
            except _ERRORS:
                connection.terminate()

    def _failure(self, error: BaseException, identity: str, *, unknown: bool) -> StorageFailed:
        if isinstance(error, TimeoutError):
            limit_s = self._timeout_s
            what = f"no answer within {limit_s:g} s (storage.operation_timeout_s)"
        elif isinstance(error, InahoError):
            what = error.reason
        else:
            what = describe(error)
        failure = StorageFailed(f"{self._name}: {what}", identity=identity, maybe_executed=unknown)
        failure.__cause__ = error
        return failure


_ERRORS: Final[tuple[type[Exception], ...]] = (
    OSError,  # TimeoutError is one
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
_FAILURES: Final[tuple[type[Exception], ...]] = (*_ERRORS, InvalidConfig)


def _join(rounds: list[dict[bytes, int]], name: bytes, number: int) -> None:
    """Adds a request to the first round that has none with its name."""
    free = next((each for each in rounds if name not in each), None)
    if free is None:
        free = dict[bytes, int]()
        rounds.append(free)
    free[name] = number


def limit_ms_of(left_s: float) -> int:
    """The `statement_timeout` for a statement whose answer must be here in `left_s`."""
    return max(_LIMIT_MS_MIN, int(left_s * _STATEMENT_SHARE * 1000))


def _state_of(error: BaseException) -> str:
    """The SQLSTATE that the server gave with `error`; empty when it is not from the server."""
    return str(getattr(error, "sqlstate", None) or "")


def _is_refusal(error: BaseException) -> bool:
    """Whether the server has refused, so that nothing of the statement is stored."""
    state = _state_of(error)
    return bool(state) and not state.startswith(_UNKNOWN_STATES)
