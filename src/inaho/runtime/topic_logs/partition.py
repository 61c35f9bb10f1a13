"""One partition that its keeper has opened: its log, its subscriptions, and what keeps them in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING, Final

import msgspec

from inaho.core.pubsub.deliveries_in_flight import DeliveryPolicy
from inaho.core.pubsub.group_delivery import GroupDelivery
from inaho.core.pubsub.partition_log import LogMemory, LogPolicy, PartitionLog
from inaho.core.pubsub.subscription_positions import SubscriptionPositions
from inaho.errors import (
    InahoError,
    InvalidArguments,
    InvalidTopic,
    LogConflict,
    LogTrimmed,
    NoSuchSubscription,
    Overloaded,
    SubscriptionLost,
)
from inaho.runtime.topic_logs.dead_letters import DeadLetters
from inaho.runtime.topic_logs.keeper_messages import (
    EARLIEST,
    LATEST,
    ConsumeRequest,
    Delivery,
    PartitionDescription,
    ReplayRequest,
    StartAt,
    SubscriptionDescription,
    log_name,
)
from inaho.runtime.topic_logs.log_writer import LogWriter
from inaho.runtime.topic_logs.partition_appends import PartitionAppends
from inaho.runtime.topic_logs.partition_group import PartitionGroup
from inaho.runtime.topic_logs.partition_records import PartitionRecords
from inaho.runtime.topic_logs.partition_state import PartitionState, SavedSubscription
from inaho.runtime.topic_logs.partition_upkeep import PartitionUpkeep
from inaho.storage.log import LogBounds, LogStorage
from inaho.wire.codec import encode
from inaho.wire.portions import portion

if TYPE_CHECKING:
    from inaho.core.pubsub.definition import TopicDefinition
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.topic_logs.ports import Definitions, Keepers

__all__ = ["OpenedLog", "Partition"]

NAME_CHARS_MAX: Final = 200
SCAN_MAX: Final = 1024
"""Records of one read at the start."""

REPLAY_MAX: Final = 256
"""Messages in one item of a replay."""

DELIVERY_BYTES: Final = 32
"""What a message takes in an item of a replay beside its record, at most."""

ENDLESS: Final = 1 << 30
"""Attempts of the messages of a dead-letter topic: they stay in it until they are handled."""


class OpenedLog(msgspec.Struct, frozen=True):
    """A log that was opened: its storage, and what `open_log` has answered."""

    storage: LogStorage
    bounds: LogBounds


class Partition:
    """The parts of one partition.

    Args:
        local: the node.
        definition: of the topic.
        number: of the partition.
        opened: its log.
        state: saved by the last keeper; that of a new partition if there was none.
        definitions, keepers: for the dead-letter topic.
        save: saves the state.
        lost: called once, when another keeper has opened the log.

    Attributes:
        appends: stores batches.
        created_at: of the topic, see `TopicDefinition`.
        groups: subscriptions, by name.
        upkeep: saves and trims.
        writer: of the log.
    """

    def __init__(
        self,
        local: LocalNode,
        definition: TopicDefinition,
        number: int,
        opened: OpenedLog,
        state: PartitionState,
        definitions: Definitions,
        keepers: Keepers,
        *,
        save: Callable[[PartitionState], Awaitable[None]],
        lost: Callable[[LogConflict], None],
    ) -> None:
        pubsub, log, bounds = local.config.pubsub, opened.storage, opened.bounds
        self.groups: dict[str, PartitionGroup] = {}
        self._local = local
        self._definition = definition
        self.created_at = definition.created_at
        self._number = number
        self._save_state = save
        policy = LogPolicy(
            backlog_max=definition.backlog_max,
            backlog_bytes_max=definition.backlog_bytes_max,
            dedup_s=definition.dedup_s,
            publishers_max=pubsub.publishers_max,
        )
        self._log = PartitionLog(policy, bounds.first, bounds.end, bounds.size_bytes, state.memory)
        name = log_name(definition.name, number)
        self._records = PartitionRecords(log, name, self.bounds)
        self.writer = LogWriter(
            local, log, name, bounds,
            lost=lost,
            records_max=pubsub.log_batch_messages_max,
            bytes_max=pubsub.log_batch_bytes_max,
            queue_bytes_max=pubsub.log_queue_bytes_max,
        )  # fmt: skip
        self._letters = DeadLetters(local, definition, number, self._records, definitions, keepers)
        self.appends = PartitionAppends(
            local, definition, number, self._log, self.writer, self._records, self.groups, appended=self._appended
        )
        self.upkeep = PartitionUpkeep(
            local, self._log, self.writer, self._records, definition.retention_s,
            save=self._save, needed_from=lambda: self.appends.needed_from,
        )  # fmt: skip
        self._followers: list[asyncio.Future[None]] = []
        self.appends.subscribed = state.subscribed or bool(state.subscriptions)
        for saved in state.subscriptions:
            self._restore(saved).new = False

    def bounds(self) -> tuple[int, int]:
        """First offset and end of the log."""
        return self._log.sizes.first, self._log.sizes.end

    async def begin(self) -> None:
        """Reads the end of the log, and makes earlier keepers unable to save. Nothing is served before."""
        while (start := self._log.scan_from) is not None:
            self._log.scan(await self._records.read(start, SCAN_MAX), self._local.unix_time())
        await self.upkeep.save()

    async def _save(self, memory: LogMemory) -> None:
        subscriptions = [self.groups[name].saved() for name in sorted(self.groups)]
        subscribed = self.appends.subscribed
        await self._save_state(PartitionState(self._definition.created_at, memory, subscriptions, subscribed))

    def _appended(self) -> None:
        for group in self.groups.values():
            group.work_soon()
        followers, self._followers = self._followers, []
        for follower in followers:
            if not follower.done():
                follower.set_result(None)
        self.upkeep.appended()

    # Subscriptions.

    def _restore(self, saved: SavedSubscription) -> PartitionGroup:
        definition, pubsub = self._definition, self._local.config.pubsub
        policy = DeliveryPolicy(
            attempts_max=ENDLESS if definition.dead_letters == definition.name else definition.attempts_max,
            ack_timeout_s=definition.ack_timeout_s,
            retry_base_s=definition.retry_base_s,
            retry_max_s=max(definition.retry_base_s, definition.retry_max_s),
            loaded_max=pubsub.deliver_messages_max,
        )
        positions = SubscriptionPositions(saved.acknowledged, saved.above)
        delivery = GroupDelivery(policy, positions, saved.failures)
        first, _ = self.bounds()
        if positions.acknowledged < first:
            delivery.skip_to(first)
        group = self.groups[saved.name] = PartitionGroup(
            self._local, saved.name, definition.name, self._number, delivery, self._records, self.bounds,
            changed=self.upkeep.changed, bury=self._letters.bury,
        )  # fmt: skip
        return group

    async def subscription(self, request: ConsumeRequest) -> PartitionGroup:
        """The subscription of a consumer; it is made, and saved, if there is none."""
        name = request.subscription
        if not 0 < len(name) <= NAME_CHARS_MAX or not name.isprintable():
            raise InvalidTopic(f"the name of a subscription has 1 to {NAME_CHARS_MAX} printable characters: {name!r}")
        if request.credit < 1 or not request.consumer:
            raise InvalidArguments(f"a consumer has a name and a credit of at least 1, not {request.credit}")
        if name not in self.groups:
            most = self._local.config.pubsub.subscriptions_max
            if len(self.groups) >= most:
                raise Overloaded(f"topic {self._definition.name!r} has {most} subscriptions (pubsub.subscriptions_max)")
            offset = await self.resolve(request.start)
            if name not in self.groups:
                self._restore(SavedSubscription(name, offset))
                self.appends.subscribed = True
        group = self.groups[name]
        if group.new:
            await self.upkeep.save()
            group.new = False
        return group

    async def delete_subscription(self, name: str) -> bool:
        """See `PartitionKeeper.delete_subscription`."""
        group = self.groups.pop(name, None)
        if group is not None:
            group.close(SubscriptionLost(f"subscription {name!r} of topic {self._definition.name!r} was deleted"))
        await self.upkeep.save()  # also if it was not found: an earlier attempt may have deleted it without a save
        return group is not None

    async def seek(self, name: str, start: StartAt) -> int:
        """See `PartitionKeeper.seek`."""
        offset = await self.resolve(start)
        group = self.existing(name)
        group.group.seek(offset)
        group.work_soon()
        await self.upkeep.save()
        return offset

    def existing(self, name: str) -> PartitionGroup:
        """The subscription of that name. Raises `NoSuchSubscription`."""
        group = self.groups.get(name)
        if group is None:
            raise NoSuchSubscription(f"topic {self._definition.name!r} has no subscription {name!r}")
        return group

    async def resolve(self, start: StartAt) -> int:
        """The offset of a place in the log."""
        first, end = self.bounds()
        if start.at == LATEST:
            return end
        if start.at == EARLIEST:
            return first
        if start.at == "offset":
            return min(max(first, start.offset), end)
        if start.at == "time":
            return await self._records.offset_at(start.time)
        raise InvalidArguments(f"a start is {LATEST}, {EARLIEST}, offset or time, not {start.at!r}")

    # Replays.

    async def replay(self, request: ReplayRequest) -> AsyncGenerator[list[Delivery]]:
        """See `PartitionKeeper.replay`."""
        offset = await self.resolve(request.start)
        self._records.readers += request.follow
        try:
            while True:
                try:
                    found = await self._records.read(offset, REPLAY_MAX)
                except LogTrimmed:
                    offset = max(offset + 1, self.bounds()[0])
                    continue
                if found:
                    found = portion(
                        found,
                        self._local.config.transport.frame_bytes_max // 2,
                        lambda each: each.size_bytes + DELIVERY_BYTES,
                    )
                    offset = found[-1].offset + 1
                    yield [
                        Delivery(each.offset, 1, stored.key, stored.published_at, stored.publisher, stored.value)
                        for each in found
                        for stored in (each.stored,)
                    ]
                elif not request.follow:
                    return
                else:
                    follower: asyncio.Future[None] = self._local.loop.create_future()
                    self._followers.append(follower)
                    await follower
        finally:
            self._records.readers -= request.follow

    # For people, and the end.

    @property
    def lag(self) -> int:
        """Messages that the slowest subscription has not settled."""
        return max((group.lag for group in self.groups.values()), default=0)

    async def describe(self, after: str) -> PartitionDescription:
        """See `PartitionKeeper.describe`."""
        sizes, room = self._log.sizes, self._local.config.transport.frame_bytes_max // 2
        subscriptions: list[SubscriptionDescription] = []
        names = [name for name in sorted(self.groups) if name > after]
        for name in names:
            group = self.groups[name]
            oldest_at = 0.0
            try:
                found = await self._records.read(group.group.positions.acknowledged, 1)
                oldest_at = found[0].stored.published_at if found else 0.0
            except LogTrimmed:
                pass  # it is being skipped
            described = group.describe(oldest_at)
            described = msgspec.structs.replace(described, consumers=portion(described.consumers, room // 2))
            room -= len(encode(described))
            if subscriptions and room < 0:
                break
            subscriptions.append(described)
        return PartitionDescription(
            topic=self._definition.name,
            partition=self._number,
            authority=self._local.authority,
            first=sizes.first,
            end=sizes.end,
            size_bytes=sizes.size_bytes,
            appended=self._log.appended,
            repeated=self._log.repeated,
            dropped=self.appends.dropped,
            subscriptions=subscriptions,
            more=len(subscriptions) < len(names),
        )

    async def close(self, error: InahoError, streams: InahoError | None = None) -> None:
        """The keeper ends: returns when no append is under way. What waits fails with `error`.

        Streams end with `streams`; None if the activation ends them.
        """
        for group in self.groups.values():
            group.close(streams)
        self.upkeep.stop()
        self.writer.close(error)
        await self.writer.finished()
        for follower in self._followers:
            follower.cancel()

    def check(self) -> None:
        """Asserts what must hold at any time; for tests."""
        self._log.check()
        for group in self.groups.values():
            group.group.check()
