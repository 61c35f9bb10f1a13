"""Keepers of durable sends: system grains, one per partition, that call grains in the name of senders that may be gone.

A sender is told that its call is stored when its record is in the log of the partition, which the hash of the grain's
identity names. From then on the keeper makes the call, as often as it takes. The log has everything that a keeper
knows, so the next one reads it and continues; a call whose end is not in the log yet is made again.

Requests and ends of calls that come during an append share the next one (`LogWriter`). An append that fails ends the
keeper: what it has decided is not in the log, and the next keeper begins with what is there. While views of the cluster
disagree a partition may have two keepers, which both call; only the one that has opened the log last can append.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Final

from inaho.core.pubsub.send_history import SendHistory
from inaho.core.pubsub.send_records import DurableSend, NewSend, SendRecord
from inaho.core.pubsub.stored_sends import PendingSend, StoredSends
from inaho.core.rpc.retry import RetryPolicy
from inaho.errors import InahoError, InvalidConfig, LogConflict, ShuttingDown, StateConflict
from inaho.errors.inspection import describe
from inaho.runtime.activation.kind_host import host_of
from inaho.runtime.grains.grain import Grain, method
from inaho.runtime.topic_logs.log_writer import LogWriter
from inaho.runtime.topic_logs.send_calls import is_attempt
from inaho.runtime.topic_logs.send_partition import (
    KEEPER,
    SendPartition,
    decode_partition,
    decode_record,
    log_of,
    partition_of,
)
from inaho.runtime.turns.steps import SIGNALS
from inaho.wire.codec import encode
from inaho.wire.portions import portion

if TYPE_CHECKING:
    from inaho.runtime.activation.leases import Leases
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.local.storage_access import StorageAccess
    from inaho.runtime.topic_logs.send_calls import SendCalls
    from inaho.storage.log import LogStorage

__all__ = ["SendKeeper"]

LOOK_AGAIN_S: Final = 30.0
"""The wall clock may be set at any time, so a keeper reads it at least this often, in seconds."""

CLOCK_STEP_S: Final = 1.0
"""If the wall clock gained or lost more than this against the clock of the machine, it was set."""

LINGER_S: Final = 0.05
"""The ends of calls are logged after this time at the latest, together with others."""

TRIM_MIN: Final = 1024
"""A log is not trimmed for fewer records than this, unless nothing in it is needed."""

FINISH_S: Final = 1.0
"""A keeper that ends waits this long for calls that have begun. Those that do not end are made again."""

AGAIN_S: Final = 1.0
"""The successor of a keeper is started after this time, in seconds, unless its node or a request does it before."""

REASON_CHARS_MAX: Final = 1000
"""Of the reason of a failure that is kept."""

READ_MAX: Final = 1000
"""Records that are read at once at the start."""


class SendKeeper(Grain[SendPartition], name=KEEPER, reentrant=True, idle_ttl_s=0):
    """Stores the durable sends of one partition and makes their calls. Its key is the partition's number."""

    def __init__(self, local: LocalNode, storage_access: StorageAccess, leases: Leases, calls: SendCalls) -> None:
        self._local = local
        self._storage_access = storage_access
        self._leases = leases
        self._calls = calls

    async def on_activate(self) -> None:
        pubsub = self._local.config.pubsub
        if self.state.partitions not in (0, pubsub.send_partitions):
            raise InvalidConfig(
                f"durable sends were stored in {self.state.partitions} partitions, while pubsub.send_partitions is "
                f"{pubsub.send_partitions} here: it cannot be changed once there are durable sends"
            )
        self._sends = StoredSends(
            pending_max=pubsub.sends_max,
            bytes_max=pubsub.sends_bytes_max,
            attempts_max=pubsub.send_attempts_max,
            dedup_s=pubsub.send_dedup_s,
            senders_max=pubsub.publishers_max,
        )
        self._retry = RetryPolicy(
            attempts=pubsub.send_attempts_max, base_s=pubsub.send_retry_base_s, max_s=pubsub.send_retry_max_s
        )
        self._writer: LogWriter | None = None
        self._last: asyncio.Future[int] | None = None
        self._saving: asyncio.Task[None] | None = None
        self._trimming: asyncio.Task[None] | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._flush: asyncio.TimerHandle | None = None
        self._running: dict[asyncio.Task[None], None] = {}
        self._over = False
        self._soon = False
        self._wall_offset_s = self._local.unix_time() - self._local.boot_time()
        if not self._local.storage_is_private:
            storage = await self._storage_access.opened()
            if storage.log is not None:
                await self._open(storage.log)
                self._look()

    async def _open(self, log: LogStorage) -> None:
        """Takes the log over, with an epoch above that of all predecessors, and reads what they have left."""
        pubsub, name = self._local.config.pubsub, log_of(self.key)
        self._leases.ledger.raise_epoch(self._inaho_lease, (await log.bounds(name)).epoch)
        bounds = await log.open_log(name, epoch=self._inaho_lease.epoch)
        history = SendHistory()
        offset = bounds.first
        while offset < bounds.end:
            for record in await log.read(name, offset, records_max=READ_MAX):
                history.add(record.offset, decode_record(record.data))
                offset = record.offset + 1
        self._sends.restore(history, bounds.end)
        self._calls.counts.keepers[self.key] = self._sends
        self._writer = LogWriter(
            self._local, log, name, bounds,
            lost=self._fail,
            records_max=pubsub.log_batch_messages_max,
            bytes_max=pubsub.log_batch_bytes_max,
            queue_bytes_max=pubsub.log_queue_bytes_max,
        )  # fmt: skip

    async def on_deactivate(self, reason: str) -> None:
        self._over = True
        self._calls.counts.keepers.pop(self.key, None)
        for handle in (self._alarm, self._flush):
            if handle is not None:
                handle.cancel()
        if self._running:
            await asyncio.wait(list(self._running), timeout=FINISH_S)
        for call in list(self._running):
            call.cancel()
        # A new owner that looked into the log before the last append would not start a keeper.
        if reason in ("stale", "requested") or self._sends.pending > self._sends.dead:
            self._local.spawn(self._start_again(), name="inaho-sends-again")
        if self._writer is not None:
            try:
                await self._log(self._sends.decided(self._now()))
            except InahoError as error:
                self._local.log.warning(
                    "%s could not log the last ends of calls; they may be made again: %s",
                    self.identity,
                    describe(error),
                )
            self._writer.close(ShuttingDown("the keeper has ended", identity=str(self.identity)))
            await self._writer.finished()

    async def _start_again(self) -> None:
        await asyncio.sleep(AGAIN_S)
        await self._calls.wake(self.key)

    # Requests.

    @method(idempotent=True)
    async def put(self, sender: str, sequence: int, sends: list[NewSend]) -> list[DurableSend]:
        """Stores sends; they are in the log when this returns.

        Args:
            sender: node id of the sender.
            sequence: number of the first one there, from 1; the others follow. A repeated request has the same numbers.
            sends: in the order in which they run, where they are to the same grain.
        """
        writer = self._check_place(sends)
        if not self.state.partitions:
            await self._save_partitions()
        await self._unless_lost(writer.room())
        now = self._now()
        self._append(self._sends.decided(now))
        handles, records = self._sends.put(sender, sequence, sends, now)
        await self._log(records)
        self._calls.counts.stored += len(records)
        return handles

    @method(idempotent=True)
    async def cancel(self, kind: str, key: str, name: str) -> bool:
        """See `Cluster.cancel_send`."""
        now = self._now()
        cancelled = self._sends.cancel(kind, key, name, now)
        await self._log(self._sends.decided(now))
        self._look()
        return cancelled

    @method(idempotent=True)
    async def send_again(self, kind: str, key: str, name: str) -> bool:
        """See `Cluster.send_again`."""
        found = self._sends.send_again(kind, key, name)
        await self._log(self._sends.decided(self._now()))
        self._look()
        return found

    @method(read_only=True)
    async def listed(self, kind: str, key: str, count_max: int) -> list[DurableSend]:
        """See `Cluster.durable_sends`; no more than fit into a frame."""
        return portion(self._sends.listed(kind, key, count_max), self._local.config.transport.frame_bytes_max // 2)

    @method(read_only=True)
    async def dead_letters(self, count_max: int) -> list[DurableSend]:
        """The oldest dead letters of the partition, no more than fit into a frame."""
        return portion(self._sends.dead_letters(count_max), self._local.config.transport.frame_bytes_max // 2)

    @method(idempotent=True)
    async def verify(self) -> None:
        """Makes sure that a keeper runs, and that no other one has opened the log since, as across a split."""
        writer = self._writer
        storage = await self._storage_access.opened()
        if writer is None or storage.log is None or self._over:
            return
        bounds = await storage.log.bounds(writer.name)
        if bounds.epoch != writer.epoch:
            self._fail(LogConflict("another keeper has opened the log", end=bounds.end, epoch=bounds.epoch))

    def _check_place(self, sends: list[NewSend]) -> LogWriter:
        """Raises the reason if sends cannot be stored here."""
        if self._writer is None:
            what = (
                "is 'memory', of this node alone"
                if self._local.storage_is_private
                else f"{self._storage_access.storage!r} has no logs"
            )
            raise InvalidConfig(
                f"durable sends need a storage that outlives this process and has logs: the one given {what}",
                identity=str(self.identity),
                authority=self._local.authority,
            )
        partitions = self._local.config.pubsub.send_partitions
        for send in sends:
            if partition_of(send.kind, send.key, partitions) != self.key:
                raise InvalidConfig(
                    f"pubsub.send_partitions is {partitions} here and another number at the sender",
                    identity=f"{send.kind}/{send.key}",
                    authority=self._local.authority,
                )
        return self._writer

    async def _save_partitions(self) -> None:
        if self._saving is None:
            self._saving = self._local.spawn(self._save_once(), name="inaho-sends-save")
        await asyncio.shield(self._saving)

    async def _save_once(self) -> None:
        try:
            self.state = SendPartition(self._local.config.pubsub.send_partitions)
            await self.save()
        except InahoError:
            self.state = SendPartition()
            raise
        finally:
            self._saving = None

    # The log.

    async def _log(self, records: list[SendRecord]) -> None:
        """Returns when these records, and all before them, are in the log."""
        self._append(records)
        if self._last is not None:
            await self._unless_lost(asyncio.shield(self._last))

    def _append(self, records: list[SendRecord]) -> None:
        writer = self._writer
        if not records or writer is None:
            return

        def stored(offset: int) -> None:
            self._sends.stored(offset, records)
            self._look()
            self._trim(writer)

        self._last = writer.put([encode(record) for record in records], stored)
        self._last.add_done_callback(self._appended)

    def _appended(self, outcome: asyncio.Future[int]) -> None:
        error = None if outcome.cancelled() else outcome.exception()
        if error is not None:
            self._fail(error)

    async def _unless_lost(self, step: Awaitable[object]) -> None:
        """Waits for a step of the writer. If another keeper has the log now, callers may repeat the call."""
        try:
            await step
        except LogConflict as error:
            raise StateConflict(
                f"another keeper writes the log: {error.reason}", identity=str(self.identity)
            ) from error

    def _fail(self, error: BaseException) -> None:
        """What was decided is not in the log: ends this keeper."""
        if self._over:
            return
        self._over = True
        self._local.log.warning("%s ends and begins again: %s", self.identity, describe(error))
        host_of(self).deactivate_soon(self, "stale")

    def _trim(self, writer: LogWriter) -> None:
        if self._sends.trimmable() - writer.first >= TRIM_MIN and self._trimming is None and not self._over:
            self._trimming = self._local.spawn(self._trim_once(writer), name="inaho-sends-trim")

    async def _trim_once(self, writer: LogWriter) -> None:
        try:
            await writer.trim(self._sends.trimmable())
        except InahoError as error:  # a conflict has ended the keeper; otherwise the next append tries again
            self._local.log.warning("the log of %s could not be trimmed: %s", self.identity, describe(error))
        finally:
            self._trimming = None

    def _flush_soon(self) -> None:
        if self._flush is None and not self._over:
            self._flush = self._local.loop.call_later(LINGER_S, self._flush_now)

    def _flush_now(self) -> None:
        self._flush = None
        self._append(self._sends.decided(self._now()))

    # The clock.

    def _now(self) -> float:
        """Unix seconds. If the wall clock was set meanwhile, what waits keeps its delay."""
        now = self._local.unix_time()
        step_s = now - self._local.boot_time() - self._wall_offset_s
        if abs(step_s) > CLOCK_STEP_S:
            self._wall_offset_s += step_s
            self._local.log.info("the clock of this node was set by %+.1f s; durable sends keep their delay", step_s)
            self._sends.clock_set(now - step_s, step_s)
            self._flush_soon()
        return now

    def _look(self) -> None:
        """Begins the calls that are due, and waits for the next ones."""
        if self._over:
            return
        now = self._now()
        for entry in self._sends.due(now):
            call = self._local.spawn(self._call(entry), name="inaho-durable-send")
            self._running[call] = None
            call.add_done_callback(self._call_ended)
        due = self._sends.next_deadline()
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if due is not None:
            delay_s = min(max(due - now, 0.001), LOOK_AGAIN_S)
            self._alarm = self._local.loop.call_later(delay_s, self._look_again)

    def _look_again(self) -> None:
        self._alarm = None
        self._look()

    # Calls.

    def _call_ended(self, call: asyncio.Task[None]) -> None:
        del self._running[call]
        if not self._soon:  # the calls that end in this iteration of the loop are one reason to look
            self._soon = True
            self._local.loop.call_soon(self._look_soon)

    def _look_soon(self) -> None:
        self._soon = False
        self._look()

    async def _call(self, entry: PendingSend) -> None:
        try:
            await self._calls.deliver(entry.send)
        except (asyncio.CancelledError, *SIGNALS):  # the keeper ends, or the process
            raise
        except BaseException as error:  # any error: the keeper continues with the other sends
            self._failed(entry, error)
        else:
            self._calls.counts.ran += 1
            self._sends.ended(entry, self._now())
        self._flush_soon()

    def _failed(self, entry: PendingSend, error: BaseException) -> None:
        """The grain raised, or did not answer; this decides whether the attempt counts."""
        send = entry.send
        now = self._now()
        counts = is_attempt(error)
        failed = send.attempts + 1 if counts else entry.refusals + 1
        retry_at = now + self._retry.delay_s(failed, self._local.entropy.random.random())
        reason = error.reason if isinstance(error, InahoError) else describe(error)
        given_up = counts and self._sends.failed(entry, retry_at, reason[:REASON_CHARS_MAX], now)
        if not counts:
            self._sends.postponed(entry, retry_at, now)
        self._calls.report_failure(send, reason, counts=counts, given_up=given_up)


SendKeeper.inaho_kind.decode_state = decode_partition
