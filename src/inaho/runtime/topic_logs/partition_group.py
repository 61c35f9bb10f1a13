"""One subscription at the keeper of a partition: reads ahead, gives deliveries to the streams of consumers, buries.

What comes in one iteration of the event loop (appends, settlements, timers) is worked off together at its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

from inaho.core.back_off import back_off_s
from inaho.core.pubsub.delivery_entries import DeliveryState
from inaho.errors import InahoError, LogTrimmed, SubscriptionLost
from inaho.errors.inspection import describe
from inaho.events import MessageRedelivered
from inaho.runtime.topic_logs.keeper_messages import (
    ConsumerDescription,
    ConsumeRequest,
    Deliveries,
    Delivery,
    DeliveryNumber,
    Settlement,
    SubscriptionDescription,
)
from inaho.runtime.topic_logs.partition_state import SavedSubscription

if TYPE_CHECKING:
    from inaho.core.pubsub.delivery_entries import Entry, GroupConsumer
    from inaho.core.pubsub.group_delivery import GroupDelivery
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.topic_logs.partition_records import PartitionRecords

__all__ = ["ConsumerStream", "PartitionGroup"]

ITEM_BYTES: Final = 128 << 10
"""Bytes of messages in one item of a stream, unless one message has more."""

REASON_CHARS_MAX: Final = 500
"""Of the reason of a failure that is kept."""


class ConsumerStream:
    """The stream of one consumer: woken when it has something to send, ended by an error."""

    def __init__(self, loop: asyncio.AbstractEventLoop, consumer: GroupConsumer) -> None:
        self.consumer = consumer
        self.error: InahoError | None = None
        self.settled = 0
        """Number of the newest settlement of the consumer."""
        self._loop = loop
        self._waiter: asyncio.Future[None] | None = None

    def wake(self, error: InahoError | None = None) -> None:
        """There is something to send, or the stream ends with `error`."""
        self.error = self.error or error
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self) -> None:
        """Returns when it is woken. Raises the error that ends the stream."""
        while self.error is None and not (self.consumer.outbox or self.consumer.over):
            self._waiter = self._loop.create_future()
            await self._waiter
        if self.error is not None:
            raise self.error


class PartitionGroup:
    """The runtime of one `GroupDelivery`.

    Args:
        local: the node.
        name: of the subscription.
        topic, partition: of the log.
        group: its deliveries.
        records: reads the log.
        bounds: first offset and end of the log now.
        changed: called when positions have changed.
        bury: publishes dead letters; calls `buried` or `burial_failed` of the group for each.

    Attributes:
        name, group: as given.
        new: it is not known to be saved.
    """

    def __init__(
        self,
        local: LocalNode,
        name: str,
        topic: str,
        partition: int,
        group: GroupDelivery,
        records: PartitionRecords,
        bounds: Callable[[], tuple[int, int]],
        *,
        changed: Callable[[], None],
        bury: Callable[[PartitionGroup, list[Entry]], Coroutine[Any, Any, None]],
    ) -> None:
        self.name = name
        self.group = group
        self.new = True
        self._local = local
        self._topic = topic
        self._partition = partition
        self._records = records
        self._bounds = bounds
        self._changed = changed
        self._bury = bury
        self._streams: dict[str, ConsumerStream] = {}
        self._reading: asyncio.Task[None] | None = None
        self._burying: asyncio.Task[None] | None = None
        self._soon = False
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = 0.0
        self._failed_reads = 0
        self._seen_changes = group.changes
        self._over = False

    # Consumers.

    def open(self, request: ConsumeRequest) -> ConsumerStream:
        """A consumer opens its stream; an older one of the same consumer ends.

        Raises:
            SubscriptionLost: the subscription was deleted meanwhile.
        """
        if self._over:
            raise SubscriptionLost(f"subscription {self.name!r} of topic {self._topic!r} has ended")
        old = self._streams.get(request.consumer)
        if old is not None:
            old.wake(SubscriptionLost("another stream of the consumer was opened"))
        else:
            self._records.readers += 1
        consumer = self.group.attach(
            request.consumer,
            request.credit,
            self._local.loop.time(),
            authority=request.authority,
            exclusive=request.exclusive,
            held=request.held,
        )
        stream = self._streams[request.consumer] = ConsumerStream(self._local.loop, consumer)
        self.work_soon()
        return stream

    def closed(self, stream: ConsumerStream, *, ending: bool) -> None:
        """A stream has ended. If the keeper is `ending`, its consumer comes back at the next one."""
        name = stream.consumer.name
        if self._streams.get(name) is stream:
            del self._streams[name]
            self._records.readers -= 1
            if not ending:
                self.group.detach(name, self._local.loop.time())
                self.work_soon()

    def next_item(self, stream: ConsumerStream) -> Deliveries:
        """What is to be sent to a consumer now."""
        bytes_max = min(ITEM_BYTES, self._local.config.transport.frame_bytes_max // 2)
        taken, over = self.group.take(stream.consumer, bytes_max)
        wanted = self._local.events_wanted(MessageRedelivered)
        messages: list[Delivery] = []
        for entry, message in taken:
            stored = message.stored
            messages.append(
                Delivery(message.offset, entry.attempt, stored.key, stored.published_at, stored.publisher, stored.value)
            )
            if entry.failures and wanted:
                self._local.publish(
                    MessageRedelivered(
                        topic=self._topic, subscription=self.name, partition=self._partition, offset=message.offset,
                        key=stored.key, attempt=entry.attempt, reason=entry.reason,
                    )
                )  # fmt: skip
        if taken:
            self.work_soon()
        return Deliveries(messages, over, stream.settled)

    def settle(self, settlement: Settlement) -> list[DeliveryNumber]:
        """Acknowledges, gives back, extends. Returns what the consumer no longer had."""
        group, name, now = self.group, settlement.consumer, self._local.loop.time()
        lost = group.acknowledge(name, settlement.acked)
        for each in settlement.retried:
            if not group.retry(name, each.offset, each.attempt, now, each.after_s, each.reason[:REASON_CHARS_MAX]):
                lost.append((each.offset, each.attempt))
        for longer in settlement.extended:
            if not group.extend(name, longer.offset, longer.attempt, now + longer.seconds):
                lost.append((longer.offset, longer.attempt))
        lost += [each for each in settlement.released if not group.release(name, *each, now)]
        stream = self._streams.get(name)
        if stream is not None:
            stream.settled = max(stream.settled, settlement.number)
        if settlement.leaving:
            group.detach(name, now, said_so=True)
        self.work_soon()
        return lost

    # Work.

    def work_soon(self) -> None:
        """Works at the end of this iteration of the loop."""
        if not self._soon and not self._over:
            self._soon = True
            self._local.loop.call_soon(self._work)

    def _work(self) -> None:
        self._soon = False
        if self._over:
            return
        group, now = self.group, self._local.loop.time()
        self._deliver(now)
        wanted = None if self._reading is not None else group.wanted(self._bounds()[1])
        if wanted is not None:
            found = self._records.fresh(*wanted)
            if found:
                group.load(found, now)
                self._deliver(now)
                self.work_soon()  # one portion in each iteration: a backlog delays nobody else
            else:
                self._reading = self._local.spawn(self._read(*wanted), name="inaho-topic-read")
        if self._burying is None and (dead := group.dead()):
            self._burying = self._local.spawn(self._bury_all(dead), name="inaho-dead-letters")
        if group.changes != self._seen_changes:
            self._seen_changes = group.changes
            self._changed()
        self._arm(now)

    def _deliver(self, now: float) -> None:
        for consumer in self.group.deliver(now):
            stream = self._streams.get(consumer.name)
            if stream is not None:
                stream.wake()

    async def _read(self, offset: int, count: int) -> None:
        try:
            found = await self._records.read(offset, count)
        except LogTrimmed:
            self.group.skip_to(self._bounds()[0])
        except InahoError as error:
            self._failed_reads += 1
            self._local.log.warning(
                "messages of %s/%d for subscription %r could not be read, retrying: %s",
                self._topic, self._partition, self.name, describe(error),
            )  # fmt: skip
            await asyncio.sleep(back_off_s(0.1, 5.0, self._failed_reads))
        else:
            self._failed_reads = 0
            self.group.load(found, self._local.loop.time())
        finally:
            self._reading = None
        self.work_soon()

    async def _bury_all(self, dead: list[Entry]) -> None:
        try:
            await self._bury(self, dead)
        finally:
            self._burying = None
        self.work_soon()

    def _arm(self, now: float) -> None:
        due = self.group.next_deadline()
        if self._alarm is not None:
            if due is not None and self._alarm_at <= due:
                return  # it wakes early enough
            self._alarm.cancel()
            self._alarm = None
        if due is not None:
            self._alarm_at = max(due, now)  # not `when()`: a handle of uvloop that is due at once has none
            self._alarm = self._local.loop.call_at(self._alarm_at, self._look_at_clock)

    def _look_at_clock(self) -> None:
        self._alarm = None
        self.group.expire(self._local.loop.time())
        self._work()

    def close(self, error: InahoError | None) -> None:
        """The keeper or the subscription ends; streams end with `error`."""
        self._over = True
        if self._alarm is not None:
            self._alarm.cancel()
        for task in (self._reading, self._burying):
            if task is not None:
                task.cancel()
        if error is not None:
            for stream in self._streams.values():
                stream.wake(error)

    # For saving and for people.

    def saved(self) -> SavedSubscription:
        """What the next keeper must know."""
        positions = self.group.positions
        return SavedSubscription(self.name, positions.acknowledged, positions.ranges(), self.group.failures())

    @property
    def lag(self) -> int:
        """Messages that are not settled."""
        positions = self.group.positions
        return max(0, self._bounds()[1] - positions.acknowledged - positions.settled_above)

    def describe(self, oldest_at: float) -> SubscriptionDescription:
        """The subscription now; `oldest_at` is the time of its oldest unsettled message."""
        group, positions = self.group, self.group.positions
        unsettled, now = group.unsettled, self._local.loop.time()
        pauses = [entry.at for entry in unsettled if entry.state is DeliveryState.WAITING]
        return SubscriptionDescription(
            name=self.name,
            acknowledged=positions.acknowledged,
            lag=self.lag,
            oldest_at=oldest_at,
            in_flight=sum(len(consumer.in_flight) for consumer in group.consumers),
            held_keys=len({each.line.key for each in unsettled if each.line is not None and each.line.held}),
            waiting_s=max(0.0, min(pauses) - now) if pauses else 0.0,
            attempts_most=max((entry.failures for entry in unsettled), default=0),
            redelivered=group.redelivered,
            dead_letters=group.dead_letters,
            consumers=[
                ConsumerDescription(each.name, each.authority, each.credit, len(each.in_flight))
                for each in sorted(group.consumers, key=lambda each: each.name)
            ],
        )
