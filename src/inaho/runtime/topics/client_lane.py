"""Publishes at most once from a client: gathers messages of one topic, and calls a member with all that wait.

`publish` returns with the answer of the member, since only members know whether anybody is subscribed. While a call is
under way, further messages wait for the next one: so many publishers cost few calls.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from inaho.core.pubsub.arguments import key_size
from inaho.errors import InahoError, InvalidTopic, MessageTooLarge, NoSuchTopic, ShuttingDown

if TYPE_CHECKING:
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.topics.delivery import KnownTopic
    from inaho.runtime.topics.message_type import MessageType

__all__ = ["ClientLane", "ClientPublisher", "SendBatch"]

T = TypeVar("T")

SendBatch = Callable[[str, list[str], list[bytes]], Awaitable[None]]
"""Publishes messages of a topic through a member: name, keys and encoded values."""

MESSAGES_MAX: Final = 4096
"""Messages of one call."""


class _Batch:
    """Messages of one call."""

    __slots__ = ("future", "keys", "size_bytes", "values")

    def __init__(self, future: asyncio.Future[None]) -> None:
        self.keys: list[str] = []
        self.values: list[bytes] = []
        self.size_bytes = 0
        self.future = future


class ClientLane:
    """What a client publishes to one topic.

    Args:
        local: the client.
        topic: the topic.
        send: publishes through a member.
    """

    def __init__(self, local: LocalNode, topic: KnownTopic, send: SendBatch) -> None:
        self._local = local
        self._topic = topic
        self._send = send
        self._batches: deque[_Batch] = deque()
        self._sending: asyncio.Task[None] | None = None

    async def publish(self, encoded: bytes, key: str) -> None:
        """Returns when a member has published the message. Raises as `Topic.publish`."""
        self._check(encoded, key)
        batch = self._batches[-1] if self._batches else None
        size_bytes = len(encoded) + len(key)
        config = self._local.config
        bytes_max = min(config.pubsub.batch_bytes_max, config.transport.frame_bytes_max // 2)
        if batch is None or len(batch.values) >= MESSAGES_MAX or batch.size_bytes + size_bytes > bytes_max:
            batch = _Batch(self._local.loop.create_future())
            batch.future.add_done_callback(_seen)
            self._batches.append(batch)
        batch.keys.append(key)
        batch.values.append(encoded)
        batch.size_bytes += size_bytes
        if self._sending is None:
            self._sending = self._local.spawn(self._send_all(), name="inaho-client-publish")
        await asyncio.shield(batch.future)

    def _check(self, encoded: bytes, key: Any) -> None:
        topic, config = self._topic.name, self._local.config.pubsub
        limit = config.message_bytes_max
        if self._topic.deleted:
            raise NoSuchTopic(f"topic {topic!r} was deleted")
        self._local.check_here()
        if len(encoded) > limit:
            raise MessageTooLarge(
                f"a message of {len(encoded)} bytes for topic {topic!r}; at most {limit} are allowed "
                "(pubsub.message_bytes_max)"
            )
        key_size(key, config.key_bytes_max)

    async def _send_all(self) -> None:
        """The first step is in the next iteration of the loop, so that messages of this one are together."""
        try:
            while self._batches:
                await self._send_one(self._batches.popleft())
        finally:
            self._sending = None

    async def _send_one(self, batch: _Batch) -> None:
        try:
            await self._send(self._topic.name, batch.keys, batch.values)
        except InahoError as error:
            batch.future.set_exception(error)
        except asyncio.CancelledError:  # the client stops
            batch.future.set_exception(ShuttingDown("this client is closed", maybe_executed=True))
            self.close()
            raise
        else:
            batch.future.set_result(None)

    async def finished(self) -> None:
        """Returns when nothing waits."""
        if self._sending is not None:
            await asyncio.wait([self._sending])

    def close(self) -> None:
        """Fails what waits."""
        while self._batches:
            self._batches.popleft().future.set_exception(ShuttingDown("this client is closed"))


class ClientPublisher(Generic[T]):
    """Publishes the messages of one handle of a client; a `Publisher`."""

    __slots__ = ("_kind", "_lane", "_topic")

    def __init__(self, lane: ClientLane, topic: str, kind: MessageType[T]) -> None:
        self._lane = lane
        self._topic = topic
        self._kind = kind

    def publish(self, value: T, key: str, id: str) -> Awaitable[None]:
        """See `Topic.publish`."""
        if id != "":
            raise InvalidTopic(f"topic {self._topic!r} is at most once; a message has an id at least once only")
        return self._lane.publish(self._kind.encode(value, self._topic), key)


def _seen(future: asyncio.Future[None]) -> None:
    """Marks the error as seen: those that wait may have given up."""
    if not future.cancelled():
        future.exception()
