"""A subscription of this process, at most once: a window of messages, and a policy for a subscriber that is too slow.

Messages are put into the window when they arrive and never wait for the subscriber. When the window is full, the policy
decides: the oldest go, the new ones go, or the subscription ends. The next message that the subscriber gets says how
many are missing before it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol, TypeVar

import msgspec

from inaho.core.pubsub.message import Message
from inaho.errors import NoSuchTopic, SubscriptionLost
from inaho.runtime.topic_logs.subscription import Subscription
from inaho.runtime.topics.inlet import Sink

if TYPE_CHECKING:
    from inaho.runtime.topic_logs.subscription import SubscribeOptions
    from inaho.runtime.topics.delivery import KnownTopic
    from inaho.runtime.topics.message_type import MessageType

__all__ = ["DirectSubscription", "OwnSubscription", "Subscribers"]

T = TypeVar("T")

WOKEN_WINDOWS: Final = 4
"""A subscriber that had taken all, and has not run since messages came, may have so many windows of messages, unless it
has set its window: it is not slow, but several publishers are handled in one iteration of the loop."""

_LOST = {
    "slow": "the subscriber was too slow (slow='disconnect')",
    "deleted": "the topic was deleted",
    "stopped": "this node has left the cluster",
}


class OwnSubscription(Sink, Protocol):
    """A subscription of this node.

    Attributes:
        topic, name, missed: see `Subscription`.
        subscriber_kind: for events: `process`, `actor`, `grain` or `client`.
    """

    topic: str
    name: str
    missed: int
    subscriber_kind: str


class Subscribers(Protocol):
    """The subscribers of this node, as a subscription sees them."""

    async def begin(self, subscription: OwnSubscription, kind: MessageType[Any]) -> None:
        """Returns when all members publish to the subscription. Raises `Timeout`."""
        ...

    def ended(self, subscription: OwnSubscription, reason: str) -> None:
        """A subscription that has begun takes no more messages."""
        ...

    def dropped(self, topic: str, count: int, subscription: str) -> None:
        """A subscriber was too slow for so many messages."""
        ...


class DirectSubscription(Subscription[T]):
    """See `Topic.subscribe`.

    Args:
        known: the topic.
        kind: type of its messages.
        options: checked.
        window: messages that may wait.
        loop: of the node.
        subscribers: of the node.
        subscriber_kind: for events: `process`, `actor`, `grain` or `client`.

    Attributes:
        known, subscriber_kind: as given.
    """

    def __init__(
        self,
        known: KnownTopic,
        kind: MessageType[T],
        options: SubscribeOptions,
        *,
        window: int,
        loop: asyncio.AbstractEventLoop,
        subscribers: Subscribers,
        subscriber_kind: str = "process",
    ) -> None:
        super().__init__(known.name, options.name)
        self.known = known
        self.subscriber_kind = subscriber_kind
        self._kind = kind
        self._window = window
        self._woken_window = window * WOKEN_WINDOWS if options.window is None else window
        self._slow = options.slow
        self._loop = loop
        self._subscribers = subscribers
        self._waiting: deque[Message[T]] = deque()
        self._unsaid = 0
        """Messages that are lost before the next one."""
        self._takers: list[asyncio.Future[None]] = []
        """Of Tasks that wait for a message; mostly one."""
        self._woken = False
        """Whether a Task that waited for a message has been woken, and has not run yet."""
        self._begun = False
        self._ended = ""

    # For the program.

    async def start(self) -> None:
        if self.known.deleted:
            raise NoSuchTopic(f"topic {self.topic!r} was deleted")
        if self._begun:
            raise SubscriptionLost(f"a subscription of topic {self.topic!r} begins once")
        self._begun = True
        await self._subscribers.begin(self, self._kind)

    async def close(self, reason: str = "closed") -> None:
        self.end(reason)
        self._waiting.clear()

    async def __anext__(self) -> Message[T]:
        waiting = self._waiting
        while not waiting:
            if self._ended:
                self._raise_end()
            taker = self._loop.create_future()
            if self._takers:  # of Tasks that wait, or were cancelled meanwhile
                self._takers = [each for each in self._takers if not each.done()]
            self._takers.append(taker)
            await taker
        self._woken = False
        self.received += 1
        return waiting.popleft()

    def _raise_end(self) -> NoReturn:
        if self._ended in _LOST:
            raise SubscriptionLost(f"the subscription of topic {self.topic!r} has ended: {_LOST[self._ended]}")
        raise StopAsyncIteration

    # For the node.

    def put(self, messages: list[Message[Any]]) -> None:
        """Messages have arrived; the list may be shared."""
        if self._unsaid:
            first = messages[0]
            messages = [msgspec.structs.replace(first, missed=first.missed + self._unsaid), *messages[1:]]
            self._unsaid = 0
        self._waiting.extend(messages)
        if self._takers:
            takers, self._takers = self._takers, []
            for taker in takers:
                if not taker.done():
                    taker.set_result(None)
                    self._woken = True
        if len(self._waiting) > (self._woken_window if self._woken else self._window):
            self._shrink()

    def _shrink(self) -> None:
        """The window is exceeded: applies the policy."""
        waiting = self._waiting
        excess = len(waiting) - self._window
        take = waiting.popleft if self._slow == "drop_oldest" else waiting.pop
        lost = sum(1 + take().missed for _ in range(excess))
        if self._slow == "drop_oldest":
            first = waiting[0]
            waiting[0] = msgspec.structs.replace(first, missed=first.missed + lost)
        else:
            self._unsaid += lost
        self.dropped += excess
        self.missed += excess
        self._subscribers.dropped(self.topic, excess, self.name)
        if self._slow == "disconnect":
            self.end("slow")

    def miss(self, count: int, before_next: int) -> None:
        """So many messages are lost; the last `before_next` of them directly before the next message."""
        self._unsaid += before_next
        self.missed += count

    def lose_tail(self, publisher: str, authority: str) -> None:
        """The event tells it."""

    def end(self, reason: str) -> None:
        """Takes no more messages; those that wait can still be taken."""
        if self._ended:
            return
        self._ended = reason
        if self._begun:
            self._subscribers.ended(self, reason)
        takers, self._takers = self._takers, []
        for taker in takers:
            if not taker.done():
                taker.set_result(None)
