"""Topology in Redis: registrations, blocked authorities and the record of a cluster, in four keys of one slot.

Registrations are one hash, and a sorted set says when each ends, by the clock of the server. Each change is one Lua
script, and Redis runs nothing else meanwhile. So a list is one request, without KEYS or SCAN, and what has expired is
removed with the next registration or renewal.

Redis is read once a second. It is not trusted to notify: keyspace notifications are off by default, and those that are
sent while a client is away are lost.

**The record** is written only where no restart and no fail-over forgets it. A primary acknowledges before its replicas
have the write, so a promoted replica may know nothing of a cluster that was founded. The script that reads or writes
the record looks at the server first: a primary without replicas, not clustered, with an append-only file that is
flushed for each write. Otherwise the record is refused with the reason, and `capabilities` says so after `check`.

Why not one key with PX for each registration: a list of them would need SCAN, or an index that can differ from them.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import msgspec

from inaho.core.provisioning.descriptor import Capabilities
from inaho.core.provisioning.founding import ClusterRecord
from inaho.core.provisioning.snapshot import ProviderMember
from inaho.errors import InvalidSnapshot, ProviderError, ProviderInvalid, ProviderStreamFailed, ProviderUnreachable
from inaho.errors.inspection import describe, text_of
from inaho.providers.base import ProviderRead
from inaho.providers.definition_checks import check_names, servers_of, tls_context
from inaho.providers.entries import decode_member, decode_record, encode
from inaho.providers.redis_scripts import DEREGISTER, READ, READ_RECORD, REGISTER, RENEW, TRY, WRITE_RECORD
from inaho.providers.setup import ProviderSetup, Secrets
from inaho.providers.tls_files import TlsFiles

try:
    import redis.asyncio
    from redis import exceptions
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.credentials import CredentialProvider
except ImportError as error:
    raise ProviderInvalid("a provider redis needs the package redis: pip install 'inaho[redis]'") from error

__all__ = ["RedisProvider"]

_PORT: Final = 6379
_OPTIONS: Final = ("ca", "cert", "db", "key")
_SECRETS: Final = ("password", "username")
_CONNECTIONS_MAX: Final = 2
_ENTRIES_MAX: Final = 50_000

_CAPABILITIES: Final = Capabilities(register=True, record=True, details=True, read_period_s=1.0)

_redis: Any = redis.asyncio  # typed in part only

_NEEDED: Final = {
    "role:master": "it is a replica",
    "cluster_enabled:0": "it belongs to a Redis Cluster, and a fail-over there may lose the record",
    "connected_slaves:0": "it has replicas, and one that is promoted may lack the record",
    "repl_backlog_active:0": "it had a replica a short time ago (repl-backlog-ttl), which may be promoted",
    "aof_enabled:1": "it does not flush each write, so a restart may forget it; set appendonly yes, appendfsync always",
}
"""Lines of INFO without which there is no record, and what it means if one is missing."""

_EVICTS: Final = "it evicts any key when its memory is full; set maxmemory-policy noeviction"
_INSTEAD: Final = "change that, or keep the record in etcd, Consul, Kubernetes or PostgreSQL"

_REFUSED: Final = (
    exceptions.AuthenticationError,
    exceptions.AuthorizationError,
    exceptions.NoPermissionError,
)
_UNAVAILABLE: Final = (
    OSError,  # TimeoutError is one
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.OutOfMemoryError,
    exceptions.ReadOnlyError,
    exceptions.TryAgainError,
    exceptions.ClusterDownError,
)
_UNAVAILABLE_CODES: Final = ("MISCONF", "MASTERDOWN", "BUSY", "NOREPLICAS", "LOADING", "OOM", "READONLY")
_DENIED: Final = re.compile(r"NOPERM|NOAUTH|WRONGPASS|has no permissions|can't run this command|can't access")
_USER: Final = re.compile(r"\b[Uu]ser \S+ has")
"""Redis 7.2 and later name the user, which is a secret here."""


class RedisProvider:
    """A provider in one Redis server, see the module.

    Args:
        setup: `redis://host:port/prefix`, `rediss://` for TLS. Options: `db` (number of the database), `ca`, `cert`,
            `key` (files, with TLS). Secrets: `username`, `password`.

    Raises:
        ProviderInvalid: a part of the URL, an option or a secret is wrong.
    """

    def __init__(self, setup: ProviderSetup) -> None:
        check_names(setup, _OPTIONS, _SECRETS)
        servers = servers_of(setup, _PORT)
        if len(servers) != 1:
            raise ProviderInvalid(
                f"provider {setup.name}: write one server, as in redis://127.0.0.1:6379; each further server is a "
                "provider of its own"
            )
        if "{" in setup.prefix or "}" in setup.prefix:
            raise ProviderInvalid(f"provider {setup.name}: the prefix {setup.prefix!r} must hold no braces")
        self.name = setup.name
        self.capabilities = _CAPABILITIES
        self._host, self._port = servers[0]
        self._about = f"provider {setup.name}: Redis at {setup.url.servers[0]}"
        self._timeout_s = setup.request_timeout_s
        # The part in braces chooses the slot in Redis Cluster: all keys of a cluster are in one.
        members, expiry, blocked, record = (
            f"{{{setup.prefix}}}/{part}" for part in ("members", "expiry", "blocked", "record")
        )
        self._members_keys = (members, expiry)
        self._read_keys = (members, expiry, blocked)
        self._all_keys = (members, expiry, blocked, record)
        self._record_key = (record,)
        self._tls = TlsFiles.of(setup)
        self._client = self._make_client(setup)
        self._own: tuple[str, str] | None = None  # authority and node id
        self._closed = False

    def __repr__(self) -> str:
        return f"RedisProvider({self.name!r})"

    def _make_client(self, setup: ProviderSetup) -> Any:
        options = setup.url.options
        database = options.get("db", "0")
        if not database.isdecimal():
            raise ProviderInvalid(f"provider {setup.name}: the option db must be a number, not {database!r}")
        settings: dict[str, Any] = {
            "host": self._host,
            "port": self._port,
            "db": int(database),
            "socket_keepalive": True,
            "socket_timeout": None,  # `_run` has the deadline
            "socket_connect_timeout": None,
            "retry": Retry(NoBackoff(), 0),
            "retry_on_error": [],
        }
        if setup.secrets.names:
            settings["credential_provider"] = _Credentials(self._about, setup.secrets)
        if setup.url.scheme == "rediss":
            tls_context(setup)  # a file that cannot be read is an error here
            settings |= {
                "connection_class": _redis.SSLConnection,
                "ssl_ca_certs": self._tls.ca or None,
                "ssl_certfile": self._tls.cert or None,
                "ssl_keyfile": self._tls.key or None,
                "ssl_check_hostname": True,
            }
        elif self._tls != TlsFiles():
            raise ProviderInvalid(f"provider {setup.name}: the options ca, cert and key need TLS: write rediss://")
        return _redis.Redis.from_pool(
            _redis.BlockingConnectionPool(max_connections=_CONNECTIONS_MAX, timeout=None, **settings)
        )

    async def check(self) -> None:
        """See `TopologyProvider`. Whether the server can keep the record is in `capabilities` afterwards."""
        await self._run(TRY, self._all_keys)
        with contextlib.suppress(ProviderInvalid):  # `capabilities` say it
            await self.read_record()

    async def read(self) -> ProviderRead:
        """See `TopologyProvider`."""
        too_many, names, texts, blocked = await self._run(READ, self._read_keys, _ENTRIES_MAX)
        if too_many:
            raise InvalidSnapshot(f"{self._about} has more than {_ENTRIES_MAX} entries at {self._members_keys[0]}")
        where = f"{self._members_keys[0]} of {self._about}"
        return ProviderRead(
            tuple(decode_member(text, f"{_shown(name)} in {where}") for name, text in zip(names, texts, strict=True)),
            tuple(_shown(name) for name in blocked),
        )

    async def watch(self, position: str) -> AsyncIterator[ProviderRead | None]:
        """Not available: `capabilities.watch` is False."""
        raise ProviderInvalid(f"{self._about} is read periodically; it has no watch")
        yield  # makes this a generator

    async def register(self, member: ProviderMember, ttl_s: float) -> None:
        """See `TopologyProvider`."""
        self._own = (member.authority, member.node_id)
        await self._run(REGISTER, self._members_keys, member.authority, encode(member), _ms(ttl_s))

    async def renew(self, member: ProviderMember, ttl_s: float) -> bool:
        """See `TopologyProvider`."""
        renewed: int = await self._run(RENEW, self._members_keys, member.authority, member.node_id, _ms(ttl_s))
        return bool(renewed)

    async def deregister(self) -> None:
        """See `TopologyProvider`."""
        if self._own is not None:
            await self._run(DEREGISTER, self._members_keys, *self._own)
            self._own = None

    async def read_record(self) -> tuple[ClusterRecord | None, str]:
        """See `TopologyProvider`. Raises `ProviderInvalid` with the reason if the server cannot keep the record."""
        version, text = await self._run_record(READ_RECORD, "", "", "")
        if not version:
            return None, ""
        return decode_record(text, f"{self._record_key[0]} of {self._about}"), version.decode()

    async def write_record(self, record: ClusterRecord, token: str) -> bool:
        """See `TopologyProvider`. Raises `ProviderInvalid` with the reason if the server cannot keep the record."""
        # A version is drawn and not counted: a record that was removed and written anew has another one.
        (written,) = await self._run_record(WRITE_RECORD, token, secrets.token_hex(8), encode(record))
        return bool(written)

    async def close(self) -> None:
        """See `TopologyProvider`."""
        self._closed = True
        await self._disconnect()

    async def _disconnect(self) -> None:
        with contextlib.suppress(TimeoutError):  # of TLS, whose end a silent server does not confirm
            async with asyncio.timeout(self._timeout_s):
                await self._client.connection_pool.disconnect()

    async def _run_record(self, script: str, *values: str) -> Sequence[Any]:
        """The answer of a script with the guard. Raises `ProviderInvalid` if the server cannot keep the record."""
        try:
            settings = await self._answer("CONFIG GET", "appendfsync")
            flushes = any(value in ("always", b"always") for value in settings.values())
            # Scripts cannot read this setting, so they are not run without it.
            found = await self._run(script, self._record_key, *values, *_NEEDED) if flushes else (b"aof_enabled:1",)
        except (ProviderInvalid, ProviderStreamFailed) as error:
            raise self._no_record(f"whether it forgets it cannot be asked ({error.reason})") from error
        unmet, *answer = found
        if unmet:
            raise self._no_record(_NEEDED.get(unmet.decode(), _EVICTS))
        self.capabilities = _CAPABILITIES
        return answer

    def _no_record(self, reason: str) -> ProviderInvalid:
        self.capabilities = msgspec.structs.replace(_CAPABILITIES, record=False)
        return ProviderInvalid(f"{self._about} cannot keep the record of the cluster: {reason}; {_INSTEAD}")

    async def _run(self, script: str, keys: Sequence[str], *values: str | int) -> Any:
        return await self._answer("EVAL", script, len(keys), *keys, *values)

    async def _answer(self, *words: str | int) -> Any:
        """The answer to a command. Raises `ProviderError`."""
        if self._closed:
            raise ProviderUnreachable(f"provider {self.name} is closed")
        try:
            async with asyncio.timeout(self._timeout_s):
                try:
                    return await self._client.execute_command(*words)
                except exceptions.ConnectionError as error:
                    if self._closed or isinstance(error, _REFUSED):
                        raise
                # The connection may have ended long before. Each script does the same when it is sent again.
                return await self._client.execute_command(*words)
        except (OSError, exceptions.RedisError) as error:
            failure = self._failure(error)
            # What refuses a user may repeat its name, which is a secret.
            raise failure from (None if isinstance(failure, ProviderInvalid) else error)
        finally:
            if self._closed:  # `close` has not seen the connection of this request
                await self._disconnect()

    def _failure(self, error: Exception) -> ProviderError:
        cause: BaseException | None = error
        while cause is not None:  # redis-py names no cause
            if problem := self._tls.problem(cause):
                return ProviderInvalid(f"{self._about}: {problem}")
            cause = cause.__cause__ or cause.__context__
        if self._closed:
            return ProviderUnreachable(f"provider {self.name} is closed")
        text = _USER.sub("the user has", text_of(error))
        if isinstance(error, _REFUSED) or _DENIED.search(text):
            return ProviderInvalid(
                f"{self._about} refuses the secrets username and password, or their user lacks a permission: {text}"
            )
        if isinstance(error, TimeoutError):
            return ProviderUnreachable(f"{self._about} has not answered within {self._timeout_s:g} s")
        if text.startswith("WRONGTYPE"):
            return ProviderInvalid(f"{self._about} has a key of another application at the prefix; choose another")
        if isinstance(error, exceptions.MovedError) or text.startswith("MOVED"):
            return ProviderInvalid(
                f"{self._about} does not serve the slot of {self._members_keys[0]}; name the server "
                f"{text.rpartition(' ')[2]}"
            )
        if text.startswith("unknown command"):
            return ProviderInvalid(f"{self._about} runs no scripts; it may be a Sentinel: name the Redis server itself")
        if isinstance(error, _UNAVAILABLE) or text.startswith(_UNAVAILABLE_CODES):
            return ProviderUnreachable(f"{self._about} cannot be used: {describe(error)}")
        return ProviderStreamFailed(f"{self._about} answers with an error: {describe(error)}")


class _Credentials(CredentialProvider):
    """Reads the secrets for each new connection, so those that were renewed are used."""

    def __init__(self, about: str, secrets: Secrets) -> None:
        self._about = about
        self._secrets = secrets

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        return self.get_credentials()

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        try:
            username, password = self._secrets.read("username"), self._secrets.read("password")
        except ProviderInvalid as error:
            raise ProviderInvalid(f"{self._about}: {error.reason}") from error
        return (username, password) if username else (password,)


def _ms(ttl_s: float) -> int:
    return max(1, round(ttl_s * 1000))


def _shown(name: bytes) -> str:
    return name.decode(errors="replace")
