"""State in Redis, alone, behind a fail-over, or as Redis Cluster: one hash per grain, one script per write.

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

**Lost answers.** The client library repeats nothing: a save that it sent twice would lose against itself. A save
whose answer did not come is `StorageFailed` with `maybe_executed`, and its connection is closed. A server that stood
still may carry it out after that. It does so only if nobody has written since, so that no acknowledged save is lost;
the writer's next save is then a `StateConflict`.

Why no transaction (WATCH, MULTI, EXEC): it costs three round trips, and a connection of its own for each save.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from hashlib import sha1
from typing import Any, Final, Protocol, TypeAlias, cast

import msgspec

from inaho.config import StorageConfig
from inaho.errors import InvalidConfig, StorageFailed
from inaho.storage.base import Storage, StoredState, conflict_of
from inaho.storage.lanes import Lanes
from inaho.storage.urls import missing_package, shown
from inaho.types import ClusterIdentity

try:
    from redis import exceptions
    from redis.asyncio import ConnectionPool
    from redis.asyncio.cluster import RedisCluster
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
except ImportError as error:
    raise missing_package("redis", "redis") from error

__all__ = ["RedisStorage"]

_WRITE: Final = """
local stored = redis.call('HMGET', KEYS[1], 'version', 'epoch')
local version, epoch = stored[1] or '0', stored[2] or '0'
local stale = #ARGV[2] < #epoch or (#ARGV[2] == #epoch and ARGV[2] < epoch)
if stale or version ~= ARGV[1] then return {version, epoch} end
if ARGV[4] then
  redis.call('HSET', KEYS[1], 'version', ARGV[3], 'epoch', ARGV[2], 'data', ARGV[4])
else
  redis.call('HSET', KEYS[1], 'version', ARGV[3], 'epoch', ARGV[2])
  redis.call('HDEL', KEYS[1], 'data')
end
return 1
"""
"""KEYS: the record. ARGV: expected version, epoch, new version, data (absent: a tombstone).

Returns 1, or the stored version and epoch that refused it; nothing is stored then if the version is 0.
"""

_WRITE_DIGEST: Final = sha1(_WRITE.encode(), usedforsecurity=False).hexdigest()
_WRITTEN: Final = 1

_VALUE_BYTES_MAX: Final = 512 << 20
"""`proto-max-bulk-len` of Redis unless it was raised."""

_EVICTING: Final = "allkeys-"

_pools: Any = ConnectionPool  # typed in part only
_clusters: Any = RedisCluster

_Words: TypeAlias = tuple[bytes | str | int, ...]


class _Command(msgspec.Struct, frozen=True):
    """What is sent.

    Attributes:
        words: the command and its arguments.
        identity: what it is about, for errors.
        writes: whether it changes anything.
    """

    words: _Words
    identity: str = ""
    writes: bool = False


class RedisStorage(Storage):
    """Storage in the Redis that `url` names; all nodes of a cluster may share it, and other applications too.

    It belongs to the event loop on which it is opened.

    Args:
        url: `redis://user:password@host:port/number`; `rediss://` for TLS; `redis+unix:///path`; `redis+cluster://`
            and `rediss+cluster://` for Redis Cluster, of which one node is named. Options of redis-py may follow
            after `?`, such as `ssl_ca_certs=path`.
        prefix: of the keys. A record is `prefix:{kind/key}`, with `%`, `/`, `{` and `}` of the kind escaped: in
            Redis Cluster the part in braces chooses the slot.
        config: bounds, `connections_max` and `operation_timeout_s`.

    Raises:
        InvalidConfig: the URL or a bound is none that Redis can serve.
    """

    def __init__(self, url: str, *, prefix: str = "inaho", config: StorageConfig | None = None) -> None:
        super().__init__(config)
        scheme, separator, rest = url.partition("://")
        if not separator or scheme not in ("redis", "rediss", "redis+unix", "redis+cluster", "rediss+cluster"):
            raise InvalidConfig(f"RedisStorage needs a redis:// URL, not {shown(url)!r}")
        if self.config.data_bytes_max >= _VALUE_BYTES_MAX:
            raise InvalidConfig(f"storage.data_bytes_max must be below the {_VALUE_BYTES_MAX} bytes of a Redis value")
        if "{" in prefix or "}" in prefix:
            raise InvalidConfig(f"the prefix {prefix!r} must hold no braces: they choose the slot in Redis Cluster")
        self._prefix = prefix
        self._shown = shown(url)
        self._clustered = scheme.endswith("+cluster")
        plain = {"redis+unix": "unix", "redis+cluster": "redis", "rediss+cluster": "rediss"}.get(scheme, scheme)
        self._url = f"{plain}://{rest}"
        self._lanes: Lanes[_Command, Any] | None = None
        self._link: _Link | None = None
        self._make_link()  # a wrong URL is told here, and not at the first save

    def __repr__(self) -> str:
        return f"RedisStorage({self._shown!r})"

    @property
    def queued(self) -> int:
        """Operations accepted and not yet answered."""
        return 0 if self._lanes is None else self._lanes.queued

    def _make_link(self) -> _Link:
        options: dict[str, Any] = {"socket_timeout": None, "retry": Retry(NoBackoff(), 0), "retry_on_error": []}
        if not self._url.startswith("unix:"):
            options["socket_keepalive"] = True
        try:
            if self._clustered:
                return _ClusterLink(self, _clusters.from_url(self._url, **options))
            options["max_connections"] = self.config.connections_max
            pool: Any = _pools.from_url(self._url, **options)
            pool.connection_kwargs["decode_responses"] = False
            pool.make_connection()
            return _Link(self, pool)
        except (ValueError, TypeError, exceptions.RedisError):
            # Not chained: the message of the library may repeat a part of the password.
            raise InvalidConfig(f"RedisStorage cannot use the URL {self._shown}: see the options of redis-py") from None

    async def _open(self) -> None:
        link = self._make_link()
        # A lane shares one write among what has gathered; a client of Redis Cluster sends each command to its node.
        batch = 1 if self._clustered else self.config.batch_requests_max
        lanes = Lanes[_Command, Any](
            repr(self), lambda: link, self.config, lanes_max=self.config.connections_max, batch_requests_max=batch
        )
        try:
            (memory,) = await link.serve([_Command(("INFO", "memory"))])
            if isinstance(memory, StorageFailed):
                raise memory
            self._refuse_eviction(memory)
        except BaseException:
            await link.disconnect()
            raise
        self._lanes, self._link = lanes, link

    async def _close(self) -> None:
        lanes, link = self._lanes, self._link
        self._lanes = self._link = None
        assert lanes is not None and link is not None
        try:
            await lanes.stop()
        finally:
            await link.disconnect()

    async def _load(self, identity: ClusterIdentity) -> StoredState | None:
        lanes = self._require()
        await lanes.settled(identity)
        command = _Command(("HMGET", self._key(identity), "version", "epoch", "data"), str(identity))
        version, epoch, data = await lanes.submit(None, command, 0)
        return None if version is None else StoredState(data, int(version), int(epoch))

    async def _write(self, identity: ClusterIdentity, data: bytes | None, *, expected_version: int, epoch: int) -> int:
        version = expected_version + 1
        record = (self._key(identity), expected_version, epoch, version)
        words: _Words = ("EVALSHA", _WRITE_DIGEST, 1, *record)
        command = _Command(words if data is None else (*words, data), str(identity), writes=True)
        answer = await self._require().submit(identity, command, len(data or b""))
        if answer == _WRITTEN:
            return version
        found = StoredState(None, int(answer[0]), int(answer[1]))
        conflict = conflict_of(
            identity, found if found.version else None, expected_version=expected_version, epoch=epoch
        )
        assert conflict is not None, f"the script refused what the rule allows: {identity}, {found!r}"
        raise conflict

    def _key(self, identity: ClusterIdentity) -> bytes:
        kind = identity.kind
        for character in "%/{}":
            if character in kind:
                kind = kind.replace(character, f"%{ord(character):02X}")
        return f"{self._prefix}:{{{kind}/{identity.key}}}".encode()

    def _refuse_eviction(self, memory: Any) -> None:
        """Raises `StorageFailed` if the server would throw records away to make room for others."""
        told = cast("dict[str, Any]", memory) if isinstance(memory, dict) else _parsed(memory)
        policy, limit = str(told.get("maxmemory_policy", "")), str(told.get("maxmemory", "0"))
        if policy.startswith(_EVICTING) and limit != "0":
            raise StorageFailed(
                f"{self!r} throws records away when its memory is full (maxmemory-policy {policy}): set noeviction",
                maybe_executed=False,
            )

    def _require(self) -> Lanes[_Command, Any]:
        if self._lanes is None:
            raise StorageFailed(f"{self!r} is not open", maybe_executed=False)
        return self._lanes


_ERRORS: Final = (OSError, exceptions.RedisError, exceptions.RedisClusterException)
"""What goes wrong on the way; `TimeoutError` is an `OSError`."""

_SILENCE: Final = exceptions.ConnectionError("the connection ended before the answer")


class _Connection(Protocol):
    """What is used of redis-py's connections; its own methods are not typed."""

    def pack_commands(self, commands: Sequence[_Words]) -> list[bytes]: ...
    async def send_packed_command(self, command: list[bytes], check_health: bool = True) -> None: ...
    async def read_response(self) -> Any: ...
    async def disconnect(self, nowait: bool = False) -> None: ...


class _Link:
    """The lanes of a server: each batch takes a connection of the pool, which has one for every lane."""

    def __init__(self, storage: RedisStorage, pool: Any) -> None:
        self._storage = storage
        self._pool = pool

    async def serve(self, batch: Sequence[_Command]) -> list[Any]:
        """One write, then the answers. Connecting and waiting share `operation_timeout_s`."""
        sent = False
        answers: list[Any] = []
        try:
            async with asyncio.timeout(self._storage.config.operation_timeout_s):
                connection: _Connection = await self._pool.get_connection()
                try:
                    sent = True
                    words = [command.words for command in batch]
                    await self._exchange(connection, words, answers)
                    await self._teach(connection, words, answers)
                except BaseException:  # what is still to come on it belongs to nobody
                    await connection.disconnect(nowait=True)
                    raise
                finally:
                    await self._pool.release(connection)
        except _ERRORS as error:
            if len(answers) < len(batch):
                answers.append(error)
            # Only one of them was refused by a server that is loading; what became of those behind it nobody knows.
            rest = _SILENCE if isinstance(error, exceptions.BusyLoadingError) and sent else error
            answers += [rest] * (len(batch) - len(answers))
        return [
            self._failure(answer, command, sent=sent) if isinstance(answer, Exception) else answer
            for command, answer in zip(batch, answers, strict=True)
        ]

    async def _exchange(self, connection: _Connection, batch: Sequence[_Words], answers: list[Any]) -> None:
        """Appends to `answers`, so that those that came are kept when the connection breaks."""
        await connection.send_packed_command(connection.pack_commands(batch), check_health=False)
        demoted = False
        for _ in batch:
            try:
                answers.append(await connection.read_response())
            except exceptions.ResponseError as error:
                answers.append(error)
                demoted = demoted or isinstance(error, exceptions.ReadOnlyError)
        if demoted:  # the server became a replica: the name may lead to the new primary now
            await connection.disconnect(nowait=True)

    async def _teach(self, connection: _Connection, batch: Sequence[_Words], answers: list[Any]) -> None:
        """Sends again what the server has refused for not knowing the script, as after a restart."""
        refused = [number for number, each in enumerate(answers) if isinstance(each, exceptions.NoScriptError)]
        if not refused:
            return
        again: list[Any] = []
        for number in refused:  # the refusal no longer tells what happened to it
            answers[number] = _SILENCE
        try:
            await self._exchange(connection, [("SCRIPT", "LOAD", _WRITE), *(batch[each] for each in refused)], again)
        finally:
            for number, answer in zip(refused, again[1:], strict=False):
                answers[number] = answer

    def _failure(self, error: Exception, command: _Command, *, sent: bool) -> StorageFailed:
        """The `StorageFailed` for `error`. An answer of the server is a refusal; its silence may hide anything."""
        refused = isinstance(error, exceptions.ResponseError | exceptions.BusyLoadingError)
        if isinstance(error, TimeoutError | exceptions.TimeoutError):
            what = f"no answer within {self._storage.config.operation_timeout_s:g} s (storage.operation_timeout_s)"
        else:
            what = f"{type(error).__name__}: {error}"
        unknown = command.writes and sent and not refused
        failure = StorageFailed(f"{self._storage!r}: {what}", identity=command.identity, maybe_executed=unknown)
        failure.__cause__ = error
        return failure

    async def close(self) -> None:
        """A lane has nothing of its own."""

    async def disconnect(self) -> None:
        """Ends all connections."""
        await self._pool.disconnect()


class _ClusterLink(_Link):
    """The lanes of a Redis Cluster: the client finds the node of each key, and follows it when it moves."""

    async def serve(self, batch: Sequence[_Command]) -> list[Any]:
        """As for one server, command by command."""
        return [await self._serve_one(command) for command in batch]

    async def _serve_one(self, command: _Command) -> Any:
        cluster: Any = self._pool
        sent = False
        try:
            async with asyncio.timeout(self._storage.config.operation_timeout_s):
                await cluster.initialize()
                sent = True
                try:
                    return await cluster.execute_command(*command.words)
                except exceptions.NoScriptError:
                    return await cluster.execute_command("EVAL", _WRITE, *command.words[2:])
        except _ERRORS as error:
            # The client may have sent it to one node and have failed at the next: only a plain refusal is none.
            return self._failure(error, command, sent=sent)

    async def disconnect(self) -> None:
        """Ends the connections to all nodes."""
        await self._pool.aclose()


def _parsed(info: bytes) -> dict[str, str]:
    """The fields of an answer to INFO."""
    lines = (line.partition(":") for line in info.decode(errors="replace").splitlines())
    return {name: value for name, colon, value in lines if colon}
