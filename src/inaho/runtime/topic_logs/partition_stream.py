"""The connection of one consumer to the keeper of one partition: deliveries come by a stream, answers go by calls.

The stream ends when the keeper moves, its node dies, or a connection breaks. It is opened again, at the next keeper,
with what the consumer still holds, so that a message that is worked on does not go to another consumer because a node
was replaced.

The answers of one iteration of the event loop are one call, and one call is on its way at a time, so an acknowledgement
costs a share of a call. Acknowledgements alone wait a moment for others, while the consumer may have more messages
anyway: nobody waits for them. A call that fails is repeated until the consumer ends.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from inaho.core.back_off import back_off_s
from inaho.errors import InahoError, NoSuchTopic, SubscriptionLost
from inaho.errors.inspection import describe
from inaho.runtime.topic_logs.keeper_messages import Deliveries, Delivery, Extension, Retry, Settlement
from inaho.runtime.topic_logs.partition_lane import as_known, may_pass

if TYPE_CHECKING:
    from collections.abc import Callable

    from inaho.core.pubsub.consumer_window import ConsumerWindow, Settled
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.local.topology import Topology
    from inaho.runtime.topic_logs.keeper_messages import ConsumeRequest, DeliveryNumber, PartitionKeeper

__all__ = ["PartitionStream", "StreamOwner"]

ACKNOWLEDGE_S: Final = 0.003
"""An acknowledgement waits at most so long for others, in seconds."""

_FIRST_PAUSE_S: Final = 0.02
_PAUSE_MAX_S: Final = 1.0

_REFUSED: Final = (SubscriptionLost, NoSuchTopic)


class StreamOwner(Protocol):
    """The consumer that a stream belongs to."""

    window: ConsumerWindow[Delivery]

    def arrived(self, deliveries: list[Delivery]) -> None:
        """They have come into the window; at least one."""
        ...

    def lost(self, error: InahoError) -> None:
        """The subscription has ended."""
        ...


class PartitionStream:
    """One partition of one consumer.

    Args:
        local: the node.
        topology: shows when a keeper has moved.
        keeper: of the partition.
        partition: its number.
        request: makes the request for a stream from what is held.
        owner: the consumer.

    Attributes:
        opened: the stream was effective once.
        streams: how often it was opened.
        late: answers that came when the delivery was over.
    """

    def __init__(
        self,
        local: LocalNode,
        topology: Topology,
        keeper: PartitionKeeper,
        partition: int,
        request: Callable[[int, list[DeliveryNumber]], ConsumeRequest],
        owner: StreamOwner,
    ) -> None:
        self.opened: asyncio.Future[None] = local.loop.create_future()
        self.streams = 0
        self.late = 0
        self.partition = partition
        self._local = local
        self._topology = topology
        self._keeper = keeper
        self._request = request
        self._owner = owner
        self._reader = local.spawn(self._read(), name="inaho-consume", drives=True)
        self._settler: asyncio.Task[None] | None = None
        self._later: asyncio.TimerHandle | None = None
        self._closing = False
        self._is_open = asyncio.Event()

    # Deliveries.

    async def _read(self) -> None:
        failed = 0
        while not self._closing:
            held = self._owner.window.numbers(self.partition)
            self._owner.window.opened(self.partition)
            stream = cast("Any", self._keeper.consume(self._request(self.partition, held)))
            self.streams += 1
            error: InahoError | None = None
            try:
                async with aclosing(stream):
                    async for item in stream:
                        failed = 0
                        self._is_open.set()
                        self._take(item)
            except Exception as caught:
                error = as_known(caught)
            self._is_open.clear()
            if error is not None and self._is_final(error):
                self._owner.lost(error)
                return
            failed += 1
            if failed > 1:
                self._local.log.debug(
                    "the stream of %s from its keeper has ended (%d in a row), opening it again: %s",
                    self._keeper, failed, "" if error is None else describe(error),
                )  # fmt: skip
            del error
            await self._topology.wait(back_off_s(_FIRST_PAUSE_S, _PAUSE_MAX_S, failed))

    def _take(self, item: Deliveries) -> None:
        window = self._owner.window
        if self._closing:
            return  # the keeper learns by `leave` that these come back too
        window.confirmed_open(self.partition)
        if item.over:
            window.over(self.partition, item.over)
            self.settle_soon()
        if item.messages:
            window.arrived(self.partition, item.messages, self._local.loop.time(), item.settled)
            self._owner.arrived(item.messages)
        if self.partition in window.dirty:
            self.settle_soon()
        if not self.opened.done():
            self.opened.set_result(None)

    def _is_final(self, error: InahoError) -> bool:
        return isinstance(error, _REFUSED) or not may_pass(error)

    # Answers.

    def settle_soon(self) -> None:
        """Tells the keeper what the window has for it, with what else comes in this iteration of the loop."""
        self._stop_timer()
        if self._settler is None or self._settler.done():  # it is done if it was cancelled before its first step
            self._settler = self._local.spawn(self._settle_all(), name="inaho-settle", drives=True)

    def settle_later(self) -> None:
        """As `settle_soon`, with what else comes within `ACKNOWLEDGE_S`."""
        if self._later is None and (self._settler is None or self._settler.done()):
            self._later = self._local.loop.call_later(ACKNOWLEDGE_S, self.settle_soon)

    def _stop_timer(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None

    async def _settle_all(self) -> None:
        window = self._owner.window
        try:
            while settled := window.take_settled(self.partition):
                if not await self._settle(settled, leaving=False):
                    return
                window.confirmed(self.partition, settled)
        finally:
            self._settler = None

    async def _settle(self, settled: Settled, *, leaving: bool) -> bool:
        """Tells the keeper, at the next one if need be. Returns whether it knows."""
        request = self._request(self.partition, [])
        reason_max = self._local.config.transport.frame_bytes_max // (8 * max(1, len(settled.retried)))  # 4 bytes each
        settlement = Settlement(
            request.subscription,
            request.consumer,
            settled.acked,
            [Retry(offset, attempt, after_s, why[:reason_max]) for offset, attempt, after_s, why in settled.retried],
            [Extension(*each) for each in settled.extended],
            settled.released,
            leaving,
            settled.number,
        )
        failed = 0
        while True:
            try:
                refused = await self._keeper.settle(settlement)
            except Exception as caught:
                error = as_known(caught)
                if self._is_final(error):
                    self._owner.lost(error)
                    return False
                self._local.log.debug("answers for %s are sent again: %s", self._keeper, describe(error))
            else:
                if refused:
                    self._refused(settled, refused)
                return True
            failed += 1
            await self._topology.wait(back_off_s(_FIRST_PAUSE_S, _PAUSE_MAX_S, failed))

    def _refused(self, settled: Settled, refused: list[DeliveryNumber]) -> None:
        """The keeper says which deliveries were over. What was released had been, often: the keeper takes it back."""
        extended = {(offset, attempt) for offset, attempt, _ in settled.extended}
        answered = {*settled.acked, *((offset, attempt) for offset, attempt, _, _ in settled.retried)}
        self.late += sum(tuple(each) in answered for each in refused)
        self._owner.window.refused(self.partition, [each for each in refused if tuple(each) in extended])

    async def leave(self) -> None:
        """The consumer ends: returns when the keeper has all answers and gives the rest to others."""
        self._closing = True
        self._stop_timer()
        if not self._is_open.is_set():  # a keeper that gets the answers first would then deliver what is held
            opened = asyncio.ensure_future(self._is_open.wait())
            try:
                await asyncio.wait([opened, self._reader], return_when=asyncio.FIRST_COMPLETED)
            finally:
                opened.cancel()
        while self._settler is not None and not self._settler.done():
            await asyncio.wait([self._settler])
        await self._settle(self._owner.window.take_settled(self.partition), leaving=True)

    def close(self, error: InahoError | None = None) -> None:
        """Ends the stream, for the reason of `error`."""
        self._closing = True
        self._stop_timer()
        self._reader.cancel()
        if self._settler is not None:
            self._settler.cancel()
        if self.opened.done():
            return
        if error is None:
            self.opened.cancel()
        else:
            self.opened.set_exception(error)
            self.opened.exception()  # `start` may wait for another partition, which has failed too
