"""The logs of `RedisStorage`: one hash with the bounds and one stream with the chunks of each log.

An append is one Lua script. Redis runs nothing else meanwhile: the comparison of epoch and offset, the new chunk and
the new end are one step. So an append that was still on its way when a newer epoch opened the log changes nothing.

A stream keeps its entries in order by two numbers. Here they are the offset of a chunk's first record and the number of
its records, so the chunk of an offset is found without an index. A list would be searched from one end, and scores of
a sorted set need a second key for the chunks.

What "durable" means is that of `storage`. Logs need Redis 6.2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from inaho.config import StorageConfig
from inaho.storage.instances import Instances, Mark, new_instance
from inaho.storage.log.base import (
    OFFSET_MAX,
    LogBounds,
    LogRecord,
    LogStorage,
    log_conflict_of,
    open_conflict_of,
)
from inaho.storage.log.chunks import ReadPortion, check_offset, encode_chunk
from inaho.storage.log.openings import Openings, opened_again
from inaho.storage.redis.cluster import RedisCluster
from inaho.storage.redis.scripts import LOG_APPEND, LOG_OPEN, LOG_READ, LOG_TRIM, Script
from inaho.storage.redis.server import Command, MarkKey, RedisServer, escaped

__all__ = ["RedisLog"]

_DONE: Final = 1


class RedisLog(LogStorage):
    """Logs in the Redis of a `RedisStorage`.

    Args:
        config: bounds.
        check_usable: see `LogStorage`.
        server: returns the server, or the cluster, of the open storage.
        instances: the marks that the storage has seen.
        prefix: of the keys. A log has the keys `prefix:{name}:log` and `prefix:{name}:chunks`; no record of a grain
            ends so.
        mark_key: returns the key of the mark of a key's part of the storage.
    """

    def __init__(
        self,
        config: StorageConfig,
        check_usable: Callable[[str], None],
        *,
        server: Callable[[], RedisServer | RedisCluster],
        instances: Instances,
        prefix: str,
        mark_key: MarkKey,
    ) -> None:
        super().__init__(config, check_usable)
        self._server = server
        self._instances = instances
        self._prefix = prefix
        self._mark_key = mark_key
        self._openings = Openings()

    async def _open_log(self, log: str, epoch: int) -> LogBounds:
        await self._server().settled(self._key(log))  # an append that was cancelled: its outcome decides the end
        number = self._openings.next()
        done, bounds, _ = await self._run(LOG_OPEN, log, epoch, self._openings.opener, number)
        if not done:
            raise open_conflict_of(log, bounds, epoch=epoch) or opened_again(log, bounds)
        self._openings.opened(log, number)
        return bounds

    async def _bounds(self, log: str) -> LogBounds:
        _, bounds, _ = await self._run(LOG_READ, log, 0, OFFSET_MAX, 1, 1)  # no chunk is there
        return bounds

    async def _append(self, log: str, records: Sequence[bytes], *, offset: int, epoch: int) -> None:
        count = len(records)
        opening = (self._openings.opener, self._openings.of(log))
        chunk = encode_chunk(records)
        done, bounds, _ = await self._run(LOG_APPEND, log, epoch, offset, count, offset + count, chunk, *opening)
        if not done:
            raise log_conflict_of(log, bounds, epoch=epoch, offset=offset) or opened_again(log, bounds)

    async def _read(self, log: str, offset: int, *, records_max: int, bytes_max: int) -> list[LogRecord]:
        _, bounds, chunks = await self._run(LOG_READ, log, 0, offset, records_max, bytes_max)
        check_offset(log, bounds, offset)
        portion = ReadPortion(log, offset, records_max=records_max, bytes_max=bytes_max)
        for first, chunk in zip(chunks[::2], chunks[1::2], strict=True):
            portion.add_encoded(int(first), chunk)
            if portion.full:
                break
        return portion.records

    async def _trim(self, log: str, upto: int, *, epoch: int) -> None:
        done, bounds, _ = await self._run(LOG_TRIM, log, epoch, upto)
        if not done:
            raise log_conflict_of(log, bounds, epoch=epoch, offset=None) or opened_again(log, bounds)

    async def _run(
        self, script: Script, log: str, epoch: int, *arguments: int | bytes | str
    ) -> tuple[bool, LogBounds, Sequence[bytes]]:
        """Whether the script did its work, the bounds after it, and the chunks that it read."""
        key = self._key(log)
        part = self._mark_key(key)
        seen = self._instances.seen(part)
        if seen is None:
            numbers = b" 0 %b %d" % (new_instance().encode(), epoch)
        else:
            numbers = b"%b %d  %d" % (seen.instance.encode(), seen.commits, epoch)
        keys = (key + b":log", key + b":chunks")
        command = Command(
            ("EVALSHA", script.digest, 3, *keys, part, numbers, *arguments),
            key,
            log,
            writes=script is not LOG_READ,
            alone=("EVALSHA", script.digest, 2, *keys, numbers, *arguments),
        )
        size = sum(len(each) for each in arguments if isinstance(each, bytes))
        answer: Sequence[Any] = await self._server().submit(key if command.writes else None, command, size)
        outcome, instance, commits, *rest = answer
        if instance or outcome < 0:  # else it ran while keys moved, and the mark was not compared
            self._instances.check(seen, Mark(instance.decode(), int(commits)), part, identity=log)
        first, end, epoch, appended, removed = map(int, rest[:5])
        return outcome == _DONE, LogBounds(first, end, epoch, appended - removed), rest[5] if rest[5:] else ()

    def _key(self, log: str) -> bytes:
        return f"{self._prefix}:{{{escaped(log, '%{}')}}}".encode()
