"""Writes one log for its keeper: what waits is appended together, and an append with an unknown outcome is looked up.

A keeper that appended each batch for itself would wait for the disk once per batch. So batches wait while an append is
under way, and the next append takes all of them: the more publishers, the more messages per append.

A storage may fail in a way that leaves open whether it has appended. Then the writer opens the log again with its own
epoch, until that succeeds: nobody else can have appended with that epoch, so the end of the log says whether the append
is there. Its callers wait meanwhile, or give up and repeat later.

Why not several appends under way at once: the second could commit without the first, and its offset would be wrong.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from inaho.errors import InahoError, LogConflict, StorageFailed
from inaho.errors.inspection import describe
from inaho.runtime.local.local_node import LocalNode
from inaho.storage.log import LogBounds, LogStorage

__all__ = ["LogWriter"]

AGAIN_S = 0.2
"""Pause before the log is opened again to look up an append, doubled up to `AGAIN_MAX_S`."""

AGAIN_MAX_S = 5.0


class _Put(msgspec.Struct, eq=False):
    """Records that are appended together, in one append."""

    records: Sequence[bytes]
    size_bytes: int
    future: asyncio.Future[int]
    stored: Callable[[int], None] | None


class LogWriter:
    """The only writer of one log, as long as nobody opens it with a newer epoch.

    Args:
        local: the node.
        log: the log storage, open.
        name: of the log.
        bounds: what `open_log` has answered to `epoch`.
        lost: called once, when another keeper has opened the log; the writer refuses everything from then on.
        records_max: records of one append, unless one `put` has more.
        bytes_max: bytes of one append, unless one `put` has more.
        queue_bytes_max: bytes that may wait; beyond it `room` waits.

    Attributes:
        name: of the log.
        epoch: of the keeper.
        first: offset of the first record that is left.
        end: offset after the last record that is known to be stored.
    """

    def __init__(
        self,
        local: LocalNode,
        log: LogStorage,
        name: str,
        bounds: LogBounds,
        *,
        lost: Callable[[LogConflict], None],
        records_max: int,
        bytes_max: int,
        queue_bytes_max: int,
    ) -> None:
        self.name = name
        self.epoch = bounds.epoch
        self.first = bounds.first
        self.end = bounds.end
        self._local = local
        self._log = log
        self._lost = lost
        self._records_max = records_max
        self._bytes_max = bytes_max
        self._queue_bytes_max = queue_bytes_max
        self._waiting: deque[_Put] = deque()
        self._waiting_bytes = 0
        self._writing: asyncio.Task[None] | None = None
        self._over: InahoError | None = None
        self._room: asyncio.Future[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether records wait or are on their way."""
        return self._writing is not None

    async def room(self) -> None:
        """Returns when the queue may take more. Raises why there will be no room."""
        while self._over is None and self._waiting_bytes >= self._queue_bytes_max:
            if self._room is None:
                self._room = self._local.loop.create_future()
            await asyncio.shield(self._room)
        if self._over is not None:
            raise self._over

    def put(self, records: Sequence[bytes], stored: Callable[[int], None] | None = None) -> asyncio.Future[int]:
        """Appends records in one piece, behind those of earlier calls.

        Args:
            records: at least one.
            stored: called with the offset of the first one as soon as they are stored, in the order of the log, also
                if nobody waits for the future any more.

        Returns:
            A future with the offset of the first one, once they are stored. It may fail with `LogConflict`,
            `StateTooLarge`, or `StorageFailed` with `maybe_executed` False: then nothing was or will be stored. Others
            may wait for it too: await it within `asyncio.shield`.
        """
        future: asyncio.Future[int] = self._local.loop.create_future()
        if self._over is not None:
            _set_error(future, self._over)
            return future
        size_bytes = sum(map(len, records))
        self._waiting.append(_Put(records, size_bytes, future, stored))
        self._waiting_bytes += size_bytes
        if self._writing is None:
            self._writing = self._local.spawn(self._write(), name="inaho-log-writer")
        return future

    async def trim(self, upto: int) -> None:
        """Removes the records before `upto`, at most `end`. Raises as `LogStorage.trim`; a conflict ends the writer."""
        if upto <= self.first:
            return
        try:
            await self._log.trim(self.name, upto, epoch=self.epoch)
        except LogConflict as error:
            self._end(error)
            raise
        self.first = max(self.first, upto)

    def close(self, error: InahoError) -> None:
        """Refuses everything from now on with `error`. An append under way may commit, and is then reported."""
        if self._over is None:
            self._over = error
            self._fail(list(self._waiting), error)
            self._waiting.clear()
            self._waiting_bytes = 0
            self._make_room()

    async def finished(self) -> None:
        """Returns when no append is under way."""
        if self._writing is not None:
            await asyncio.wait([self._writing])

    async def _write(self) -> None:
        """Appends until nothing waits. The first step is in the next loop iteration, so that its puts are together."""
        try:
            while self._waiting:
                group = self._next_group()
                try:
                    await self._store(group, [record for put in group for record in put.records])
                except asyncio.CancelledError:  # the node stops
                    error = StorageFailed("the node stopped during an append", maybe_executed=True)
                    self._fail(group, error)
                    self.close(error)
                    raise
        finally:
            self._writing = None

    def _next_group(self) -> list[_Put]:
        group: list[_Put] = []
        records, size_bytes = 0, 0
        while self._waiting:
            put = self._waiting[0]
            records += len(put.records)
            size_bytes += put.size_bytes
            if group and (records > self._records_max or size_bytes > self._bytes_max):
                break
            group.append(self._waiting.popleft())
            self._waiting_bytes -= put.size_bytes
        self._make_room()
        return group

    async def _store(self, group: list[_Put], records: list[bytes]) -> None:
        """One append. Returns when its outcome is known."""
        try:
            await self._log.append(self.name, records, offset=self.end, epoch=self.epoch)
        except LogConflict as error:
            self._fail(group, error)
            self._end(error)
            return
        except StorageFailed as error:
            if not error.maybe_executed or not await self._look_up(group, len(records), error):
                self._fail(group, _not_stored(error))
                return
        except InahoError as error:  # too large, or the storage has lost data
            self._fail(group, error)
            return
        self._stored(group)

    async def _look_up(self, group: list[_Put], count: int, error: StorageFailed) -> bool:
        """Whether an append with an unknown outcome is in the log; waits until the log can be opened again."""
        self._local.log.warning(
            "whether log %s has %d more records is not known: %s", self.name, count, describe(error)
        )
        pause_s = AGAIN_S
        while True:
            try:
                bounds = await self._log.open_log(self.name, epoch=self.epoch)
            except LogConflict as conflict:
                self._fail(group, conflict)
                self._end(conflict)
                return False
            except InahoError as again:
                self._local.log.debug("log %s could not be opened again: %s", self.name, describe(again))
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, AGAIN_MAX_S)
            else:
                return bounds.end == self.end + count

    def _stored(self, group: list[_Put]) -> None:
        offset = self.end
        self.end += sum(len(put.records) for put in group)
        for put in group:
            if put.stored is not None:
                put.stored(offset)
            if not put.future.done():
                put.future.set_result(offset)
            offset += len(put.records)

    def _end(self, error: LogConflict) -> None:
        if self._over is None:
            self.close(error)
            self._lost(error)

    def _fail(self, puts: list[_Put], error: InahoError) -> None:
        for put in puts:
            if not put.future.done():
                _set_error(put.future, error)

    def _make_room(self) -> None:
        if self._room is not None and (self._over is not None or self._waiting_bytes < self._queue_bytes_max):
            self._room.set_result(None)
            self._room = None


def _set_error(future: asyncio.Future[int], error: InahoError) -> None:
    """Fails a future, and marks the error as seen: those that wanted it may have given up."""
    future.set_exception(error)
    future.exception()


def _not_stored(error: StorageFailed) -> StorageFailed:
    return StorageFailed(error.reason, identity=error.identity, authority=error.authority, maybe_executed=False)
