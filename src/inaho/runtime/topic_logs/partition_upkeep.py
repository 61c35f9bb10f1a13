"""Saves the positions of one partition in batches, and trims its log of what nobody needs any more.

A save is made a moment after a change, together with others, and after many appends, so that the next keeper has little
to read. A trim follows a save: what it removes, no keeper will ask for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from inaho.core.pubsub.partition_log import LogMemory
from inaho.errors import InahoError
from inaho.errors.inspection import describe

if TYPE_CHECKING:
    from inaho.core.pubsub.partition_log import PartitionLog
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.topic_logs.log_writer import LogWriter
    from inaho.runtime.topic_logs.partition_records import PartitionRecords

__all__ = ["PartitionUpkeep"]

SAVE_AGAIN_S: Final = 1.0
"""Pause after a save or a trim that failed."""

SAVE_AFTER: Final = 8192
"""After so many appended messages the numbers of publishers are saved, though no position has changed."""

TRIM_S: Final = 1.0
"""The log is trimmed at most this often, in seconds."""

RETENTION_SHARE: Final = 16
"""Messages stay for up to 1/16 longer than `retention_s`: looking up their age costs reads."""

RETENTION_LOOK_MAX_S: Final = 60.0
"""Longest pause between two looks at the age of messages."""


class PartitionUpkeep:
    """Saving and trimming of one partition.

    Args:
        local: the node.
        log: what is known of the log.
        writer: trims.
        records: finds messages by their age.
        retention_s: of the topic.
        save: saves the state with that memory of publishers.
        needed_from: first offset that a subscription needs.
    """

    def __init__(
        self,
        local: LocalNode,
        log: PartitionLog,
        writer: LogWriter,
        records: PartitionRecords,
        retention_s: float,
        *,
        save: Callable[[LogMemory], Awaitable[None]],
        needed_from: Callable[[], int],
    ) -> None:
        self._local = local
        self._log = log
        self._writer = writer
        self._records = records
        self._retention_s = retention_s
        self._save_state = save
        self._needed_from = needed_from
        self._changes = 0
        self._saved = 0
        self._saving: asyncio.Task[None] | None = None
        self._trimming: asyncio.Task[None] | None = None
        self._flush: asyncio.TimerHandle | None = None
        self._trim_timer: asyncio.TimerHandle | None = None
        self._retained_from = writer.first
        self._look_at = 0.0
        self._over = False

    # Saving.

    def changed(self) -> None:
        """Positions have changed: they are saved a moment later."""
        self._changes += 1
        self._save_soon(self._local.config.pubsub.positions_save_s)

    def appended(self) -> None:
        """Messages were appended."""
        if self._log.sizes.end - self._log.saved_upto >= SAVE_AFTER:
            self.changed()
        else:
            self._trim_soon()

    async def save(self) -> None:
        """Returns when all changes so far are saved. Changes that are made during a save share the next save."""
        self._changes += 1
        change = self._changes
        while self._saved < change:
            if self._saving is None:
                self._saving = self._local.spawn(self._save_once(), name="inaho-topic-save")
            await asyncio.shield(self._saving)

    async def _save_once(self) -> None:
        changes = self._changes
        try:
            memory = self._log.memory(self._local.unix_time())
            await self._save_state(memory)
            self._saved = changes
            self._log.saved(memory)
            self._trim_soon()  # unless it is the trim that waits for this save
        except InahoError:
            self._save_soon(SAVE_AGAIN_S)
            raise
        finally:
            self._saving = None

    def _save_soon(self, delay_s: float) -> None:
        if self._flush is None and not self._over:
            self._flush = self._local.loop.call_later(delay_s, self._save_late)

    def _save_late(self) -> None:
        self._flush = None
        if self._saved < self._changes:
            self._local.spawn(self._save_quietly(), name="inaho-topic-flush")

    async def _save_quietly(self) -> None:
        try:
            await self.save()
        except InahoError as error:
            self._local.log.warning("positions of %s could not be saved: %s", self._writer.name, describe(error))

    # Trimming.

    def _trim_soon(self) -> None:
        if self._trim_timer is None and self._trimming is None and not self._over:
            if self._log.sizes.first < self._log.sizes.end:
                self._trim_timer = self._local.loop.call_later(TRIM_S, self._trim_now)

    def _trim_now(self) -> None:
        self._trim_timer = None
        if not self._over:
            self._trimming = self._local.spawn(self._trim(), name="inaho-topic-trim")

    async def _trim(self) -> None:
        try:
            retained_from = await self._find_retained()
            if min(self._needed_from(), retained_from) > self._log.saved_upto:
                await self.save()
            upto = self._log.trim_upto(self._needed_from(), retained_from, self._local.unix_time())
            if upto > self._writer.first:
                await self._writer.trim(upto)
                self._log.sizes.trim(upto)
        except InahoError as error:  # a conflict has ended the keeper; otherwise the next trim tries again
            self._local.log.warning("log %s could not be trimmed: %s", self._writer.name, describe(error))
        finally:
            self._trimming = None
        if self._retention_s and not self._over and self._log.sizes.first < self._log.sizes.end:
            self._trim_timer = self._local.loop.call_later(self._look_s, self._trim_now)

    @property
    def _look_s(self) -> float:
        return min(RETENTION_LOOK_MAX_S, max(TRIM_S, self._retention_s / RETENTION_SHARE))

    async def _find_retained(self) -> int:
        """First offset that is kept because of its age."""
        if not self._retention_s:
            return self._log.sizes.end
        now = self._local.loop.time()
        if now >= self._look_at:
            self._look_at = now + self._look_s
            self._retained_from = await self._records.offset_at(self._local.unix_time() - self._retention_s)
        return self._retained_from

    def stop(self) -> None:
        """No further save or trim begins by itself."""
        self._over = True
        for handle in (self._flush, self._trim_timer):
            if handle is not None:
                handle.cancel()
        if self._trimming is not None:
            self._trimming.cancel()

    @property
    def unsaved(self) -> bool:
        """Whether there are changes that are not saved."""
        return self._saved < self._changes
