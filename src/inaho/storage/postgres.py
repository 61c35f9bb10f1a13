"""State in PostgreSQL: one row per grain, conditional writes in one statement, shared by what has gathered.

A batch of saves is one `INSERT ... ON CONFLICT ... DO UPDATE ... WHERE` over all its rows, and so one round trip and
one flush of the log. The condition is checked row by row under the lock of the row, so that a conflict fails that save
alone and its neighbours commit. The rows are taken in the order of their names: two nodes whose batches overlap wait
for each other and never lock up. If the statement fails as a whole, its saves are tried one by one. What a conflict
found is read by a second statement: should that fail, it says nothing about the rows that the first one has written.

**What "durable" means is the server's configuration.** By default (`fsync` and `synchronous_commit` on) an acknowledged
save survives the end of the server and of its machine's power. Whether it survives the loss of the machine is the
choice of `synchronous_standby_names`: with asynchronous replication a fail-over loses what had not arrived at the
standby. `synchronous_commit = off` loses up to the last second when the server ends; nothing here turns it off.
(https://www.postgresql.org/docs/current/wal-async-commit.html)

**Lost answers.** A save whose answer did not come is `StorageFailed` with `maybe_executed`; nothing repeats it. A batch
has `operation_timeout_s` for all its statements. The server bounds each by `statement_timeout`, below what is left of
our own limit, so that waiting for a lock ends in a plain refusal. A server that stood still may carry out what it had
received; it does so only if nobody has written since, so that no acknowledged save is lost, and the writer's next save
is then a `StateConflict`.

The primary key is the SHA-256 of kind and key, because an index entry of PostgreSQL ends at 2,700 bytes.

Behind PgBouncer use its session mode: prepared statements and settings belong to the connection here.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final, TypeAlias

import msgspec

from inaho.config import StorageConfig
from inaho.errors import InahoError, InvalidConfig, StorageFailed
from inaho.storage.base import Storage, StoredState, conflict_of
from inaho.storage.lanes import Lanes
from inaho.storage.postgres_statements import CREATE, SELECT, SELECT_NUMBERS, WRITE
from inaho.storage.urls import missing_package, shown
from inaho.types import ClusterIdentity

try:
    import asyncpg as _asyncpg  # type: ignore[import-untyped,unused-ignore]
except ImportError as error:
    raise missing_package("asyncpg", "postgres") from error

__all__ = ["PostgresStorage"]

asyncpg: Any = _asyncpg  # it has no types

_MARK: Final = "inaho grain states, schema 1"
"""The comment of the table: tells our tables from others', and this schema from later ones."""

_LOCK: Final = 0x696E6168_6F000001
"""Advisory lock of those who make the table."""

_TABLE_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}(\.[a-z_][a-z0-9_]{0,62})?")

_PORT: Final = re.compile(r":(-?[0-9]{1,20})[0-9]*(?=,|$)")
_PORT_MAX: Final = 65535

_VALUE_BYTES_MAX: Final = 256 << 20
"""PostgreSQL refuses messages and values of 1 GiB, and needs the memory of a large one several times."""

_STATEMENT_SHARE: Final = 0.8
"""Part of the time that is left for it after which the server gives a statement up."""

_LIMIT_MS_MIN: Final = 50
"""Least `statement_timeout`: it also bounds the statement by which the next batch sets a longer one."""

_WAITED: Final = ("57", "55P03")
"""SQLSTATEs of statements that took or waited too long: one by one, each would take as long again."""

_UNKNOWN_STATES: Final = ("08", "40003", "57P", "58")
"""SQLSTATEs after which a commit may have happened: connection, unknown completion, end of the server, its system.

In 57P01 the session may have been ended while its commit, already done, waited for a standby.
(https://www.postgresql.org/docs/current/errcodes-appendix.html)
"""


class _Request(msgspec.Struct, frozen=True):
    """A write, or a load when `version` is 0."""

    identity: ClusterIdentity
    name: bytes
    version: int = 0
    epoch: int = 0
    data: bytes | None = None


_Outcome: TypeAlias = StoredState | InahoError | None
"""Of a load: what is stored. Of a write: None, or what refused it."""


class PostgresStorage(Storage):
    """Storage in a table of a PostgreSQL database; all nodes of a cluster may share it.

    It belongs to the event loop on which it is opened.

    Args:
        dsn: `postgresql://user:password@host:port/database?sslmode=verify-full`, as libpq takes it; what it leaves
            out comes from `PGHOST`, `PGPASSWORD` and the like.
        table: made by the first `open`, if the user may; `schema.table` for one outside of the search path.
        config: bounds, `connections_max` and `operation_timeout_s`.

    Raises:
        InvalidConfig: the DSN, the table's name or a bound is none that PostgreSQL can serve.
    """

    def __init__(self, dsn: str, *, table: str = "inaho_grain_states", config: StorageConfig | None = None) -> None:
        super().__init__(config)
        if not dsn.startswith(("postgresql://", "postgres://")):
            raise InvalidConfig(f"PostgresStorage needs a postgresql:// DSN, not {shown(dsn)!r}")
        if not all(0 < port <= _PORT_MAX for port in _ports(dsn)):  # some loops would take it modulo 65536
            raise InvalidConfig(f"PostgresStorage cannot use the DSN {shown(dsn)}: ports are 1 to {_PORT_MAX}")
        if not _TABLE_NAME.fullmatch(table):
            raise InvalidConfig(
                f"the table {table!r} must be named in small letters, digits and _, perhaps schema.table"
            )
        if self.config.data_bytes_max > _VALUE_BYTES_MAX:
            raise InvalidConfig(f"storage.data_bytes_max must be at most {_VALUE_BYTES_MAX} bytes in PostgreSQL")
        self.table = table
        self._dsn = dsn
        self._shown = shown(dsn)
        self._lanes: Lanes[_Request, _Outcome] | None = None

    def __repr__(self) -> str:
        return f"PostgresStorage({self._shown!r})"

    @property
    def queued(self) -> int:
        """Operations accepted and not yet answered."""
        return 0 if self._lanes is None else self._lanes.queued

    async def _open(self) -> None:
        first = _Session(self)
        try:
            await first.prepare()
        finally:
            await first.close()
        self._lanes = Lanes(
            repr(self),
            lambda: _Session(self),
            self.config,
            lanes_max=self.config.connections_max,
            batch_requests_max=self.config.batch_requests_max,
        )

    async def _close(self) -> None:
        lanes = self._require()
        self._lanes = None
        await lanes.stop()

    async def _load(self, identity: ClusterIdentity) -> StoredState | None:
        lanes = self._require()
        await lanes.settled(identity)
        outcome = await lanes.submit(None, _Request(identity, _name(identity)), 0)
        assert not isinstance(outcome, InahoError)
        return outcome

    async def _write(self, identity: ClusterIdentity, data: bytes | None, *, expected_version: int, epoch: int) -> int:
        request = _Request(identity, _name(identity), expected_version + 1, epoch, data)
        await self._require().submit(identity, request, len(data or b""))
        return request.version

    async def connect(self) -> Any:
        """A new connection of asyncpg, with our limits.

        Raises:
            InvalidConfig: the DSN is wrong; what is wrong is not repeated, as it may be a part of the password.
        """
        timeout_s = self.config.operation_timeout_s
        settings = {
            "application_name": "inaho",
            "default_transaction_isolation": "read committed",
            "statement_timeout": str(_limit_ms(timeout_s)),
        }
        try:
            return await asyncpg.connect(self._dsn, timeout=timeout_s, server_settings=settings)
        except (ValueError, TypeError, OverflowError, asyncpg.ClientConfigurationError):
            raise InvalidConfig(
                f"PostgresStorage cannot use the DSN {self._shown}: see libpq's connection URIs"
            ) from None

    def _require(self) -> Lanes[_Request, _Outcome]:
        if self._lanes is None:
            raise StorageFailed(f"{self!r} is not open", maybe_executed=False)
        return self._lanes


class _Session:
    """One connection, which is made anew when it has failed."""

    def __init__(self, storage: PostgresStorage) -> None:
        self._storage = storage
        self._connection: Any = None
        self._writing = False  # a write was sent and not answered: only then may a failure hide that it was executed
        self._limit_ms = 0  # the `statement_timeout` of the connection
        self._write, self._select, self._select_numbers, self._create = (
            statement.format(table=storage.table) for statement in (WRITE, SELECT, SELECT_NUMBERS, CREATE)
        )

    async def prepare(self) -> None:
        """Makes the table where it is missing.

        Raises:
            StorageFailed: the server cannot be reached, refuses, or the table is another application's.
            InvalidConfig: see `PostgresStorage.connect`.
        """
        try:
            async with asyncio.timeout(self._storage.config.operation_timeout_s):
                connection = await self._connected()
                if await self._is_ours():
                    return
                # Several nodes may be starting at this moment. The lock is the session's, which ends soon: a
                # transaction that began before it would not reliably see the table that another one has made.
                await connection.execute(f"SELECT pg_advisory_lock({_LOCK})")
                if not await self._is_ours():
                    async with connection.transaction():
                        await connection.execute(self._create)
                        await connection.execute(f"COMMENT ON TABLE {self._storage.table} IS '{_MARK}'")
        except _ERRORS as error:
            raise self._failure(error, "", unknown=False) from error

    async def _is_ours(self) -> bool:
        """Whether the table is there. Raises `StorageFailed` on a foreign one."""
        table = self._storage.table
        oid, mark = await self._connection.fetchrow(
            "SELECT to_regclass($1)::oid, obj_description(to_regclass($1)::oid, 'pg_class')", table
        )
        if oid is None or mark == _MARK:
            return oid is not None
        reason = f"has another schema ({mark})" if (mark or "").startswith("inaho") else "is another application's"
        raise StorageFailed(f"{self._storage!r}: the table {table} {reason}: choose another", maybe_executed=False)

    async def serve(self, batch: Sequence[_Request]) -> list[_Outcome]:
        """Loads in one statement, writes in as few as may be: two of one record need two. They share one deadline."""
        deadline = asyncio.get_running_loop().time() + self._storage.config.operation_timeout_s
        outcomes: list[_Outcome] = [None] * len(batch)
        rounds: list[dict[bytes, int]] = []
        loads: list[int] = []
        for number, request in enumerate(batch):
            if not request.version:
                loads.append(number)
                continue
            free = next((each for each in rounds if request.name not in each), None)
            if free is None:
                free = dict[bytes, int]()
                rounds.append(free)
            free[request.name] = number
        parts = [loads, *(list(each.values()) for each in rounds)]
        for part in filter(None, parts):
            answers = await self._attempt([batch[number] for number in part], deadline)
            for number, answer in zip(part, answers, strict=True):
                outcomes[number] = answer
        return outcomes

    async def _attempt(self, part: Sequence[_Request], deadline: float) -> Sequence[_Outcome]:
        """All loads, or writes of different records; one by one when the server refuses them together."""
        if asyncio.get_running_loop().time() >= deadline:
            return [self._failure(TimeoutError(), str(each.identity), unknown=False) for each in part]
        answers: dict[bytes, _Outcome] = {}
        self._writing = False
        try:
            async with asyncio.timeout_at(deadline):
                await self._ready(deadline)
                await (self._save if part[0].version else self._load)(part, answers)
        except _FAILURES as error:
            refused = _is_refusal(error)
            unknown = self._writing and not refused
            if not refused:
                self._drop()
            elif len(part) > 1 and not _state_of(error).startswith(_WAITED):
                for each in part:
                    if each.name not in answers:
                        (answers[each.name],) = await self._attempt([each], deadline)
            return [
                answers[each.name]
                if each.name in answers
                else self._failure(error, str(each.identity), unknown=unknown)
                for each in part
            ]
        except BaseException:
            self._drop()
            raise
        return [answers[each.name] for each in part]

    async def _load(self, loads: Sequence[_Request], answers: dict[bytes, _Outcome]) -> None:
        rows = await self._connection.fetch(self._select, [each.name for each in loads])
        answers |= dict.fromkeys(each.name for each in loads)
        answers |= {row[0]: StoredState(row[1], row[2], row[3]) for row in rows}

    async def _save(self, writes: Sequence[_Request], answers: dict[bytes, _Outcome]) -> None:
        """Fills `answers` as they become known: what has been written stays so whatever happens to the others."""
        left = list(writes)
        while left:
            columns = (
                [each.name for each in left],
                [each.identity.kind for each in left],
                [each.identity.key for each in left],
                [each.version for each in left],
                [each.epoch for each in left],
                [each.data for each in left],
            )
            self._writing = True
            written = {row[0] for row in await self._connection.fetch(self._write, *columns)}
            self._writing = False
            answers |= dict.fromkeys(written)
            left = [each for each in left if each.name not in written]
            if not left:
                return
            rows = await self._connection.fetch(self._select_numbers, [each.name for each in left])
            found = {row[0]: StoredState(row[1], row[2], row[3]) for row in rows}
            for each in left:
                stored = found.get(each.name)
                conflict = conflict_of(each.identity, stored, expected_version=each.version - 1, epoch=each.epoch)
                if conflict is not None:
                    answers[each.name] = conflict
            # What refused the others has changed since: they were not written, and may be tried again.
            left = [each for each in left if each.name not in answers]

    async def _connected(self) -> Any:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._storage.connect()
            self._limit_ms = _limit_ms(self._storage.config.operation_timeout_s)
        return self._connection

    async def _ready(self, deadline: float) -> None:
        """Connects, and has the server give up before `deadline`. The first statement of a batch needs no telling."""
        await self._connected()
        limit_ms = _limit_ms(deadline - asyncio.get_running_loop().time())
        if abs(limit_ms - self._limit_ms) > limit_ms / 10:
            await self._connection.execute(f"SET statement_timeout = {limit_ms}")
            self._limit_ms = limit_ms

    def _drop(self) -> None:
        """Ends the connection without a word: what is still under way on it belongs to nobody."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def close(self) -> None:
        """Takes leave of the server, if it still listens."""
        connection, self._connection = self._connection, None
        if connection is not None and not connection.is_closed():
            try:
                await connection.close(timeout=1.0)
            except _ERRORS:
                connection.terminate()

    def _failure(self, error: BaseException, identity: str, *, unknown: bool) -> StorageFailed:
        if isinstance(error, TimeoutError):
            limit_s = self._storage.config.operation_timeout_s
            what = f"no answer within {limit_s:g} s (storage.operation_timeout_s)"
        elif isinstance(error, InahoError):
            what = error.reason
        else:
            what = f"{type(error).__name__}: {error}"
        failure = StorageFailed(f"{self._storage!r}: {what}", identity=identity, maybe_executed=unknown)
        failure.__cause__ = error
        return failure


_ERRORS: Final[tuple[type[Exception], ...]] = (
    OSError,  # TimeoutError is one
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
_FAILURES: Final[tuple[type[Exception], ...]] = (*_ERRORS, InvalidConfig)


def _limit_ms(left_s: float) -> int:
    """The `statement_timeout` for a statement whose answer must be here in `left_s`."""
    return max(_LIMIT_MS_MIN, int(left_s * _STATEMENT_SHARE * 1000))


def _state_of(error: BaseException) -> str:
    """The SQLSTATE that the server gave with `error`; empty when it is not from the server."""
    return str(getattr(error, "sqlstate", None) or "")


def _is_refusal(error: BaseException) -> bool:
    """Whether the server has said no, so that nothing of the statement is stored."""
    state = _state_of(error)
    return bool(state) and not state.startswith(_UNKNOWN_STATES)


def _name(identity: ClusterIdentity) -> bytes:
    return sha256(f"{identity.kind}\0{identity.key}".encode()).digest()


def _ports(dsn: str) -> list[int]:
    """The ports that the DSN names, of one host or several. Its options are left to asyncpg."""
    hosts = re.split("[/?#]", dsn.partition("://")[2], maxsplit=1)[0].rpartition("@")[2]
    return [int(port) for port in _PORT.findall(hosts)]
