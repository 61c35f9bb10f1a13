"""`PostgresStorage`: one row per grain, conditional saves of a whole batch in one statement.

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

import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final

from inaho.config import StorageConfig
from inaho.errors import InahoError, InvalidConfig, StorageFailed
from inaho.storage.base import Storage, StoredState, StoredVersion
from inaho.storage.postgres.log import PostgresLog
from inaho.storage.postgres.log_statements import LogRequest
from inaho.storage.postgres.session import Answer, Request, Session, Told, limit_ms_of
from inaho.storage.server_queue import Lanes
from inaho.storage.urls import missing_package, shown
from inaho.types import ClusterIdentity

try:
    import asyncpg as _asyncpg  # type: ignore[import-untyped,unused-ignore]
except ImportError as error:
    raise missing_package("asyncpg", "postgres") from error

__all__ = ["PostgresStorage"]

asyncpg: Any = _asyncpg  # it has no types

_TABLE_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}(\.[a-z_][a-z0-9_]{0,62})?")

_PORT: Final = re.compile(r":(-?[0-9]{1,20})[0-9]*(?=,|$)")
_PORT_MAX: Final = 65535

_VALUE_BYTES_MAX: Final = 256 << 20
"""PostgreSQL refuses messages and values of 1 GiB, and needs the memory of a large one several times."""


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
        if not all(0 < port <= _PORT_MAX for port in _ports(dsn)):  # some event loops would use it modulo 65536
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
        self._lanes: Lanes[Request | LogRequest, Answer] | None = None
        self._log = PostgresLog(self.config, self._check_usable, lanes=self._require, instances=self.instances)

    def __repr__(self) -> str:
        return f"PostgresStorage({self._shown!r})"

    @property
    def log(self) -> PostgresLog:
        """The logs of topics, in two tables beside that of the states; the first operation makes them."""
        return self._log

    @property
    def queued(self) -> int:
        """Operations accepted and not yet answered."""
        return 0 if self._lanes is None else self._lanes.queued

    def _session(self) -> Session:
        return Session(repr(self), self.table, self.config, self.connect)

    async def _open(self) -> None:
        await self._accept()
        self._lanes = Lanes(
            repr(self),
            self._session,
            self.config,
            lanes_max=self.config.connections_max,
            batch_requests_max=self.config.batch_requests_max,
        )

    async def _accept(self) -> None:
        first = self._session()
        try:
            await first.prepare()
        finally:
            await first.close()

    async def _close(self) -> None:
        lanes = self._require()
        self._lanes = None
        await lanes.stop()

    async def _load(self, identity: ClusterIdentity) -> StoredState | None:
        lanes = self._require()
        await lanes.settled(identity)
        outcome = await self._submit(lanes, None, Request(str(identity), _name(identity), seen=self.instances.seen()))
        assert outcome is None or isinstance(outcome, StoredState)
        return outcome

    async def _versions(self, identities: Sequence[ClusterIdentity]) -> list[StoredVersion | None]:
        lanes = self._require()
        for identity in identities:
            await lanes.settled(identity)
        request = Request("", asked=tuple(map(_name, identities)), seen=self.instances.seen())
        outcome = await self._submit(lanes, None, request)
        assert isinstance(outcome, list)
        return outcome

    async def _write(self, identity: ClusterIdentity, data: bytes | None, *, expected_version: int, epoch: int) -> int:
        request = Request(
            str(identity),
            _name(identity),
            identity.kind,
            identity.key,
            expected_version + 1,
            epoch,
            data,
            seen=self.instances.seen(),
        )
        conflict = await self._submit(self._require(), identity, request)
        if isinstance(conflict, InahoError):
            raise conflict
        return request.version

    async def _submit(
        self, lanes: Lanes[Request | LogRequest, Answer], key: ClusterIdentity | None, request: Request
    ) -> StoredState | list[StoredVersion | None] | InahoError | None:
        told = await lanes.submit(key, request, len(request.data or b""))
        assert isinstance(told, Told)
        # A load may see a transaction that a standby does not have yet. Only acknowledged writes are certain to stay.
        self.instances.check(request.seen, told.mark, identity=request.about, rises=told.committed)
        return told.found

    async def connect(self) -> Any:
        """A new connection of asyncpg, with the limits of inaho.

        Raises:
            InvalidConfig: the DSN is wrong; the wrong part is not shown, as it may belong to the password.
        """
        timeout_s = self.config.operation_timeout_s
        settings = {
            "application_name": "inaho",
            "default_transaction_isolation": "read committed",
            "statement_timeout": str(limit_ms_of(timeout_s)),
        }
        try:
            return await asyncpg.connect(self._dsn, timeout=timeout_s, server_settings=settings)
        except (ValueError, TypeError, OverflowError, asyncpg.ClientConfigurationError):
            raise InvalidConfig(
                f"PostgresStorage cannot use the DSN {self._shown}: see libpq's connection URIs"
            ) from None

    def _require(self) -> Lanes[Request | LogRequest, Answer]:
        if self._lanes is None:
            raise StorageFailed(f"{self!r} is not open", maybe_executed=False)
        return self._lanes


def _name(identity: ClusterIdentity) -> bytes:
    return sha256(f"{identity.kind}\0{identity.key}".encode()).digest()


def _ports(dsn: str) -> list[int]:
    """The ports that the DSN names, of one host or several. asyncpg checks its options."""
    hosts = re.split("[/?#]", dsn.partition("://")[2], maxsplit=1)[0].rpartition("@")[2]
    return [int(port) for port in _PORT.findall(hosts)]
