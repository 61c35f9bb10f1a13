"""Takes messages for the grains of one subscription: at most once from the group, at least once from the log."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from inaho.errors.inspection import describe
from inaho.events import SubscriberFailed
from inaho.runtime.topic_logs.log_subscription import make_message
from inaho.runtime.turns.inline import spawn_begun

if TYPE_CHECKING:
    from inaho.core.pubsub.consumer_window import Held
    from inaho.core.pubsub.message import Message
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.topic_logs.keeper_messages import Delivery
    from inaho.runtime.topics.at_most_once import AtMostOnce
    from inaho.runtime.topics.grain_calls import GrainCalls
    from inaho.runtime.topics.message_type import MessageType

__all__ = ["DirectDispatch", "LoggedDispatch"]

CALLS_PER_STEP: Final = 64
"""Calls that begin in one iteration of the loop; a batch may have thousands of messages."""


class DirectDispatch:
    """Calls grains with messages at most once. A sink of a group: nothing here waits or raises.

    Messages that wait for their call, and calls that run, are bounded by `pubsub.window`: a message that exceeds it is
    dropped. The calls begin in the order of the messages, and calls for one grain keep it.

    Args:
        local: the node.
        calls: of the subscription.
        at_most_once: counts what is dropped.

    Attributes:
        topic, name: of the subscription.
    """

    def __init__(self, local: LocalNode, calls: GrainCalls, at_most_once: AtMostOnce) -> None:
        self.topic = calls.subscription.topic
        self.name = calls.subscription.name
        self._local = local
        self._calls = calls
        self._at_most_once = at_most_once
        self._window = local.config.pubsub.window
        self._waiting: deque[Message[Any]] = deque()
        self._running = 0
        self._dispatching: asyncio.Task[None] | None = None
        self._rest: asyncio.Future[None] | None = None

    async def finished(self) -> None:
        """Returns when no message waits for its call, and no call runs."""
        while self._waiting or self._running:
            if self._rest is None:
                self._rest = self._local.loop.create_future()
            await asyncio.shield(self._rest)

    def _look(self) -> None:
        if self._rest is not None and not self._waiting and not self._running:
            self._rest.set_result(None)
            self._rest = None

    def put(self, messages: list[Message[Any]]) -> None:
        """Messages have arrived."""
        room = max(0, self._window - self._running - len(self._waiting))
        self._waiting.extend(messages[:room])
        if len(messages) > room:
            self._drop("slow_subscriber", len(messages) - room)
        if self._waiting and self._dispatching is None and not self._local.closing:
            self._dispatching = self._local.spawn(self._dispatch(), name=f"inaho-dispatch-{self.name}")

    def miss(self, count: int, before_next: int) -> None:
        """Messages were lost on their way; they are told as a gap."""

    def lose_tail(self, publisher: str, authority: str) -> None:
        """The event tells it."""

    def end(self, reason: str) -> None:
        """The topic was deleted; another one of its name may be created. What has arrived is delivered."""

    async def _dispatch(self) -> None:
        try:
            while self._waiting:
                for _ in range(min(CALLS_PER_STEP, len(self._waiting))):
                    self._begin(self._waiting.popleft())
                await asyncio.sleep(0)
        finally:
            self._dispatching = None
            self._look()

    def _begin(self, message: Message[Any]) -> None:
        try:
            key = self._calls.key_of(message)
        except Exception as error:
            self._failed(message, error)
            return
        self._running += 1
        spawn_begun(self._calls.runner, self._call(key, message), name=f"inaho-deliver-{self.name}")

    async def _call(self, key: str, message: Message[Any]) -> None:
        try:
            if not await self._calls.deliver(key, message):
                self._drop("out_of_order", 1)
        except Exception as error:
            self._failed(message, error)
        finally:
            self._running -= 1
            self._look()

    def _failed(self, message: Message[Any], error: Exception) -> None:
        self._drop("handler_failed", 1)
        reason = describe(error)
        self._local.log.debug("%s lost message %d of %s: %s", self.name, message.sequence, message.publisher, reason)
        self._local.publish(SubscriberFailed(topic=self.topic, subscription=self.name, key=message.key, reason=reason))

    def _drop(self, reason: str, count: int) -> None:
        self._at_most_once.dropped_by(self.topic, reason, count, self.name)


class LoggedDispatch:
    """Calls grains with messages at least once: one call at a time for each grain, in the order of the log.

    The consumer hands out messages of one key one at a time. The key of the grain may be another one, so messages that
    have different keys and go to one grain wait for each other here.

    Args:
        calls: of the subscription.
        kind: type of the messages.
    """

    def __init__(self, calls: GrainCalls, kind: MessageType[Any]) -> None:
        self._calls = calls
        self._decode = kind.decode
        self._busy: dict[str, deque[asyncio.Future[None]]] = {}
        """By key of the grain: those that wait for the call that runs."""

    async def handle(self, held: Held[Delivery]) -> None:
        """Returns when the grain has handled the message. Raises what the call raises, or that it does not decode."""
        message = make_message(self._decode(held.delivery.value), held, None)
        key = self._calls.key_of(message)
        await self._enter(key)
        try:
            await self._calls.redeliver(key, message)
        finally:
            self._leave(key)

    async def _enter(self, key: str) -> None:
        waiting = self._busy.get(key)
        if waiting is None:
            self._busy[key] = deque()
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.append(future)
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self._leave(key)
            raise

    def _leave(self, key: str) -> None:
        waiting = self._busy[key]
        while waiting:
            future = waiting.popleft()
            if not future.done():
                future.set_result(None)
                return
        del self._busy[key]
