"""Keepers of topics at least once: system grains, one per partition, that write its log and deliver its messages.

A keeper has one owner, hand-off, fail-over, and state that is fenced, as every grain. It opens the log of its partition
with the epoch of its activation; from then on no earlier keeper can append or trim. What an earlier keeper does before
it notices is safe: an append that it acknowledges is in the log, and deliveries may repeat.

A keeper is active while somebody publishes or consumes, and for a while after it. Consumers open their streams again
when a keeper has ended, and so activate the next one. Without them a keeper has nothing to do: messages are in the log,
and positions are saved.

Why one grain per partition and not one per topic: partitions spread the work over members, and a topic grows by them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing
from typing import TYPE_CHECKING, Final, TypeVar

from inaho.errors import (
    InahoError,
    InvalidConfig,
    LogConflict,
    NoSuchTopic,
    OwnershipChanged,
    StateConflict,
    SubscriptionLost,
)
from inaho.errors.inspection import describe
from inaho.runtime.activation.kind_host import host_of
from inaho.runtime.grains.grain import Grain, method
from inaho.runtime.topic_logs.keeper_messages import (
    KEEPER,
    AppendBatch,
    Appended,
    ConsumeRequest,
    Deliveries,
    Delivery,
    DeliveryNumber,
    PartitionDescription,
    ReplayRequest,
    Settlement,
    StartAt,
    log_name,
    partition_of,
)
from inaho.runtime.topic_logs.partition import OpenedLog, Partition
from inaho.runtime.topic_logs.partition_state import PartitionState, decode_partition

if TYPE_CHECKING:
    from inaho.runtime.activation.leases import Leases
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.local.storage_access import StorageAccess
    from inaho.runtime.topic_logs.lost_logs import LostLogs
    from inaho.runtime.topic_logs.ports import Definitions, Keepers
    from inaho.storage.log import LogBounds, LogStorage

__all__ = ["TopicLogKeeper"]

IDLE_TTL_S: Final = 600.0
"""A keeper that nobody calls ends after this time, in seconds. A stream is a call."""

T = TypeVar("T")


class TopicLogKeeper(Grain[PartitionState], name=KEEPER, reentrant=True, idle_ttl_s=IDLE_TTL_S):
    """Keeps one partition of one topic; its key is `partition/topic`. For its methods see `PartitionKeeper`."""

    def __init__(
        self,
        local: LocalNode,
        storage_access: StorageAccess,
        leases: Leases,
        definitions: Definitions,
        keepers: Keepers,
        lost_logs: LostLogs,
    ) -> None:
        self._local = local
        self._storage_access = storage_access
        self._leases = leases
        self._definitions = definitions
        self._keepers = keepers
        self._lost_logs = lost_logs

    async def on_activate(self) -> None:
        self._partition: Partition | None = None
        self._refusal: InahoError | None = None
        self._over = False
        topic, number = partition_of(self.key)
        try:
            definition = await self._definitions.find(topic)
            if not definition.durable or number >= definition.partitions:
                raise NoSuchTopic(f"topic {topic!r} has no partition {number} of a log")
            log = await self._log_storage()
            state = self.state
            if state.created_at > definition.created_at:
                raise self._ended("this node knows only an earlier topic of that name")
            wait_s = self._lost_logs.wait_s(self.key, self._local.loop.time())
            if wait_s:
                raise self._ended(f"another keeper has opened the log, and has it for {wait_s:.1f} s more")
        except (NoSuchTopic, InvalidConfig, OwnershipChanged) as error:
            self._refusal = error
            return
        bounds = await self._open(log)
        if state.created_at != definition.created_at:
            if bounds.first < bounds.end:  # of a topic of that name that was deleted
                await log.trim(log_name(topic, number), bounds.end, epoch=bounds.epoch)
                bounds = await self._open(log)
            state = PartitionState(definition.created_at)
        self._partition = partition = Partition(
            self._local, definition, number, OpenedLog(log, bounds), state, self._definitions, self._keepers,
            save=self._save, lost=self._lost,
        )  # fmt: skip
        try:
            await partition.begin()
        except BaseException:
            await partition.close(self._ended("its start failed"))
            raise

    @property
    def lag(self) -> int:
        """Messages of its partition that the slowest subscription has not settled; for metrics."""
        partition = getattr(self, "_partition", None)  # it may still start
        return 0 if partition is None else partition.lag

    async def _log_storage(self) -> LogStorage:
        storage = await self._storage_access.opened()
        if storage.log is None or self._local.storage_is_private:
            what = "is 'memory', of this node alone" if self._local.storage_is_private else "has no logs"
            raise InvalidConfig(
                f"topics at least once need a storage that outlives this process and has logs: {storage!r} {what}",
                identity=str(self.identity),
                authority=self._local.authority,
            )
        return storage.log

    async def _open(self, log: LogStorage) -> LogBounds:
        """Takes the log over, with an epoch above that of all predecessors."""
        name = log_name(*partition_of(self.key))
        self._leases.ledger.raise_epoch(self._inaho_lease, (await log.bounds(name)).epoch)
        return await log.open_log(name, epoch=self._inaho_lease.epoch)

    async def _save(self, state: PartitionState) -> None:
        self.state = state
        try:
            await self.save()
        except StateConflict:
            self._lost_logs.lost(self.key, self._local.loop.time())
            raise

    def _lost(self, error: LogConflict) -> None:
        """Another keeper has opened the log: this one ends, and callers find the other one."""
        self._lost_logs.lost(self.key, self._local.loop.time())
        if not self._over:
            self._over = True
            self._local.log.info("%s ends: %s", self.identity, error.reason)
            host_of(self).deactivate_soon(self, "stale")

    async def on_deactivate(self, reason: str) -> None:
        self._over = True
        partition = self._partition
        if partition is None:
            return
        await partition.close(self._ended(reason))
        if reason == "stale" or not partition.upkeep.unsaved:
            return
        try:
            await partition.upkeep.save()
        except InahoError as error:
            self._local.log.warning(
                "%s could not save at its end; deliveries may repeat: %s", self.identity, describe(error)
            )

    def _ended(self, reason: str) -> InahoError:
        return OwnershipChanged(
            f"the keeper has ended ({reason})", identity=str(self.identity), authority=self._local.authority
        )

    def _opened(self) -> Partition:
        """The partition. Raises why there is none here."""
        if self._partition is not None and not self._over:
            return self._partition
        if self._refusal is None:
            raise self._ended("stale")
        self.deactivate()  # the topic may be created meanwhile: the next call looks again
        raise self._refusal

    async def _unless_lost(self, step: Awaitable[T]) -> T:
        """Waits for a step. If another keeper has the log now, callers may repeat the call."""
        try:
            return await step
        except LogConflict as error:
            raise StateConflict(
                f"another keeper writes the log: {error.reason}", identity=str(self.identity), maybe_executed=False
            ) from error

    @method(idempotent=True)
    async def append(self, batch: AppendBatch) -> Appended:
        """See `PartitionKeeper`."""
        return await self._unless_lost(self._opened().appends.append(batch))

    async def consume(self, request: ConsumeRequest) -> AsyncIterator[Deliveries]:
        """See `PartitionKeeper`."""
        group = await self._unless_lost(self._opened().subscription(request))
        stream = group.open(request)
        try:
            yield group.next_item(stream)
            while True:
                await stream.wait()
                yield group.next_item(stream)
        finally:
            ending = self._over or bool(host_of(self).lifecycle.reason_of(self))
            group.closed(stream, ending=ending)

    @method(idempotent=True)
    async def settle(self, settlement: Settlement) -> list[DeliveryNumber]:
        """See `PartitionKeeper`."""
        group = self._opened().groups.get(settlement.subscription)
        if group is None:
            raise SubscriptionLost(f"there is no subscription {settlement.subscription!r}")
        return group.settle(settlement)

    async def replay(self, request: ReplayRequest) -> AsyncIterator[list[Delivery]]:
        """See `PartitionKeeper`."""
        async with aclosing(self._opened().replay(request)) as messages:
            async for portion in messages:
                yield portion

    @method(read_only=True)
    async def describe(self, after: str) -> PartitionDescription:
        """See `PartitionKeeper`."""
        return await self._opened().describe(after)

    @method(idempotent=True)
    async def delete_subscription(self, name: str) -> bool:
        """See `PartitionKeeper`."""
        return await self._unless_lost(self._opened().delete_subscription(name))

    @method(idempotent=True)
    async def seek(self, name: str, start: StartAt) -> int:
        """See `PartitionKeeper`."""
        return await self._unless_lost(self._opened().seek(name, start))

    @method(idempotent=True)
    async def remove(self, created_at: float) -> None:
        """See `PartitionKeeper`."""
        if self._partition is not None and self._partition.created_at > created_at:
            return  # the topic was created again meanwhile, and this keeper has removed what was left
        self._over = True
        topic, _ = partition_of(self.key)
        self._refusal = NoSuchTopic(f"topic {topic!r} was deleted", identity=str(self.identity))
        partition, self._partition = self._partition, None
        if partition is not None:
            await partition.close(self._refusal, SubscriptionLost(f"topic {topic!r} was deleted"))
        storage = await self._storage_access.opened()
        if storage.log is not None and not self._local.storage_is_private:
            log = storage.log
            bounds = await self._unless_lost(self._open(log))
            await self._unless_lost(log.trim(log_name(*partition_of(self.key)), bounds.end, epoch=bounds.epoch))
        await self.clear()
        self.deactivate()


TopicLogKeeper.inaho_kind.decode_state = decode_partition
