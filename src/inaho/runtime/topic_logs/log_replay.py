"""Reads a topic at least once without a subscription: nothing is acknowledged, and no position is kept.

The partitions are read at the same time. Messages of one partition, so those of one key, come in order; partitions are
merged as they come.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from inaho.core.back_off import back_off_s
from inaho.core.pubsub.message import Message
from inaho.errors import InahoError, InvalidTopic, SubscriptionLost
from inaho.errors.inspection import text_of
from inaho.runtime.topic_logs.keeper_messages import ReplayRequest, StartAt
from inaho.runtime.topic_logs.partition_lane import as_known, may_pass
from inaho.runtime.topic_logs.positions import check_start, start_at
from inaho.runtime.topic_logs.subscription import Subscription
from inaho.wire.codec import DECODE_ERRORS

if TYPE_CHECKING:
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.local.topology import Topology
    from inaho.runtime.topic_logs.keeper_messages import Delivery
    from inaho.runtime.topic_logs.ports import Keepers, LoggedTopic, ValueType
    from inaho.runtime.topic_logs.positions import Start

__all__ = ["LogReplay"]

T = TypeVar("T")

_FIRST_PAUSE_S: Final = 0.02
_PAUSE_MAX_S: Final = 1.0

CHUNKS_MAX: Final = 4
"""Chunks of one partition that wait for the program."""


class LogReplay(Subscription[T]):
    """The messages of a topic from a beginning on.

    Args:
        local: the node.
        topology: shows when a keeper has moved.
        keepers: of partitions.
        topic: the topic.
        value_type: of its messages.
        start: where it begins.
        follow: whether it goes on with new messages at the end.
        running: it is in it from its start to its end.
    """

    def __init__(
        self,
        local: LocalNode,
        topology: Topology,
        keepers: Keepers,
        topic: LoggedTopic,
        value_type: ValueType[T],
        start: Start,
        running: dict[LogReplay[Any], None],
        *,
        follow: bool,
    ) -> None:
        super().__init__(topic.name, "")
        self._local = local
        self._topology = topology
        self._keepers = keepers
        self._decode = value_type.decode
        check_start(start, topic.definition.partitions)
        if not isinstance(cast("object", follow), bool):
            raise InvalidTopic(f"follow is True or False, not {follow!r}")
        self._starts = [start_at(start, partition) for partition in range(topic.definition.partitions)]
        self._follow = follow
        self._running = running
        self._readers: dict[asyncio.Task[None], None] = {}
        self._chunks: deque[tuple[int, list[Delivery]]] = deque()
        self._waiting = [0] * len(self._starts)
        """Chunks that wait, by partition."""
        self._chunk: tuple[int, list[Delivery]] = (0, [])
        self._next = 0
        self._changed: list[asyncio.Future[None]] = []
        self._error: InahoError | None = None
        self._started = False
        self._closed = False

    async def start(self) -> None:
        """See `Subscription.start`."""
        if self._started:
            return
        self._local.check_here()
        self._started = True
        self._running[self] = None
        for partition in range(len(self._starts)):
            reader = self._local.spawn(self._read(partition), name="inaho-replay", drives=True)
            self._readers[reader] = None
            reader.add_done_callback(self._reader_ended)

    async def close(self, reason: str = "closed") -> None:
        """See `Subscription.close`."""
        if self._closed:
            return
        self._closed = True
        for reader in list(self._readers):
            reader.cancel()
        self._running.pop(self, None)
        self._wake()

    def lost(self, error: InahoError) -> None:
        """The replay cannot go on."""
        if self._error is None:
            self._error = error
            for reader in list(self._readers):
                reader.cancel()
        self._wake()

    def _reader_ended(self, reader: asyncio.Task[None]) -> None:
        del self._readers[reader]
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, []
        for future in changed:
            if not future.done():
                future.set_result(None)

    async def _wait(self) -> None:
        future = self._local.loop.create_future()
        self._changed.append(future)
        await future

    async def _read(self, partition: int) -> None:
        """Reads one partition, at the next keeper if it moves."""
        keeper = self._keepers(self.topic, partition)
        start = self._starts[partition]
        failed = 0
        while not self._closed:
            error: InahoError | None = None
            try:
                stream = cast("Any", keeper.replay(ReplayRequest(start, self._follow)))
                async with aclosing(stream):
                    async for chunk in stream:
                        failed = 0
                        if chunk:
                            start = StartAt("offset", offset=chunk[-1].offset + 1)
                            await self._put(partition, chunk)
            except Exception as caught:
                error = as_known(caught)
            if error is None and not self._follow:
                return
            if error is not None and not may_pass(error):
                self.lost(error)
                return
            del error
            failed += 1
            await self._topology.wait(back_off_s(_FIRST_PAUSE_S, _PAUSE_MAX_S, failed))

    async def _put(self, partition: int, chunk: list[Delivery]) -> None:
        while self._waiting[partition] >= CHUNKS_MAX:
            await self._wait()
        self._waiting[partition] += 1
        self._chunks.append((partition, chunk))
        self._wake()

    async def __anext__(self) -> Message[T]:
        await self.start()
        while not self._closed:
            partition, chunk = self._chunk
            if self._next < len(chunk):
                delivery = chunk[self._next]
                self._next += 1
                return self._message(partition, delivery)
            if self._chunks:
                self._chunk = self._chunks.popleft()
                self._waiting[self._chunk[0]] -= 1
                self._next = 0
                self._wake()
            elif self._error is None and self._readers:
                await self._wait()
            else:
                await self.close()
        if self._error is not None:
            raise self._error
        raise StopAsyncIteration

    def _message(self, partition: int, delivery: Delivery) -> Message[T]:
        try:
            value: T = self._decode(delivery.value)
        except DECODE_ERRORS as error:
            raise SubscriptionLost(
                f"message {delivery.offset} of partition {partition} of topic {self.topic!r} does not decode: "
                f"{text_of(error)}"
            ) from error
        self.received += 1
        return Message(
            value, delivery.key, delivery.offset, delivery.published_at, partition, publisher=delivery.publisher
        )
