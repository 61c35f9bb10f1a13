"""One Redis server: connections to it, what is sent on them, and what an answer or its absence means.

What has gathered travels in one write, and the answers come in its order. The library connects, authenticates and
parses; what is sent again is ours, because only a plain refusal is certain not to have changed anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence
from hashlib import sha1
from typing import Any, Final, Protocol, TypeAlias

import msgspec

from inaho.config import StorageConfig
from inaho.errors import StorageFailed
from inaho.storage.lanes import Lanes
from inaho.storage.urls import missing_package

try:
    from redis import exceptions
except ImportError as error:
    raise missing_package("redis", "redis") from error

__all__ = ["Command", "RedisServer", "loading", "reading", "writing"]

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

_Words: TypeAlias = tuple[bytes | str | int, ...]


class Command(msgspec.Struct, frozen=True):
    """What is sent.

    Attributes:
        words: the command and its arguments; empty where there are `parts`.
        key: the record, which decides who has it in Redis Cluster; empty where any server will do.
        identity: what it is about, for errors.
        writes: whether it changes anything.
        asking: whether the server has the key only by an ASK of another one.
        parts: several commands that are sent at once, in place of `words`; the answer is a list of theirs. None of
            them writes.
    """

    words: _Words = ()
    key: bytes = b""
    identity: str = ""
    writes: bool = False
    asking: bool = False
    parts: tuple[_Words, ...] = ()


def loading(key: bytes, identity: str) -> Command:
    """Gives version, epoch and data of a record, each None where there is none."""
    return Command(("HMGET", key, "version", "epoch", "data"), key, identity)


def reading(keys: Sequence[bytes]) -> Command:
    """Gives version and epoch of each record, each None where there is none."""
    return Command(parts=tuple(("HMGET", key, "version", "epoch") for key in keys))


def writing(key: bytes, identity: str, data: bytes | None, *, expected_version: int, epoch: int) -> Command:
    """Gives 1, or the stored version and epoch that refused the write. `data` None: a tombstone."""
    words: _Words = ("EVALSHA", _WRITE_DIGEST, 1, key, expected_version, epoch, expected_version + 1)
    return Command(words if data is None else (*words, data), key, identity, writes=True)


_ERRORS: Final = (OSError, exceptions.RedisError)
"""What goes wrong on the way; `TimeoutError` is an `OSError`."""

_SILENCE: Final = exceptions.ConnectionError("the connection ended before the answer")


class _Connection(Protocol):
    """What is used of redis-py's connections; its own methods are not typed."""

    def pack_commands(self, commands: Sequence[_Words]) -> list[bytes]: ...
    async def send_packed_command(self, command: list[bytes], check_health: bool = True) -> None: ...
    async def read_response(self) -> Any: ...
    async def disconnect(self, nowait: bool = False) -> None: ...


class RedisServer:
    """A server and the lanes to it. It belongs to the event loop on which it is made.

    Args:
        name: for messages, without secrets.
        pool: redis-py's, with room for one connection more than `connections_max`, which `ask` uses.
        config: bounds.
    """

    def __init__(self, name: str, pool: Any, config: StorageConfig) -> None:
        self._name = name
        self._pool = pool
        self._timeout_s = config.operation_timeout_s
        self._lanes = Lanes[Command, Any](
            name,
            lambda: self,  # a lane has nothing of its own: each batch takes a connection of the pool
            config,
            lanes_max=config.connections_max,
            batch_requests_max=config.batch_requests_max,
        )

    @property
    def queued(self) -> int:
        """Commands accepted and not yet answered."""
        return self._lanes.queued

    async def submit(self, key: Hashable, command: Command, size: int) -> Any:
        """See `Lanes.submit`. A refusal is the `__cause__` of its `StorageFailed`."""
        return await self._lanes.submit(key, command, size)

    async def read(self, keys: Sequence[bytes]) -> Sequence[Any]:
        """Version and epoch of each record, each None where there is none; in one round trip."""
        answers: Sequence[Any] = await self._lanes.submit(None, reading(keys), 0)
        return answers

    async def settled(self, key: Hashable) -> None:
        """See `Lanes.settled`."""
        await self._lanes.settled(key)

    async def ask(self, *words: bytes | str | int) -> Any:
        """The answer to a command that concerns no record; it does not wait for a lane.

        Raises:
            StorageFailed: the server refused it, or did not answer.
        """
        (answer,) = await self.serve([Command(words)])
        if isinstance(answer, StorageFailed):
            raise answer
        return answer

    async def ask_all(self, *words: bytes | str | int) -> list[Any]:
        """As `ask`, of the one server that there is; see `RedisCluster.ask_all`."""
        return [await self.ask(*words)]

    async def stop(self) -> None:
        """Serves what was accepted, and ends all connections."""
        try:
            await self._lanes.stop()
        finally:
            await self._pool.disconnect()

    # As a lane.

    async def serve(self, batch: Sequence[Command]) -> list[Any]:
        """One write, then the answers. Connecting and waiting share `operation_timeout_s`."""
        words: list[_Words] = []
        positions: list[int] = []  # of the first answer to each command
        for command in batch:
            if command.asking:
                words.append(("ASKING",))
            positions.append(len(words))
            if command.parts:
                words += command.parts
            else:
                words.append(command.words)
        sent = False
        answers: list[Any] = []
        try:
            async with asyncio.timeout(self._timeout_s):
                connection: _Connection = await self._pool.get_connection()
                try:
                    sent = True
                    await self._exchange(connection, words, answers)
                    await self._teach(connection, words, answers)
                except BaseException:  # what is still to come on it belongs to nobody
                    await connection.disconnect(nowait=True)
                    raise
                finally:
                    await self._pool.release(connection)
        except _ERRORS as error:
            if len(answers) < len(words):
                answers.append(error)
            # Only one of them was refused by a server that is loading; what became of those behind it nobody knows.
            rest = _SILENCE if isinstance(error, exceptions.BusyLoadingError) and sent else error
            answers += [rest] * (len(words) - len(answers))
        told = [_told(command, answers, position) for command, position in zip(batch, positions, strict=True)]
        return [
            self._failure(answer, command, sent=sent) if isinstance(answer, Exception) else answer
            for command, answer in zip(batch, told, strict=True)
        ]

    async def close(self) -> None:
        """A lane has nothing of its own."""

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

    def _failure(self, error: Exception, command: Command, *, sent: bool) -> StorageFailed:
        """The `StorageFailed` for `error`. An answer of the server is a refusal; its silence may hide anything."""
        refused = isinstance(error, exceptions.ResponseError | exceptions.BusyLoadingError)
        if isinstance(error, TimeoutError | exceptions.TimeoutError):
            what = f"no answer within {self._timeout_s:g} s (storage.operation_timeout_s)"
        else:
            what = f"{type(error).__name__}: {error}"
        unknown = command.writes and sent and not refused
        failure = StorageFailed(f"{self._name}: {what}", identity=command.identity, maybe_executed=unknown)
        failure.__cause__ = error
        return failure


def _told(command: Command, answers: Sequence[Any], position: int) -> Any:
    """The answer to `command`, of which the first part is at `position`; what went wrong first, if anything did."""
    if not command.parts:
        return answers[position]
    parts = list(answers[position : position + len(command.parts)])
    return next((each for each in parts if isinstance(each, Exception)), parts)
