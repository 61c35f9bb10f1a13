"""`RedisStorage`: one hash per grain, one Lua script per save, on one server or a Redis Cluster.

A write is one Lua script, and Redis runs nothing else meanwhile: the comparison of version and epoch and the change
are one step. Versions and epochs are compared as decimal texts, because numbers in Lua are doubles and lose their
last digits beyond 2**53. A load is one HMGET.

**What "durable" means is the server's configuration.** With `appendonly yes` and `appendfsync always` an acknowledged
save survives the end of the process and of the machine's power. With `appendfsync everysec`, the default of the
append-only file, a power cut takes up to the last two seconds, and so does the end of the process alone while the disk
is busy: Redis holds its writes back until the flush before them has ended. Without `appendonly` everything since the
last snapshot goes. Redis replicates asynchronously: a fail-over, by Sentinel or Cluster, loses the saves that had not
reached the replica, acknowledged or not. `min-replicas-to-write` and `min-replicas-max-lag` bound how many; they do
not make it none. Where that must not happen, use PostgreSQL.
(https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/ and .../management/replication/)

Redis must not evict: with `maxmemory` set, its policy has to be `noeviction` or a `volatile-` one. `open` checks that
where the server tells.

**Lost answers.** Before each use of a connection its socket is looked at: one that the server has closed meanwhile is
replaced before anything is sent. When a connection ends later, loads and reads of versions are sent once more. A save
is not: sent twice, it would lose against itself. A save whose answer did not come is `StorageFailed` with
`maybe_executed`, and its connection is closed. A server that stood still may carry it out after that. It does so only
if nobody has written since, so that no acknowledged save is lost; the writer's next save is then a `StateConflict`.

Why no transaction (WATCH, MULTI, EXEC): it costs three round trips, and a connection of its own for each save.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from inaho.config import StorageConfig
from inaho.errors import InvalidConfig, StorageFailed
from inaho.storage.base import Storage, StoredState, StoredVersion, conflict_of
from inaho.storage.instances import Mark
from inaho.storage.redis.cluster import Address, RedisCluster, slot_tag
from inaho.storage.redis.log import RedisLog
from inaho.storage.redis.server import RedisServer, escaped, loading, writing
from inaho.storage.urls import missing_package, shown
from inaho.types import ClusterIdentity

try:
    from redis import exceptions
    from redis.asyncio import ConnectionPool
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.crc import key_slot
except ImportError as error:
    raise missing_package("redis", "redis") from error

__all__ = ["RedisStorage"]

_SCHEMES: Final = {
    "redis": "redis",
    "rediss": "rediss",
    "redis+unix": "unix",
    "redis+cluster": "redis",
    "rediss+cluster": "rediss",
}
"""Schemes of URLs here, and their names in redis-py."""

_WRITTEN: Final = 1

_VALUE_BYTES_MAX: Final = 512 << 20
"""`proto-max-bulk-len` of Redis unless it was raised."""

_EVICTING: Final = "allkeys-"

_pools: Any = ConnectionPool  # typed in part only


class RedisStorage(Storage):
    """Storage in the Redis that `url` names; all nodes of a cluster may share it, and other applications too.

    It belongs to the event loop on which it is opened.

    Args:
        url: `redis://user:password@host:port/number`; `rediss://` for TLS; `redis+unix:///path`; `redis+cluster://`
            and `rediss+cluster://` for Redis Cluster, of which one node is named. Options of redis-py may follow
            after `?`, such as `ssl_ca_certs=path`.
        prefix: of the keys. A record is `prefix:{kind/key}`, with `%`, `/`, `{` and `}` of the kind escaped: in
            Redis Cluster the part in braces chooses the slot. For the keys of logs see `log`.
        config: bounds, `connections_max` and `operation_timeout_s`.

    Raises:
        InvalidConfig: the URL or a bound is none that Redis can serve.
    """

    def __init__(self, url: str, *, prefix: str = "inaho", config: StorageConfig | None = None) -> None:
        super().__init__(config)
        scheme, _, rest = url.partition("://")
        if scheme not in _SCHEMES or not rest:
            raise InvalidConfig(f"RedisStorage needs a redis:// URL, not {shown(url)!r}")
        if self.config.data_bytes_max >= _VALUE_BYTES_MAX:
            raise InvalidConfig(f"storage.data_bytes_max must be below the {_VALUE_BYTES_MAX} bytes of a Redis value")
        if "{" in prefix or "}" in prefix:
            raise InvalidConfig(f"the prefix {prefix!r} must hold no braces: they choose the slot in Redis Cluster")
        self._prefix = prefix
        self._shown = shown(url)
        self._clustered = scheme.endswith("+cluster")
        self._url = f"{_SCHEMES[scheme]}://{rest}"
        if scheme != "redis+unix":
            self._refuse_number(urlsplit(self._url).path.strip("/"))
        self._server: RedisServer | RedisCluster | None = None
        self._make_pool()  # a wrong URL is an error here, and not at the first save
        self._log = RedisLog(
            self.config,
            self._check_usable,
            server=self._require,
            instances=self.instances,
            prefix=prefix,
            mark_key=self._mark_key,
        )

    def __repr__(self) -> str:
        return f"RedisStorage({self._shown!r})"

    @property
    def log(self) -> RedisLog:
        """The logs of topics, in the same servers."""
        return self._log

    @property
    def queued(self) -> int:
        """Operations accepted and not yet answered."""
        return 0 if self._server is None else self._server.queued

    def _refuse_number(self, number: str) -> None:
        """Refuses a number that the library would take for database 0."""
        if self._clustered and number not in ("", "0"):
            raise InvalidConfig(f"{self._shown}: Redis Cluster has no numbered databases")
        if not (number.isdecimal() or not number):
            raise InvalidConfig(f"{self._shown}: the database after the host is a number")

    def _make_pool(self) -> Any:
        options: dict[str, Any] = {"socket_timeout": None, "retry": Retry(NoBackoff(), 0), "retry_on_error": []}
        if not self._url.startswith("unix:"):
            options["socket_keepalive"] = True
        options["max_connections"] = self.config.connections_max + 1  # see `RedisServer`
        try:
            pool = _pools.from_url(self._url, **options)
            pool.connection_kwargs["decode_responses"] = False
            pool.make_connection()
        except (ValueError, TypeError, exceptions.RedisError):
            # Not chained: the message of the library may repeat a part of the password.
            raise InvalidConfig(f"RedisStorage cannot use the URL {self._shown}: see the options of redis-py") from None
        return pool

    def _make_server(self, address: Address | None = None) -> RedisServer:
        """The server that the URL names, or one of its cluster."""
        pool, name = self._make_pool(), repr(self)
        if address is not None:
            pool.connection_kwargs["host"], pool.connection_kwargs["port"] = address
            name = f"{name}, {address[0]}:{address[1]}"
        return RedisServer(name, pool, self.config)

    async def _open(self) -> None:
        server: RedisServer | RedisCluster
        if self._clustered:
            named = self._make_pool().connection_kwargs
            seed = (named.get("host", "localhost"), named.get("port", 6379))
            server = RedisCluster(repr(self), seed, self._make_server)
        else:
            server = self._make_server()
        try:
            for memory in await server.ask_all("INFO", "memory"):
                self._refuse_eviction(memory)
        except BaseException:
            await server.stop()
            raise
        self._server = server

    async def _close(self) -> None:
        server, self._server = self._server, None
        assert server is not None
        await server.stop()

    async def _load(self, identity: ClusterIdentity) -> StoredState | None:
        server = self._require()
        await server.settled(identity)
        key, name = self._key(identity), str(identity)
        part = self._mark_key(key)
        seen = self.instances.seen(part)
        (version, epoch, data), marks = await server.submit(None, loading(key, name, part), 0)
        self._check_mark(seen, marks[part], part, name, found=version is not None)
        return None if version is None else StoredState(data, int(version), int(epoch))

    async def _versions(self, identities: Sequence[ClusterIdentity]) -> list[StoredVersion | None]:
        server = self._require()
        for identity in identities:
            await server.settled(identity)
        keys = [self._key(identity) for identity in identities]
        seen = {part: self.instances.seen(part) for part in map(self._mark_key, keys)}
        answers, marks = await server.read(keys, self._mark_key)
        found = {self._mark_key(key) for key, (version, _) in zip(keys, answers, strict=True) if version is not None}
        for part, mark in marks.items():
            self._check_mark(seen[part], mark, part, "", found=part in found)
        return [None if version is None else StoredVersion(int(version), int(epoch)) for version, epoch in answers]

    async def _write(self, identity: ClusterIdentity, data: bytes | None, *, expected_version: int, epoch: int) -> int:
        key, name = self._key(identity), str(identity)
        part = self._mark_key(key)
        seen = self.instances.seen(part)
        command = writing(key, name, data, part, seen, version=expected_version, epoch=epoch)
        answer = await self._require().submit(identity, command, len(data or b""))
        if isinstance(answer, int):
            if answer and seen is not None:
                self.instances.check(seen, Mark(seen.instance, answer), part, identity=name)
            return expected_version + 1
        outcome, instance, commits, *numbers = answer
        if instance or outcome < 0:  # else it was refused while keys moved, and the mark was not checked
            self.instances.check(seen, Mark(instance.decode(), int(commits)), part, identity=name)
        if outcome == _WRITTEN:
            return expected_version + 1
        found = StoredVersion(int(numbers[0]), int(numbers[1]))
        conflict = conflict_of(
            identity, found if found.version else None, expected_version=expected_version, epoch=epoch
        )
        assert conflict is not None, f"the script refused what the rule allows: {identity}, {found!r}"
        raise conflict

    def _mark_key(self, key: bytes) -> bytes:
        """The key of the mark: one for all, in a cluster one for each slot, as each may be lost alone."""
        tag = slot_tag(key_slot(key)) if self._clustered else b"instance"
        return b"%s:{%s}" % (self._prefix.encode(), tag)

    def _check_mark(self, seen: Mark | None, told: Mark | None, part: bytes, identity: str, *, found: bool) -> None:
        """Compares a mark that was read, unless it is unknown.

        If there is a record and no mark, the records of a slot were moved without it: a loss removes both.
        """
        if told is not None and (told.instance or not found):
            self.instances.check(seen, told, part, identity=identity)

    def _key(self, identity: ClusterIdentity) -> bytes:
        return f"{self._prefix}:{{{escaped(identity.kind, '%/{}')}/{identity.key}}}".encode()

    def _refuse_eviction(self, memory: bytes) -> None:
        """Raises `StorageFailed` if the server may evict records to make room for others."""
        told = _parsed(memory)
        policy, limit = told.get("maxmemory_policy", ""), told.get("maxmemory", "0")
        if policy.startswith(_EVICTING) and limit != "0":
            raise StorageFailed(
                f"{self!r} evicts records when its memory is full (maxmemory-policy {policy}): set noeviction",
                maybe_executed=False,
            )

    def _require(self) -> RedisServer | RedisCluster:
        if self._server is None:
            raise StorageFailed(f"{self!r} is not open", maybe_executed=False)
        return self._server


def _parsed(info: bytes) -> dict[str, str]:
    """The fields of an answer to INFO."""
    lines = (line.partition(":") for line in info.decode(errors="replace").splitlines())
    return {name: value for name, colon, value in lines if colon}
