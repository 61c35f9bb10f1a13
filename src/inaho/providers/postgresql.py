"""Topology in PostgreSQL: a table of heartbeats, blocked authorities and the record of a cluster.

A row has a key as in a key-value store: `members/<authority>`, `blocked/<authority>` or `record`. A registration lasts
until its `expires_at`, by the clock of the server, so clocks of nodes do not matter. A registration also removes rows
that have expired. Each change is one statement and one transaction: no node holds a lock while it stands still.

Changes of members are notified (LISTEN, NOTIFY), which is a hint to read. A row that expires notifies nobody: a watch
also reports when the time of one that was read is over. All requests and the notifications of a provider use one
connection, because a server has few.

The record is changed by compare-and-set on its version, and `synchronous_commit` is on. Only a primary is used: a
standby may be behind. Where a fail-over loses commits, as with asynchronous standbys, it may lose the record as well.

Why not advisory locks in place of heartbeats: a lock lasts as long as the connection, and a server may believe in a
connection that was cut for two hours.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
from collections.abc import AsyncIterator
from typing import Any, Final

import xxhash

from inaho.core.provisioning.descriptor import Capabilities
from inaho.core.provisioning.founding import ClusterRecord
from inaho.core.provisioning.snapshot import ProviderMember
from inaho.errors import InvalidSnapshot, ProviderError, ProviderInvalid, ProviderStreamFailed, ProviderUnreachable
from inaho.errors.inspection import describe, text_of
from inaho.providers.base import ProviderRead
from inaho.providers.definition_checks import check_names, servers_of, tls_context
from inaho.providers.entries import decode_member, decode_record, encode
from inaho.providers.postgresql_errors import NAMES_USER, failure_of
from inaho.providers.postgresql_statements import (
    CHECK,
    CREATE,
    DEREGISTER,
    INSERT_RECORD,
    LOCK,
    MARK,
    READ,
    READ_RECORD,
    REGISTER,
    RENEW,
    UPDATE_RECORD,
)
from inaho.providers.setup import ProviderSetup
from inaho.providers.tls_files import TlsFiles

try:
    import asyncpg as _asyncpg  # type: ignore[import-untyped,unused-ignore]
except ImportError as error:
    raise ProviderInvalid("a provider postgresql needs the package asyncpg: pip install 'inaho[postgres]'") from error

__all__ = ["PostgresProvider"]

asyncpg: Any = _asyncpg  # it has no types

_PORT: Final = 5432
_OPTIONS: Final = ("ca", "cert", "host", "key", "prefix", "schema", "table", "tls")
_SECRETS: Final = ("password", "username")
_ENTRIES_MAX: Final = 50_000
_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_TABLE: Final = "inaho_topology"
_STATEMENT_SHARE: Final = 0.8
"""Part of the time for a request after which the server gives a statement up, so that waiting ends in an answer."""

_FAILURES: Final[tuple[type[Exception], ...]] = (
    OSError,  # TimeoutError is one
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)

_NEXT_SERVER: Final[tuple[type[Exception], ...]] = (*_FAILURES, ProviderUnreachable)

_NO_TABLE: Final = "42P01"


class PostgresProvider:
    """A provider in a table of a PostgreSQL database, see the module.

    Args:
        setup: `postgresql://host:port/database`, several hosts separated by commas: the primary among them is used.
            Options: `table`, `schema` (else the first of the search path), `prefix` (of the rows, else the name of the
            cluster), `host` (the folder of a Unix socket), `tls` (`true`), `ca`, `cert`, `key` (files). Secrets:
            `username`, `password`; what is not given comes from `PGUSER`, `PGPASSWORD` and the like.

    Raises:
        ProviderInvalid: a part of the URL, an option or a secret is wrong.
    """

    capabilities: Capabilities = Capabilities(watch=True, register=True, record=True, details=True)

    def __init__(self, setup: ProviderSetup) -> None:
        check_names(setup, _OPTIONS, _SECRETS)
        options = setup.url.options
        self.name = setup.name
        self._setup = setup
        self._servers = servers_of(setup, _PORT)
        if "host" in options:
            self._servers = ((options["host"], self._servers[0][1] if self._servers else _PORT),)
        self._database = setup.url.path
        self._about = f"provider {setup.name}: PostgreSQL at {options.get('host', ','.join(setup.url.servers))}"
        if not self._servers or not self._database or "/" in self._database:
            raise ProviderInvalid(
                f"provider {setup.name}: write a server and a database, as in postgresql://127.0.0.1:5432/shop"
            )
        self._tls = TlsFiles.of(setup)
        tls = options.get("tls", "false")
        if tls not in ("true", "false") or (tls == "false" and self._tls != TlsFiles()):
            raise ProviderInvalid(f"provider {setup.name}: write tls=true; ca, cert and key need it")
        self._context = tls_context(setup) if tls == "true" else None
        self._prefix = options.get("prefix") or setup.cluster
        self._schema = options.get("schema")
        table = options.get("table", _TABLE)
        for option, name in (("table", table), ("schema", self._schema)):
            if name is not None and not _NAME.fullmatch(name):
                raise ProviderInvalid(
                    f"provider {setup.name}: the option {option} must be small letters, digits and _, not {name!r}"
                )
        self._channel = table
        self._table = f'"{table}"' if self._schema is None else f'"{self._schema}"."{table}"'
        self._timeout_s = setup.request_timeout_s
        self._connection: Any = None
        self._turn = asyncio.Lock()
        self._watches: dict[asyncio.Event, None] = {}
        self._expiry_at: float | None = None  # of what was read last, by the clock of the event loop
        self._own: tuple[str, str] | None = None  # key and node id
        self._closed = False

    def __repr__(self) -> str:
        return f"PostgresProvider({self.name!r})"

    async def check(self) -> None:
        """See `TopologyProvider`. It makes no table; if there is none, it checks that this user may make it."""
        found = await self._run(CHECK, self._table, self._schema) or []
        if found[0][3] and found[0][4] is None:  # another node may make the table: it is seen before its comment
            found = await self._run(CHECK, self._table, self._schema) or []
        read_only, schema, may_create, exists, mark, missing = found[0]
        if read_only:
            raise ProviderUnreachable(f"{self._about} accepts no writes now: it is a standby, or was set to read only")
        if not exists and not may_create:
            where = f"in the schema {schema}" if schema else "because the search path has no schema"
            raise ProviderInvalid(
                f"{self._about} has no table {self._table}, and this user may not create it {where}; "
                "grant CREATE, or create the table as the guide says"
            )
        if exists and mark != MARK:
            raise ProviderInvalid(
                f"{self._about} has a table {self._table} that inaho has not made ({mark or 'no comment'}); "
                "choose another with the option table"
            )
        if exists and missing:
            raise ProviderInvalid(f"{self._about} refuses {', '.join(missing)} on {self._table}; grant it")

    async def read(self) -> ProviderRead:
        """See `TopologyProvider`."""
        rows = await self._run(READ, self._prefix, _ENTRIES_MAX + 1) or []
        if len(rows) > _ENTRIES_MAX:
            raise InvalidSnapshot(f"{self._about} has more than {_ENTRIES_MAX} rows with the prefix {self._prefix}")
        members: list[ProviderMember] = []
        blocked: list[str] = []
        position = xxhash.xxh3_64()
        left_s = [left_s for _, _, left_s in rows if left_s is not None]
        self._expiry_at = asyncio.get_running_loop().time() + min(left_s) if left_s else None
        for key, value, _ in rows:
            part, _, authority = key.partition("/")
            if part == "members":
                members.append(decode_member(value, f"{key} of {self._about}"))
            elif part == "blocked":
                blocked.append(authority)
            position.update(f"{key}\0{value}\0".encode())
        return ProviderRead(tuple(members), tuple(blocked), position.hexdigest())

    async def watch(self, position: str) -> AsyncIterator[ProviderRead | None]:
        """See `TopologyProvider`. It ends with the connection."""
        notified = asyncio.Event()
        self._watches[notified] = None
        try:
            found = await self.read()
            connection = self._connection
            if found.position != position:
                yield found
            while True:
                self._require_open()
                if connection is None or connection is not self._connection or connection.is_closed():
                    raise ProviderStreamFailed(f"{self._about} ended the connection that notifies of changes")
                self._look_for_expiry()
                if notified.is_set():
                    notified.clear()
                    yield None
                    continue
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(self._expiry_at):
                        await notified.wait()
        finally:
            del self._watches[notified]

    async def register(self, member: ProviderMember, ttl_s: float) -> None:
        """See `TopologyProvider`."""
        self._own = (_key(member), member.node_id)
        await self._write(REGISTER, _key(member), encode(member), member.node_id, ttl_s)

    async def renew(self, member: ProviderMember, ttl_s: float) -> bool:
        """See `TopologyProvider`."""
        return bool(await self._run(RENEW, self._prefix, _key(member), member.node_id, ttl_s))

    async def deregister(self) -> None:
        """See `TopologyProvider`."""
        if self._own is not None:
            await self._run(DEREGISTER, self._prefix, *self._own)
            self._own = None

    async def read_record(self) -> tuple[ClusterRecord | None, str]:
        """See `TopologyProvider`."""
        rows = await self._run(READ_RECORD, self._prefix)
        if not rows:
            return None, ""
        ((text, version),) = rows
        return decode_record(text, f"record of {self._about}"), version

    async def write_record(self, record: ClusterRecord, token: str) -> bool:
        """See `TopologyProvider`."""
        # A version is drawn and not counted: a record that was removed and written anew has another one.
        version = secrets.token_hex(8)
        if token:
            values = (self._prefix, encode(record), version, token)
            return bool(await self._run(UPDATE_RECORD, *values))
        return bool(await self._write(INSERT_RECORD, encode(record), version))

    async def close(self) -> None:
        """See `TopologyProvider`."""
        self._closed = True
        connection = self._connection
        if connection is not None and not self._turn.locked():
            with contextlib.suppress(*_FAILURES):  # it says goodbye, so the server logs no lost connection
                await connection.close(timeout=self._timeout_s)
        self._drop()

    # Requests, one after the other.

    async def _write(self, statement: str, *values: str | float) -> list[Any]:
        """As `_run`; makes the table if there is none."""
        rows = await self._run(statement, self._prefix, *values)
        if rows is None:
            await self._run(CREATE)
            rows = await self._run(statement, self._prefix, *values)
        if rows is None:
            raise ProviderStreamFailed(f"{self._about}: the table {self._table} was removed a moment ago")
        return rows

    async def _run(self, statement: str, *values: str | float | None) -> list[Any] | None:
        """The rows of a statement; None if there is no table. Raises `ProviderError`."""
        self._require_open()
        text = statement.format(table=self._table, channel=self._channel, lock=LOCK, mark=MARK)
        try:
            async with asyncio.timeout(self._timeout_s), self._turn:
                try:
                    return await self._fetch(text, *values)
                except _FAILURES as error:
                    if isinstance(error, TimeoutError) or _is_refusal(error):
                        raise
                # The connection may have ended long before. Each statement does the same when it is sent again.
                return await self._fetch(text, *values)
        except _FAILURES as error:
            if _state_of(error) == _NO_TABLE:
                return None
            self._require_open()
            failure = self._failure(error)
            raise failure from (None if _state_of(error).startswith(NAMES_USER) else error)

    async def _fetch(self, text: str, *values: str | float | None) -> list[Any]:
        connection = await self._connected()
        try:
            rows: list[Any] = await connection.fetch(text, *values)
        except BaseException as error:
            if not _is_refusal(error):
                self._drop()  # an answer may still come, and no other request must take it
            raise
        return rows

    async def _connected(self) -> Any:
        """The connection, made if there is none."""
        if self._connection is not None and not self._connection.is_closed():
            return self._connection
        self._drop()
        self._require_open()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout_s
        failure: Exception = TimeoutError()
        for number, server in enumerate(self._servers):
            share_s = (deadline - loop.time()) / (len(self._servers) - number)
            try:
                async with asyncio.timeout(share_s):
                    self._connection = await self._connect(*server)
                return self._connection
            except _NEXT_SERVER as error:
                failure = failure if _is_refusal(failure) else error
        raise failure

    async def _connect(self, host: str, port: int) -> Any:
        """A connection to a primary, which notifies of changes."""
        try:
            user, password = (self._setup.secrets.read(name) or None for name in ("username", "password"))
        except ProviderInvalid as error:
            raise ProviderInvalid(f"{self._about}: {error.reason}") from error
        connection = await asyncpg.connect(
            host=host,
            port=port,
            database=self._database,
            user=user,
            password=password,
            ssl=self._context or False,
            timeout=self._timeout_s,
            server_settings={
                "application_name": "inaho",
                "default_transaction_isolation": "read committed",
                "statement_timeout": str(int(self._timeout_s * _STATEMENT_SHARE * 1000)),
                "synchronous_commit": "on",
            },
        )
        try:
            if await connection.fetchval("SELECT pg_is_in_recovery()"):
                raise ProviderUnreachable(f"{self._about}: {host}:{port} is a standby; name the primary as well")
            self._require_open()
            await connection.add_listener(self._channel, self._notified)
            connection.add_termination_listener(self._terminated)
        except BaseException:
            connection.terminate()
            raise
        return connection

    def _notified(self, connection: Any, process: int, channel: str, prefix: str) -> None:
        if prefix == self._prefix:
            self._wake()

    def _terminated(self, connection: Any) -> None:
        self._wake()

    def _look_for_expiry(self) -> None:
        """Wakes the watches, once for each read, when the time of a registration that the last read found is over."""
        if self._expiry_at is not None and asyncio.get_running_loop().time() >= self._expiry_at:
            self._expiry_at = None
            self._wake()

    def _wake(self) -> None:
        for notified in self._watches:
            notified.set()

    def _drop(self) -> None:
        """Aborts the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()
        self._wake()

    def _require_open(self) -> None:
        if self._closed:
            raise ProviderUnreachable(f"provider {self.name} is closed")

    def _failure(self, error: Exception) -> ProviderError:
        problem = self._tls.problem(error)
        if problem:
            return ProviderInvalid(f"{self._about}: {problem}")
        if _state_of(error):
            return failure_of(self._about, _state_of(error), text_of(error))
        if isinstance(error, TimeoutError):
            return ProviderUnreachable(f"{self._about} has not answered within {self._timeout_s:g} s")
        return ProviderUnreachable(f"{self._about} cannot be reached: {describe(error)}")


def _key(member: ProviderMember) -> str:
    return f"members/{member.authority}"


def _state_of(error: BaseException) -> str:
    """The SQLSTATE that the server gave; empty if the error is not from the server."""
    return str(getattr(error, "sqlstate", None) or "")


def _is_refusal(error: BaseException) -> bool:
    """Whether the server has answered with an error and keeps the connection."""
    state = _state_of(error)
    return bool(state) and not state.startswith(("08", "57P", "58"))
