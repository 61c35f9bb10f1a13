"""One Redis server: its connections, the commands on them, and what a missing answer means.

Gathered commands are sent in one write, and the answers come in the same order. The library connects, authenticates and
parses. Repeats are decided here, because only a plain refusal is certain not to have changed anything.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias

import msgspec

from inaho.config import StorageConfig
from inaho.errors import StorageFailed
from inaho.errors.inspection import describe
from inaho.storage.instances import Mark, new_instance
from inaho.storage.redis.scripts import SCRIPTS, WRITE
from inaho.storage.server_queue import Lanes
from inaho.storage.urls import missing_package

try:
    from redis import exceptions
except ImportError as error:
    raise missing_package("redis", "redis") from error

__all__ = ["Command", "MarkKey", "RedisServer", "escaped", "loading", "reading", "writing"]

MarkKey: TypeAlias = Callable[[bytes], bytes]
_Words: TypeAlias = tuple[bytes | str | int, ...]


class Command(msgspec.Struct, frozen=True):
    """One command for the server.

    Attributes:
        words: the command and its arguments; empty if there are `parts`.
        key: the record, which decides the server in Redis Cluster; empty if any server will do.
        identity: of the grain, for errors.
        writes: whether it changes anything.
        asking: whether another server sent the command here with ASK.
        parts: several commands that are sent at once, in place of `words`; the answer is a list of their answers. None
            of them writes.
        marks: keys of marks that are read after it. With any, the answer is a pair: the answer to the command, and the
            marks by their keys, None for a mark that the server refused.
        alone: in place of `words` while the keys of the slot move, when the record and the mark may be apart.
    """

    words: _Words = ()
    key: bytes = b""
    identity: str = ""
    writes: bool = False
    asking: bool = False
    parts: tuple[_Words, ...] = ()
    marks: tuple[bytes, ...] = ()
    alone: _Words = ()


def loading(key: bytes, identity: str, mark_key: bytes) -> Command:
    """Returns version, epoch and data of a record, each None if there is none, and the mark."""
    return Command(("HMGET", key, "version", "epoch", "data"), key, identity, marks=(mark_key,))


def reading(keys: Sequence[bytes], mark_keys: Iterable[bytes]) -> Command:
    """Returns version and epoch of each record, each None if there is none, and the marks."""
    return Command(parts=tuple(("HMGET", key, "version", "epoch") for key in keys), marks=tuple(mark_keys))


def writing(
    key: bytes, identity: str, data: bytes | None, mark_key: bytes, seen: Mark | None, *, version: int, epoch: int
) -> Command:
    """Returns the result of the script, a number or a list. `data` None: a tombstone. `version`: the expected one."""
    if seen is None:
        numbers = b"%d %d %d  0 %b" % (version, epoch, version + 1, new_instance().encode())
    else:
        numbers = b"%d %d %d %b %d " % (version, epoch, version + 1, seen.instance.encode(), seen.commits)
    values: _Words = (numbers,) if data is None else (numbers, data)
    alone = ("EVALSHA", WRITE.digest, 1, key, *values)
    return Command(("EVALSHA", WRITE.digest, 2, key, mark_key, *values), key, identity, writes=True, alone=alone)


def escaped(text: str, characters: str) -> str:
    """`text` for a key, with `characters`, of which `%` is the first, written as `%` and two digits."""
    for character in characters:
        if character in text:
            text = text.replace(character, f"%{ord(character):02X}")
    return text


def mark_of(answer: Any) -> Mark | None:
    """The mark in the answer to an HMGET of it; None if the server refused."""
    if isinstance(answer, Exception):
        return None
    instance, commits = answer
    return Mark() if instance is None else Mark(instance.decode(), int(commits or 0))


_ERRORS: Final = (OSError, exceptions.RedisError)
"""Errors of the connection; `TimeoutError` is an `OSError`."""

_SILENCE: Final = exceptions.ConnectionError("the connection ended before the answer")


class _Connection(Protocol):
    """The methods of redis-py's connections that are used; its own ones are not typed."""

    def pack_commands(self, commands: Sequence[_Words]) -> list[bytes]: ...
    async def send_packed_command(self, command: list[bytes], check_health: bool = True) -> None: ...
    async def read_response(self) -> Any: ...
    async def connect(self) -> None: ...
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

    async def read(self, keys: Sequence[bytes], mark_key: MarkKey) -> tuple[Sequence[Any], Mapping[bytes, Mark | None]]:
        """Version and epoch of each record, each None if there is none, and the marks; in one round trip.

        Args:
            keys: of the records.
            mark_key: returns the key of the mark of a record's part of the storage.
        """
        command = reading(keys, dict.fromkeys(map(mark_key, keys)))
        answers: tuple[Sequence[Any], Mapping[bytes, Mark | None]] = await self._lanes.submit(None, command, 0)
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
        """Serves accepted commands, and ends all connections."""
        try:
            await self._lanes.stop()
        finally:
            await self._pool.disconnect()

    # As a lane.

    async def serve(self, batch: Sequence[Command]) -> list[Any]:
        """One write, then the answers. Connecting and waiting share `operation_timeout_s`.

        If the connection ends before all answers have arrived, commands that only read are sent once more on another
        one. A write is not, since its outcome is unknown.
        """
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        outcomes, broken = await self._attempt(batch, deadline)
        again = [number for number in broken if not batch[number].writes]
        if again:
            repeated, _ = await self._attempt([batch[number] for number in again], deadline)
            for number, outcome in zip(again, repeated, strict=True):
                outcomes[number] = outcome
        return outcomes

    async def _attempt(self, batch: Sequence[Command], deadline: float) -> tuple[list[Any], list[int]]:
        """The outcome of each command, and the numbers of those whose connection ended before their answer."""
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
        marks = {key: len(words) + number for number, key in enumerate(_marks_of(batch))}
        words += (("HMGET", key, "instance", "commits") for key in marks)
        sent = False
        lost: Exception | None = None
        answers: list[Any] = []
        try:
            async with asyncio.timeout_at(deadline):
                connection: _Connection = await self._pool.get_connection()
                try:
                    if _has_ended(connection):
                        await connection.disconnect(nowait=True)
                        await connection.connect()
                    sent = True
                    await self._exchange(connection, words, answers)
                    await self._teach(connection, words, answers)
                except BaseException:  # later answers on it are not needed
                    await connection.disconnect(nowait=True)
                    raise
                finally:
                    await self._pool.release(connection)
        except _ERRORS as error:
            if len(answers) < len(words):
                answers.append(error)
            # Only one of them was refused by a server that is loading; the outcome of those behind it is unknown.
            rest = _SILENCE if isinstance(error, exceptions.BusyLoadingError) and sent else error
            answers += [rest] * (len(words) - len(answers))
            if sent and _is_end(error):
                lost = error
        read = {key: mark_of(answers[position]) for key, position in marks.items()}
        told = [_told(command, answers, position, read) for command, position in zip(batch, positions, strict=True)]
        broken = [number for number, each in enumerate(told) if lost is not None and each in (lost, _SILENCE)]
        outcomes = [
            self._failure(answer, command, sent=sent) if isinstance(answer, Exception) else answer
            for command, answer in zip(batch, told, strict=True)
        ]
        return outcomes, broken

    async def close(self) -> None:
        """Does nothing: the lane has no resources of its own."""

    async def _exchange(self, connection: _Connection, batch: Sequence[_Words], answers: list[Any]) -> None:
        """Appends to `answers`, so that those that arrived are kept when the connection breaks."""
        await connection.send_packed_command(connection.pack_commands(batch), check_health=False)
        demoted = False
        for _ in batch:
            try:
                answers.append(await connection.read_response())
            except exceptions.ResponseError as error:
                answers.append(error)
                demoted = demoted or isinstance(error, exceptions.ReadOnlyError)
        if demoted:  # the server became a replica: its name may now stand for the new primary
            await connection.disconnect(nowait=True)

    async def _teach(self, connection: _Connection, batch: Sequence[_Words], answers: list[Any]) -> None:
        """Sends commands again that the server has refused for want of their scripts, as after a restart."""
        refused = [number for number, each in enumerate(answers) if isinstance(each, exceptions.NoScriptError)]
        if not refused:
            return
        again: list[Any] = []
        texts = dict.fromkeys(SCRIPTS[str(batch[number][1])] for number in refused)
        for number in refused:  # the refusal no longer describes its outcome
            answers[number] = _SILENCE
        try:
            loads: list[_Words] = [("SCRIPT", "LOAD", text) for text in texts]
            await self._exchange(connection, [*loads, *(batch[each] for each in refused)], again)
        finally:
            for number, answer in zip(refused, again[len(texts) :], strict=False):
                answers[number] = answer

    def _failure(self, error: Exception, command: Command, *, sent: bool) -> StorageFailed:
        """The `StorageFailed` for `error`. An answer of the server is a refusal; without one the outcome is unknown."""
        refused = isinstance(error, exceptions.ResponseError | exceptions.BusyLoadingError)
        if isinstance(error, TimeoutError | exceptions.TimeoutError):
            what = f"no answer within {self._timeout_s:g} s (storage.operation_timeout_s)"
        else:
            what = describe(error)
        unknown = command.writes and sent and not refused
        failure = StorageFailed(f"{self._name}: {what}", identity=command.identity, maybe_executed=unknown)
        failure.__cause__ = error
        return failure


def _has_ended(connection: _Connection) -> bool:
    """Whether an idle connection can be read: nothing was requested on it, so that is its end, or a stray answer.

    A server closes connections when it stops, when an operator orders it, and those that are silent for its `timeout`.
    The event loop may not have seen the end yet, so the socket itself is checked.
    """
    writer: asyncio.StreamWriter | None = getattr(connection, "_writer", None)
    if writer is None or writer.transport.is_closing():
        return True
    reader: asyncio.StreamReader | None = getattr(connection, "_reader", None)
    if reader is None or reader.at_eof() or reader.exception() is not None:
        return True
    socket = writer.get_extra_info("socket")
    if socket is None or socket.fileno() < 0:
        return True
    if not hasattr(select, "poll"):  # Windows: what the loop has seen must be enough
        return False
    waiting = select.poll()
    waiting.register(socket.fileno(), select.POLLIN)
    return bool(waiting.poll(0))


def _is_end(error: Exception) -> bool:
    """Whether the error means that the connection ended, and not that the server refused or was too slow."""
    if isinstance(error, TimeoutError | exceptions.TimeoutError | exceptions.BusyLoadingError):
        return False
    return isinstance(error, OSError | exceptions.ConnectionError)


def _marks_of(batch: Sequence[Command]) -> Iterable[bytes]:
    """The keys of the marks that commands of `batch` need, each once."""
    return dict.fromkeys(key for command in batch for key in command.marks)


def _told(command: Command, answers: Sequence[Any], position: int, read: Mapping[bytes, Mark | None]) -> Any:
    """The answer to `command`, whose first part is at `position`; its first error, if there is one."""
    answer = answers[position]
    if command.parts:
        answer = list(answers[position : position + len(command.parts)])
        failure = next((each for each in answer if isinstance(each, Exception)), None)
        if failure is not None:
            return failure
    if not command.marks or isinstance(answer, Exception):
        return answer
    return answer, {key: read[key] for key in command.marks}
