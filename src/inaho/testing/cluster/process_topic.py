"""The `Topic` of a simulated node for a test: its publishes and subscriptions run in the process of that node.

As with calls (`process_cluster`), a test is outside of the processes: what it waits for must end with the process, and
a pause of the process must hold it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from inaho.core.pubsub.message import Message
from inaho.runtime.topic_logs.subscription import Subscription
from inaho.runtime.topics.topic import Topic

if TYPE_CHECKING:
    from inaho.runtime.topic_logs.positions import Start
    from inaho.testing.simulation.simulated_process import SimulatedProcess

__all__ = ["SimulatedTopic"]

T = TypeVar("T")


class SimulatedTopic(Topic[T]):
    """A topic for callers outside of the process.

    Args:
        topic: the process's own.
        process: the process of the node.
    """

    __slots__ = ("_process",)

    def __init__(self, topic: Topic[T], process: SimulatedProcess) -> None:
        for name in Topic.__slots__:  # without `super().__init__`: it is the same topic
            setattr(self, name, getattr(topic, name))
        self._process = process

    def publish(self, value: T, *, key: str = "", id: str = "") -> Awaitable[None]:
        """As `Topic.publish`, in the process.

        Raises:
            Unreachable: the process is dead, or dies meanwhile.
        """

        async def publish() -> None:
            await super(SimulatedTopic, self).publish(value, key=key, id=id)

        return self._process.enter(publish)

    def subscribe(
        self,
        name: str = "",
        *,
        window: int | None = None,
        slow: str = "drop_oldest",
        start: Start = "latest",
        handler: Callable[[Message[T]], Awaitable[object]] | None = None,
        concurrency: int = 1,
    ) -> Subscription[T]:
        """As `Topic.subscribe`; its messages are waited for in the process, and a handler runs there."""
        own = super().subscribe(name, window=window, slow=slow, start=start, handler=handler, concurrency=concurrency)
        return SimulatedSubscription(own, self._process)

    def replay(self, start: Start = "earliest", *, follow: bool = False) -> Subscription[T]:
        """As `Topic.replay`, in the process."""
        return SimulatedSubscription(super().replay(start, follow=follow), self._process)


class SimulatedSubscription(Subscription[T]):
    """A subscription for a reader outside of the process.

    Args:
        subscription: the process's own.
        process: the process of the node.
    """

    def __init__(self, subscription: Subscription[T], process: SimulatedProcess) -> None:
        self._own = subscription  # without `super().__init__`: its counters are those of the process's own
        self._process = process

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)

    async def start(self) -> None:
        await self._process.enter(self._own.start)

    async def close(self, reason: str = "closed") -> None:
        async def close() -> None:
            await self._own.close(reason)

        await self._process.enter(close)

    async def __anext__(self) -> Message[T]:
        async def take() -> Message[T] | None:
            try:
                return await anext(self._own)
            except StopAsyncIteration:  # a coroutine cannot pass it on
                return None

        message = await self._process.enter(take)
        if message is None:
            raise StopAsyncIteration
        return message
