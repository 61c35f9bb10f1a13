"""Stores the batches of publishers in the log of one partition, each once, within the quota, many in one append."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from inaho.core.pubsub.definition import DEAD_LETTERS
from inaho.core.pubsub.stored_message import LoggedMessage, StoredMessage
from inaho.errors import InvalidArguments, TopicFull
from inaho.events import BacklogFull, MessagesDropped
from inaho.runtime.topic_logs.keeper_messages import AppendBatch, Appended
from inaho.wire.codec import encode

if TYPE_CHECKING:
    from inaho.core.pubsub.definition import TopicDefinition
    from inaho.core.pubsub.partition_log import PartitionLog
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.topic_logs.log_writer import LogWriter
    from inaho.runtime.topic_logs.partition_group import PartitionGroup
    from inaho.runtime.topic_logs.partition_records import PartitionRecords

__all__ = ["PartitionAppends"]

TELL_AGAIN_S: Final = 10.0
"""That a backlog is full is told at most this often, in seconds."""

RECORD_OVERHEAD_BYTES: Final = 64
"""What a record takes beside value, key and id, at most: for the bound of a batch, and for the quota."""


class PartitionAppends:
    """What is appended to one log.

    Args:
        local: the node.
        definition: of the topic.
        partition: its number.
        log: decides.
        writer: appends.
        records: is given what is stored.
        groups: the subscriptions, by name.
        appended: called when messages are in the log.

    Attributes:
        dropped: messages dropped by the policy `drop_oldest`.
        subscribed: whether the partition has had a subscription, deleted ones included.
    """

    def __init__(
        self,
        local: LocalNode,
        definition: TopicDefinition,
        partition: int,
        log: PartitionLog,
        writer: LogWriter,
        records: PartitionRecords,
        groups: dict[str, PartitionGroup],
        *,
        appended: Callable[[], None],
    ) -> None:
        self.dropped = 0
        self.subscribed = False
        self._local = local
        self._definition = definition
        self._partition = partition
        self._log = log
        self._writer = writer
        self._records = records
        self._groups = groups
        self._appended = appended
        self._under_way: dict[int, asyncio.Future[int]] = {}
        self._tell_at = 0.0
        self._dropped_upto = 0

    async def append(self, batch: AppendBatch) -> Appended:
        """See `PartitionKeeper.append`."""
        messages = batch.messages
        size_bytes = self._check(batch)
        ids = [message.id for message in messages]
        await self._writer.room()
        dropped = False
        while True:
            admission = self._log.admit(
                batch.publisher, batch.number, ids, size_bytes, self._local.unix_time(), self.needed_from
            )
            if admission.full:
                waiting = list(self._under_way.values()) if dropped else []
                if waiting:  # batches of other publishers take the room: they can be dropped once they are stored
                    await asyncio.wait(waiting)
                    dropped = False
                    continue
                if dropped or self._definition.backlog_policy == "reject":
                    self._full(len(messages))
                self._drop_oldest(len(messages), size_bytes)
                dropped = True
            elif admission.ticket:
                return await self._store(admission.ticket, batch, admission.indexes)
            elif admission.after:
                await asyncio.wait([self._under_way[ticket] for ticket in admission.after])
            else:
                return Appended(-1, 0)

    def _check(self, batch: AppendBatch) -> int:
        pubsub = self._local.config.pubsub
        if not 0 < len(batch.messages) <= pubsub.log_batch_messages_max or batch.number < 1 or not batch.publisher:
            raise InvalidArguments(
                f"a batch has a publisher, a number from 1 and 1 to {pubsub.log_batch_messages_max} messages "
                f"(pubsub.log_batch_messages_max), not {batch.publisher!r}, {batch.number}, {len(batch.messages)}"
            )
        return sum(len(each.value) + len(each.key) + len(each.id) + RECORD_OVERHEAD_BYTES for each in batch.messages)

    async def _store(self, ticket: int, batch: AppendBatch, indexes: tuple[int, ...]) -> Appended:
        messages = batch.messages
        stored = [
            StoredMessage(each.key, each.published_at, batch.publisher, batch.number, each.id, each.value)
            for each in (messages if len(indexes) == len(messages) else [messages[index] for index in indexes])
        ]
        records = [encode(each) for each in stored]
        answer: asyncio.Future[int] = self._local.loop.create_future()  # its own: the caller may be cancelled

        def is_stored(offset: int) -> None:
            del self._under_way[ticket]
            size_bytes = sum(map(len, records))
            self._log.stored(ticket, offset, size_bytes, self._local.unix_time())
            logged: list[LoggedMessage] = []
            if self._records.readers:
                logged = [
                    LoggedMessage(at, len(record), each)
                    for at, (record, each) in enumerate(zip(records, stored, strict=True), offset)
                ]
            self._records.appended(logged)
            self._appended()
            if not answer.done():
                answer.set_result(offset)

        future = self._writer.put(records, is_stored)
        if not future.done():
            self._under_way[ticket] = future
        future.add_done_callback(lambda outcome: self._has_failed(ticket, outcome, answer))
        return Appended(await answer, len(records))

    def _has_failed(self, ticket: int, outcome: asyncio.Future[int], answer: asyncio.Future[int]) -> None:
        error = None if outcome.cancelled() else outcome.exception()
        if error is None and not outcome.cancelled():
            return
        self._under_way.pop(ticket, None)
        self._log.failed(ticket)
        if answer.done():
            return
        if error is None:
            answer.cancel()
        else:
            answer.set_exception(error)
            answer.exception()  # seen, also if the caller is gone

    # The quota.

    @property
    def needed_from(self) -> int:
        """First offset that a subscription needs, or the first one may need; the end of the log if none needs any."""
        positions = [group.group.positions.acknowledged for group in self._groups.values()]
        sizes = self._log.sizes
        return min(positions, default=max(sizes.first, self._dropped_upto) if self._waits else sizes.end)

    @property
    def _waits(self) -> bool:
        """Whether messages are kept though there is no subscription.

        Publishers may begin before subscribers, so messages wait for the first subscription, unless the topic says how
        long messages stay. Dead letters always wait: they are the only copy, and nobody subscribes to them before
        somebody looks.
        """
        definition = self._definition
        return definition.name.endswith(DEAD_LETTERS) or not (self.subscribed or definition.retention_s)

    def _full(self, count: int) -> None:
        messages, size_bytes = self._log.backlog(self.needed_from)
        self._tell_full(messages, size_bytes)
        whom = "its subscriptions" if self._groups else "a later subscription: it has none"
        if not self.subscribed:
            whom = "its first subscription: it has never had a subscription"
        raise TopicFull(
            f"partition {self._partition} of topic {self._definition.name!r} keeps {messages} messages, {size_bytes} "
            f"bytes, for {whom}; {count} more exceed backlog_max ({self._definition.backlog_max}) or "
            f"backlog_bytes_max ({self._definition.backlog_bytes_max})"
        )

    def _drop_oldest(self, count: int, size_bytes: int) -> None:
        """Drops the oldest messages, for each subscription that has not settled them."""
        self._tell_full(*self._log.backlog(self.needed_from))
        first = self.needed_from
        upto = self._log.room_from(count, size_bytes, first)
        if not self._groups:
            self._dropped_upto = upto
            self._tell_dropped(upto - first, "")
        for group in self._groups.values():
            if group.group.positions.acknowledged < upto:
                dropped = group.group.skip_to(upto)
                group.work_soon()
                self._tell_dropped(dropped, group.name)

    def _tell_dropped(self, count: int, subscription: str) -> None:
        if count:
            self.dropped += count
            self._local.publish(
                MessagesDropped(
                    topic=self._definition.name, count=count, reason="backlog", authority=self._local.authority,
                    subscription=subscription,
                )
            )  # fmt: skip

    def _tell_full(self, messages: int, size_bytes: int) -> None:
        now = self._local.loop.time()
        if now < self._tell_at:
            return
        self._tell_at = now + TELL_AGAIN_S
        behind = min(self._groups.values(), key=lambda group: group.group.positions.acknowledged, default=None)
        subscription = "" if behind is None else behind.name
        policy = self._definition.backlog_policy
        self._local.log.warning(
            "the backlog of partition %d of topic %r is full (%d messages, %d bytes; %s); subscription %r is furthest "
            "behind",
            self._partition, self._definition.name, messages, size_bytes, policy, subscription,
        )  # fmt: skip
        self._local.publish(
            BacklogFull(
                topic=self._definition.name, partition=self._partition, messages=messages, size_bytes=size_bytes,
                policy=policy, subscription=subscription,
            )
        )  # fmt: skip
