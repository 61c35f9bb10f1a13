"""A consumer of a named subscription at least once: the streams from all partitions, and the window before the handler.

It has the parts in common that loops, handlers and grain subscriptions need: the next delivery, and its answer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, cast

import msgspec

from inaho.core.pubsub.arguments import is_number
from inaho.core.pubsub.consumer_window import ConsumerWindow, Held
from inaho.errors import InahoError, InvalidArguments, SubscriptionLost, Timeout
from inaho.runtime.topic_logs.keeper_messages import ConsumeRequest, Delivery, DeliveryNumber
from inaho.runtime.topic_logs.partition_stream import PartitionStream
from inaho.runtime.topic_logs.positions import check_start, start_at
from inaho.wire.exception_parts import sendable

if TYPE_CHECKING:
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.local.topology import Topology
    from inaho.runtime.topic_logs.ports import Keepers, LoggedTopic
    from inaho.runtime.topic_logs.positions import Start
    from inaho.runtime.topic_logs.topic_counts import TopicNumbers

__all__ = ["ConsumerOptions", "LogConsumer"]

GIVE_BACK_S: Final = 2.0
"""A consumer that ends waits this long until its keepers know what it gives back. Without that they wait for its time
to acknowledge, or notice that its stream has ended."""

TICKS: Final = 6
"""So many times within the time to acknowledge the window is looked through."""

REASON_CHARS_MAX: Final = 1000
"""Of the reason of a failure that the keeper is told."""

SETTLE_SHARE: Final = 4
"""The keeper is told at once when so large a share (one of so many) of the messages that it may deliver is handled."""

FAIRNESS: Final = 64
"""After so many deliveries without a pause the loop runs."""


class ConsumerOptions(msgspec.Struct, frozen=True):
    """How a consumer takes messages.

    Attributes:
        name: of the subscription.
        window: messages that may wait here or be worked on, over all partitions.
        start: where a new subscription begins.
        exclusive: each partition goes to one consumer of the subscription at a time.
    """

    name: str
    window: int
    start: Start = "latest"
    exclusive: bool = False


class LogConsumer:
    """One consumer.

    Args:
        local: the node.
        topology: of the node.
        keepers: of partitions.
        topic: the topic.
        options: see `ConsumerOptions`.
        number: of this consumer in its process.
        numbers: of the topic.

    Attributes:
        topic, options: as given.
        window: what it holds.
    """

    def __init__(
        self,
        local: LocalNode,
        topology: Topology,
        keepers: Keepers,
        topic: LoggedTopic,
        options: ConsumerOptions,
        number: int,
        numbers: TopicNumbers,
    ) -> None:
        definition = topic.definition
        self.topic = topic
        self.options = options
        self.window: ConsumerWindow[Delivery] = ConsumerWindow(definition.ack_timeout_s)
        self._local = local
        self._topology = topology
        self._keepers = keepers
        self._numbers = numbers
        self._id = f"{local.node_id}/{number}"
        self._credit = max(1, options.window // definition.partitions)
        self._period_s = definition.ack_timeout_s / TICKS
        self._streams: list[PartitionStream] = []
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._error: InahoError | None = None
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._taken = 0
        check_start(options.start, definition.partitions)

    @property
    def late(self) -> int:
        """Answers that came when the delivery was over."""
        return sum(stream.late for stream in self._streams)

    @property
    def crowded(self) -> bool:
        """Whether the subscriber is slower than the log: half of what one keeper may send at once waits for it."""
        return 2 * self.window.waiting >= self._credit

    @property
    def streams(self) -> int:
        """How often a stream from a keeper was opened."""
        return sum(stream.streams for stream in self._streams)

    async def start(self, within_s: float) -> None:
        """Returns when all keepers have saved the subscription.

        Raises:
            Timeout: not within `within_s` seconds.
            SubscriptionLost, NoSuchTopic, InahoError: it cannot be.
        """
        name = self.topic.name
        self._streams = [
            PartitionStream(
                self._local, self._topology, self._keepers(name, partition), partition, self._make_request, self
            )
            for partition in range(self.topic.definition.partitions)
        ]
        opened = [stream.opened for stream in self._streams]
        await asyncio.wait(opened, timeout=within_s, return_when=asyncio.FIRST_EXCEPTION)
        for each in opened:
            if each.done():
                each.result()
        waiting = [stream.partition for stream in self._streams if not stream.opened.done()]
        if waiting:
            raise Timeout(
                f"the keepers of partitions {waiting} of topic {name!r} did not confirm subscription "
                f"{self.options.name!r} within {within_s:g} s",
                maybe_executed=True,
            )

    def _make_request(self, partition: int, held: list[DeliveryNumber]) -> ConsumeRequest:
        return ConsumeRequest(
            self.options.name,
            f"{self._id}/{partition}",
            self._local.authority,
            self._credit,
            start_at(self.options.start, partition),
            held,
            self.options.exclusive,
        )

    # From the streams.

    def arrived(self, deliveries: list[Delivery]) -> None:
        """They have come into the window."""
        numbers = self._numbers
        numbers.received += len(deliveries)
        numbers.redelivered += sum(delivery.attempt > 1 for delivery in deliveries)
        if deliveries[-1].attempt == 1:
            numbers.latencies_s.append(self._local.unix_time() - deliveries[-1].published_at)
        self._wake(self.window.waiting)
        if self._timer is None:
            self._timer = self._local.loop.call_later(self._period_s, self._tick)

    def lost(self, error: InahoError) -> None:
        """The subscription has ended."""
        if self._error is not None or self._closed:
            return
        lost = isinstance(error, SubscriptionLost)
        self._error = error if lost else SubscriptionLost(f"the subscription has ended: {error.reason}")
        self.window.end()
        for stream in self._streams:
            stream.close(error)
        self._wake(len(self._waiters))

    def _tick(self) -> None:
        self._timer = None
        self.window.tick(self._local.loop.time(), 3 * self._period_s)
        self._settle()
        if self.window.waiting or self.window.out:
            self._timer = self._local.loop.call_later(self._period_s, self._tick)

    def _settle(self) -> None:
        for partition in self.window.dirty:
            self._streams[partition].settle_soon()

    def _wake(self, count: int) -> None:
        waiters = self._waiters
        while waiters and count > 0:
            waiter = waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                count -= 1

    # To the handlers.

    async def next(self) -> Held[Delivery] | None:
        """The next delivery; None when the consumer was closed. Call `left` when it is not worked on any more.

        Raises:
            SubscriptionLost: the subscription has ended.
        """
        self._taken += 1
        if not self._taken % FAIRNESS:
            await asyncio.sleep(0)
        while True:
            held = self.window.take(self._local.loop.time())
            if held is not None:
                self._numbers.delivered += 1
                return held
            if self._error is not None:
                raise SubscriptionLost(self._error.reason)
            if self._closed:
                return None
            waiter = self._local.loop.create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except BaseException:
                if waiter.done() and not waiter.cancelled():
                    self._wake(1)  # it was woken for a delivery that it does not take
                raise

    def left(self, held: Held[Delivery]) -> None:
        """No loop body and no handler works on it any more."""
        self.window.left(held)

    def ack(self, held: Held[Delivery]) -> None:
        """It is handled. Raises `SubscriptionLost` if the delivery is over."""
        ready = self.window.waiting
        if not self.window.ack(held):
            raise self._over(held)
        if self._waiters and ready:
            self._wake(1)  # the next one of its key
        stream = self._streams[held.partition]
        if SETTLE_SHARE * self.window.acknowledged(held.partition) >= self._credit:
            stream.settle_soon()  # the keeper must know soon, or this consumer gets no more
        else:
            stream.settle_later()

    def retry(self, held: Held[Delivery], after_s: float | None, reason: str) -> None:
        """Handling it failed. Raises as `ack`."""
        if after_s is not None and not is_number(after_s, 0, 86_400 * 365):
            raise InvalidArguments(f"a message is delivered again after_s=0 seconds to a year, not {after_s!r}")
        if not isinstance(cast("object", reason), str):
            raise InvalidArguments(f"the reason of a retry is text, not {reason!r}")
        if not self.window.retry(held, after_s, sendable(reason, REASON_CHARS_MAX)):
            raise self._over(held)
        self._streams[held.partition].settle_soon()

    def extend(self, held: Held[Delivery], seconds: float) -> None:
        """Prolongs its time to acknowledge. Raises as `ack`."""
        if not is_number(seconds, 0, 86_400) or not seconds:
            raise InvalidArguments(f"the time to acknowledge is prolonged by 0 to 86,400 seconds, not {seconds!r}")
        if not self.window.extend(held, seconds, self._local.loop.time()):
            raise self._over(held)
        self._streams[held.partition].settle_soon()

    def release(self, held: Held[Delivery]) -> None:
        """Gives it back as not handled."""
        self.window.release(held)
        self._settle()

    def _over(self, held: Held[Delivery]) -> SubscriptionLost:
        if self._error is not None:
            return SubscriptionLost(self._error.reason)
        where = f"message {held.delivery.offset} of partition {held.partition} of topic {self.topic.name!r}"
        why = "the subscription was closed" if self._closed else "the time to acknowledge has passed"
        return SubscriptionLost(f"the delivery of {where} is over: {why}")

    # The end.

    async def close(self, error: SubscriptionLost | None = None) -> None:
        """Gives back what is not answered, and ends the streams. May be repeated.

        Args:
            error: what `next` raises from now on; it returns None unless given.
        """
        if self._closed:
            return
        self._closed = True
        lost = self._error is not None
        self._error = self._error or error
        self._wake(len(self._waiters))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.window.give_back()
        leaving: list[asyncio.Task[None]] = []
        try:
            if self._streams and not lost and not self._local.closing:
                leaving = [self._local.spawn(stream.leave(), name="inaho-consumer-leave") for stream in self._streams]
                await asyncio.wait(leaving, timeout=GIVE_BACK_S)
        finally:
            for each in leaving:
                each.cancel()
            for stream in self._streams:
                stream.close()
