"""Subscriptions at least once of a program: a loop over messages, or a handler that is called with each.

Both are a `LogConsumer` and what becomes of a delivery. In a loop the program answers, and the message of the running
loop body is kept until the next one is taken. A handler answers by how it ends: it returns, and the message is
acknowledged; it raises, and the message is delivered again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from inaho.core.pubsub.arguments import is_whole
from inaho.core.pubsub.message import Message
from inaho.errors import InvalidTopic, SubscriptionLost
from inaho.errors.inspection import describe, is_a
from inaho.events import SubscriberFailed, SubscriptionEnded, SubscriptionStarted
from inaho.runtime.topic_logs.subscription import Subscription
from inaho.runtime.turns.steps import SIGNALS
from inaho.wire.codec import DECODE_ERRORS

if TYPE_CHECKING:
    from inaho.core.pubsub.consumer_window import Held
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.topic_logs.keeper_messages import Delivery
    from inaho.runtime.topic_logs.log_consumer import LogConsumer
    from inaho.runtime.topic_logs.ports import ValueType

__all__ = [
    "DeliveryHandler",
    "HandledSubscription",
    "LogReceipt",
    "LogSubscription",
    "LoopSubscription",
    "make_message",
]

T = TypeVar("T")

DeliveryHandler = Callable[["Held[Delivery]"], Awaitable[object]]
"""Handles a delivery: it is acknowledged when this returns, and delivered again when it raises."""

CONCURRENCY_MAX: Final = 10_000


class LogReceipt:
    """Takes the answers to one delivery."""

    __slots__ = ("_consumer", "_held")

    def __init__(self, consumer: LogConsumer, held: Held[Delivery]) -> None:
        self._consumer = consumer
        self._held = held

    async def ack(self) -> None:
        """See `Message.ack`."""
        self._consumer.ack(self._held)

    async def retry(self, after_s: float | None, reason: str) -> None:
        """See `Message.retry`."""
        self._consumer.retry(self._held, after_s, reason)

    async def extend(self, seconds: float) -> None:
        """See `Message.extend`."""
        self._consumer.extend(self._held, seconds)


class LogSubscription(Subscription[T]):
    """What loops and handlers have in common.

    Args:
        local: the node.
        consumer: gives the deliveries.
        kind: of what the subscriber is, for events: `process`, `grain` or `client`.
        running: it is in it from its start to its end.
    """

    def __init__(
        self, local: LocalNode, consumer: LogConsumer, kind: str, running: dict[LogSubscription[Any], None]
    ) -> None:
        super().__init__(consumer.topic.name, consumer.options.name)
        self.consumer = consumer
        self._local = local
        self._kind = kind
        self._running = running
        self._started = False
        self._effective = False
        self._over = False

    async def start(self) -> None:
        """See `Subscription.start`."""
        if self._started:
            return
        self._local.check_here()
        self._started = True
        self._running[self] = None
        try:
            await self.consumer.start(self._local.config.pubsub.subscribe_timeout_s)
        except BaseException:
            await self.close("failed")
            raise
        self._effective = True
        self._local.publish(SubscriptionStarted(topic=self.topic, subscription=self.name, kind=self._kind))

    async def close(self, reason: str = "closed") -> None:
        """See `Subscription.close`."""
        self._end(reason)
        await self.consumer.close()

    async def stop(self) -> None:
        """The node leaves: as `close`, and the subscriber gets `SubscriptionLost`."""
        self._end("stopped")
        await self.consumer.close(SubscriptionLost("the subscription has ended: this node has left the cluster"))

    def lose(self, error: SubscriptionLost, reason: str) -> None:
        """It has ended, and what it holds is over."""
        self._end(reason)
        self.consumer.lost(error)

    def _end(self, reason: str) -> None:
        if self._over:
            return
        self._over = True
        self._running.pop(self, None)
        if self._effective:
            self._local.publish(
                SubscriptionEnded(topic=self.topic, subscription=self.name, kind=self._kind, reason=reason)
            )

    def _failed(self, held: Held[Delivery], error: BaseException) -> None:
        """The subscriber has raised while it handled that delivery. The keeper takes it back, and may give it up."""
        delivery = held.delivery
        reason = describe(error)
        self._local.log.warning(
            "subscription %r of topic %r failed with message %d of partition %d (attempt %d) and gave it back: %s",
            self.name, self.topic, delivery.offset, held.partition, delivery.attempt, reason,
        )  # fmt: skip
        self._local.publish(SubscriberFailed(topic=self.topic, subscription=self.name, key=delivery.key, reason=reason))
        try:
            self.consumer.retry(held, None, reason)
        except SubscriptionLost as lost:
            self._local.log.debug("%s", describe(lost))  # it is delivered again anyway


class LoopSubscription(LogSubscription[T]):
    """A loop over messages.

    Args:
        local, consumer, kind, running: see `LogSubscription`.
        value_type: of the messages.
    """

    def __init__(
        self,
        local: LocalNode,
        consumer: LogConsumer,
        kind: str,
        running: dict[LogSubscription[Any], None],
        value_type: ValueType[T],
    ) -> None:
        super().__init__(local, consumer, kind, running)
        self._decode = value_type.decode
        self._current: Held[Delivery] | None = None

    async def __anext__(self) -> Message[T]:
        current, self._current = self._current, None
        if current is not None:
            self.consumer.left(current)
        while True:
            held = await self.consumer.next()
            if held is None:
                raise StopAsyncIteration
            try:
                value: T = self._decode(held.delivery.value)
            except DECODE_ERRORS as error:
                self._failed(held, error)
                continue
            self._current = held
            self.received += 1
            return make_message(value, held, LogReceipt(self.consumer, held))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        current, self._current = self._current, None
        if current is not None and error is not None and isinstance(error, Exception):
            self._failed(current, error)
        await self.close()


class HandledSubscription(LogSubscription[T]):
    """A handler that is called with each delivery, several at a time, of one key one at a time.

    Args:
        local, consumer, kind, running: see `LogSubscription`.
        handle: the handler.
        concurrency: calls at a time.
    """

    def __init__(
        self,
        local: LocalNode,
        consumer: LogConsumer,
        kind: str,
        running: dict[LogSubscription[Any], None],
        handle: DeliveryHandler,
        concurrency: int,
    ) -> None:
        super().__init__(local, consumer, kind, running)
        if not is_whole(concurrency, 1, CONCURRENCY_MAX):
            raise InvalidTopic(f"concurrency must be a whole number in 1..{CONCURRENCY_MAX}, not {concurrency!r}")
        self._handle = handle
        self._concurrency = concurrency
        self._workers: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """See `Subscription.start`."""
        if not self._started:
            await super().start()
            self._workers = [self._local.spawn(self._work(), name="inaho-subscriber") for _ in range(self._concurrency)]

    async def __anext__(self) -> Message[T]:
        raise InvalidTopic(f"subscription {self.name!r} of topic {self.topic!r} has a handler, which gets its messages")

    async def close(self, reason: str = "closed") -> None:
        """See `Subscription.close`. Handlers that run are interrupted, and their messages are delivered again."""
        workers, self._workers = self._workers, []
        running = asyncio.current_task()
        for worker in workers:
            if worker is not running:  # a handler may close its own subscription
                worker.cancel()
        await super().close(reason)

    async def _work(self) -> None:
        """Handles one delivery after another."""
        consumer = self.consumer
        while True:
            try:
                held = await consumer.next()
            except SubscriptionLost as lost:
                if not self._over:
                    self._local.log.warning("%s: %s", self, lost.reason)
                    await self.close("lost")
                return
            if held is None:
                return
            self.received += 1
            try:
                await self._handle(held)
            except BaseException as error:
                task = asyncio.current_task()
                ends = is_a(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
                if ends or is_a(error, SIGNALS):
                    raise
                self._failed(held, error)
                continue
            try:
                consumer.ack(held)
            except SubscriptionLost as lost:  # its node was stopped for too long; the message is delivered again
                self._local.log.debug("%s", describe(lost))


def make_message(value: T, held: Held[Delivery], receipt: LogReceipt | None) -> Message[T]:
    """What the program gets."""
    delivery = held.delivery
    return Message(
        value,
        delivery.key,
        delivery.offset,
        delivery.published_at,
        held.partition,
        delivery.attempt,
        0,
        delivery.publisher,
        receipt,
    )
