"""Streams: an async generator on one node, `async for` on another.

Items are sent in batches. The producer's Task collects the items that the generator yields without suspending. It sends
them when the batch is full or, at the latest, at the end of the loop iteration. The consumer reports how many items it
has consumed, and the producer is never more than a window of items, or of bytes, ahead. So a stalled consumer costs
bounded memory on both sides.

Streams interleave with turns, because a consumer may be slow, and a grain that waited for it could answer no other
call. A stream ends with its activation at the latest (`running_streams`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from inaho.errors import FrameTooLarge, InahoError, OwnershipChanged, ShuttingDown, Timeout
from inaho.errors.inspection import describe, is_a, text_of
from inaho.runtime.grains.activation import CURRENT, Turn
from inaho.runtime.local.closed_generators import closed_where_it_waits
from inaho.runtime.turns.steps import SIGNALS, as_raised, report, undescribed
from inaho.wire.codec import DECODE_ERRORS, ENCODE_ERRORS, encode
from inaho.wire.exceptions import as_seen_by_caller
from inaho.wire.frames import HEADER_REST

if TYPE_CHECKING:
    from inaho.config import RpcConfig
    from inaho.runtime.grains.method import GrainMethod

__all__ = ["LocalSink", "StreamProducer", "StreamReceiver", "StreamSink"]

_log: Final = logging.getLogger("inaho.node")

AGAIN: Final = "inaho.resuming opens such a stream again"
"""Advice in errors of a stream that ended with its activation or with a node."""

BATCH_ITEMS: Final = 256
BATCHES_AHEAD: Final = 4
"""How many batches make a window of bytes, if all items have one size."""


class StreamSink(Protocol):
    """Takes a producer's batches: a connection, or a receiver on this node."""

    frame_body_max: int

    def send_items(self, body: bytes) -> None: ...

    def send_end(self) -> None: ...

    def send_failure(self, error: BaseException) -> None: ...


class StreamProducer:
    """Runs the user's generator and sends its items within the consumer's window.

    Args:
        turn: the call; its method is a stream.
        sink: where batches go.
        config: windows.
    """

    def __init__(self, turn: Turn, sink: StreamSink, config: RpcConfig, loop: asyncio.AbstractEventLoop) -> None:
        self.turn = turn
        self.sink = sink
        self._loop = loop
        self._items_max = config.stream_window_items
        self._bytes_max = config.stream_window_bytes
        self._batch: list[Any] = []
        self._batch_items = 1
        """Items per batch, estimated from the last batch, since the size of an item is unknown until it is encoded."""
        self._flush_scheduled = False
        self._sent: deque[list[int]] = deque()
        self._items_ahead = 0
        self._bytes_ahead = 0
        self._room: asyncio.Future[None] | None = None
        self._failed: InahoError | None = None
        self._notified = False
        """Whether the consumer was notified of the end of the stream."""

    async def run(self) -> None:
        """Runs until the generator ends, fails or is cancelled, and notifies the consumer."""
        turn = self.turn
        CURRENT.set(turn)
        iterator: Any = None
        try:
            iterator = turn.method.call(turn.grain, turn.arguments)  # a plain function may raise here
            await closed_where_it_waits(self._produce(iterator))
        except asyncio.CancelledError as error:
            self._notify(self._interruption(error))
            raise
        except BaseException as error:
            try:
                turn.grain._inaho_host.turn_failed(turn, error)
                report(self._loop, error, self._notify, as_raised(error, turn.method.name))
            except Exception as broken:
                self._notified = False
                self._notify(undescribed(error, turn.method.name, broken))
            if is_a(error, (KeyboardInterrupt, SystemExit)):
                raise
        finally:
            await self._close(iterator)

    async def _produce(self, iterator: Any) -> None:
        """Sends the items of the generator, and notifies the consumer of its end. No wrapper runs per item."""
        turn = self.turn
        host = turn.grain._inaho_host
        async for item in iterator:
            if turn.grain._inaho_turn is not None and host.is_unproved(turn.grain):  # others may have saved newer state
                await host.until_proved(turn.grain)
            if turn.cancelled:  # the generator has caught the cancellation, but the consumer takes no more items
                return
            self._batch.append(item)
            self._items_ahead += 1
            if len(self._batch) >= self._batch_items:
                self._flush()
            elif not self._flush_scheduled:
                self._flush_scheduled = True
                self._loop.call_soon(self._flush_late)
            if self._items_ahead >= self._items_max or self._bytes_ahead >= self._bytes_max:
                await self._wait_for_room()
            if self._failed is not None:
                raise self._failed
        self._flush()
        if self._failed is not None:
            raise self._failed
        self._notify(None)

    async def _close(self, iterator: Any) -> None:
        """Closes the user's generator. Logs an exception of its clean-up, since no caller waits for it."""
        close = getattr(iterator, "aclose", None)
        if close is None or getattr(iterator, "ag_running", False):  # this very coroutine is being closed from outside
            return
        if getattr(iterator, "ag_frame", iterator) is None:  # it has ended
            return
        turn = self.turn
        try:
            await closed_where_it_waits(close())
        except (asyncio.CancelledError, *SIGNALS):
            raise
        except BaseException as error:
            ignored = is_a(error, RuntimeError) and "ignored GeneratorExit" in text_of(error)
            _log.error(
                "the generator %s of %s %s: %s",
                turn.method.name,
                turn.grain.identity,
                "yields again when it is closed, so it stays open; a generator must not catch GeneratorExit"
                if ignored
                else "failed in its clean-up",
                describe(error),
                exc_info=None if ignored else error,
            )

    def end(self, reason: str) -> None:
        """The activation ends: sends the items so far, notifies the consumer, and has the generator closed.

        Args:
            reason: as for `on_deactivate`.
        """
        self._break_off(self._stopped() if reason == "shutdown" else self._ended(reason), "its activation ended")

    def _break_off(self, error: InahoError, why: str) -> None:
        """Ends the stream before its generator has ended. A generator that already cleans up is not interrupted."""
        if not self._notified:
            self._notify(error)
            self.turn.cancel(why)

    def _notify(self, error: BaseException | None) -> None:
        """Sends the items so far, and notifies the consumer of the end; not if the consumer has cancelled."""
        if self._notified or self.turn.cancelled:
            return
        self._flush()
        self._notified = True
        if error is None:
            self.sink.send_end()
        else:
            self.sink.send_failure(self._failed or error)

    def _interruption(self, error: asyncio.CancelledError) -> BaseException:
        """The error for a generator that was cancelled by something other than its consumer."""
        turn = self.turn
        return self._stopped() if turn.grain._inaho_host.local.closing else as_raised(error, turn.method.name)

    def _stopped(self) -> ShuttingDown:
        return ShuttingDown(
            f"the node has stopped during the stream; {AGAIN}",
            identity=str(self.turn.grain.identity),
            maybe_executed=True,
        )

    def _ended(self, reason: str) -> OwnershipChanged:
        grain = self.turn.grain
        return OwnershipChanged(
            f"the activation has ended during the stream ({reason}); {AGAIN}",
            identity=str(grain.identity),
            authority=grain._inaho_host.authority,
            maybe_executed=True,
        )

    def consumed(self, count: int) -> None:
        """The consumer has taken `count` more items."""
        while count > 0 and self._sent:
            chunk = self._sent[0]
            taken = min(count, chunk[0])
            count -= taken
            chunk[0] -= taken
            self._items_ahead -= taken
            if chunk[0] == 0:
                self._sent.popleft()
                self._bytes_ahead -= chunk[1]
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    async def _wait_for_room(self) -> None:
        self._flush()
        while self._items_ahead >= self._items_max or self._bytes_ahead >= self._bytes_max:
            if self._failed is not None:
                return
            self._room = self._loop.create_future()
            await self._room
        self._room = None

    def _flush_late(self) -> None:
        self._flush_scheduled = False
        self._flush()
        if self._failed is not None and not self._notified:  # the generator may yield again in an hour, or never
            self.turn.grain._inaho_host.turn_failed(self.turn, self._failed)
            self._break_off(self._failed, "an item could not be sent")

    def _flush(self) -> None:
        batch, self._batch = self._batch, []
        if batch and self._failed is None and not self.turn.cancelled:
            self._send(batch)

    def _send(self, batch: list[Any]) -> None:
        """Sends a batch, in halves if it is too large. Items before one that cannot be sent are still sent."""
        method = self.turn.method
        try:
            body = encode(batch)
        except ENCODE_ERRORS as error:
            if len(batch) == 1:
                self._failed = method.unserializable("an item", error, self.turn.grain._inaho_key, executed=True)
                return
            body = b""
        if body and len(body) <= self.sink.frame_body_max:
            self._sent.append([len(batch), len(body)])
            self._bytes_ahead += len(body)
            self._batch_items = max(1, min(BATCH_ITEMS, self._bytes_max * len(batch) // (BATCHES_AHEAD * len(body))))
            self.sink.send_items(body)
        elif len(batch) == 1:
            self._failed = FrameTooLarge(
                f"an item of {method.name} takes {len(body)} bytes, the most is {self.sink.frame_body_max} "
                "(transport.frame_bytes_max)",
                identity=str(self.turn.grain.identity),
                maybe_executed=True,
            )
        else:
            half = len(batch) // 2
            self._send(batch[:half])
            if self._failed is None:
                self._send(batch[half:])


class StreamReceiver:
    """The consumer's side of a stream: decodes batches, and keeps the outcome of the stream.

    Args:
        method: the stream's method; decodes the items.
        key: of the grain.

    Attributes:
        items_received: so far.
        decode: bytes to a batch.
    """

    def __init__(self, method: GrainMethod, key: str, loop: asyncio.AbstractEventLoop) -> None:
        self.items_received = 0
        self.decode = method.decode_result
        self._method = method
        self._key = key
        self._loop = loop
        self._chunks: deque[list[Any]] = deque()
        self._error: BaseException | None = None
        self._ended = False
        self._waiter: asyncio.Future[None] | None = None
        self._consumed: Callable[[int], None] | None = None
        self._close: Callable[[], None] | None = None

    def attach(self, consumed: Callable[[int], None], close: Callable[[], None]) -> None:
        """Sets how to report consumed items to the producer, and how to close the stream."""
        self._consumed = consumed
        self._close = close

    # From the producer.

    def take(self, body: bytes | memoryview) -> None:
        """A batch has arrived."""
        try:
            chunk = self.decode(body)
        except DECODE_ERRORS as error:
            self.fail(self._method.invalid_result(error, self._key))
            return
        self.items_received += len(chunk)
        self._chunks.append(chunk)
        self._wake()

    def end(self) -> None:
        """The producer has sent all items."""
        self._ended = True
        self._wake()

    def fail(self, error: BaseException) -> None:
        """The stream failed. The consumer still gets the items that arrived before."""
        if not self._ended and self._error is None:
            self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # To the consumer.

    async def next_chunk(self) -> list[Any]:
        """The next batch; empty at the end of the stream. Raises the error of a failed stream."""
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self._ended:
                return []
            self._waiter = self._loop.create_future()
            await self._waiter
        return self._chunks.popleft()

    def acknowledge(self, count: int) -> None:
        """The consumer has used `count` items."""
        if self._consumed is not None and not self._ended:
            self._consumed(count)

    def close(self) -> None:
        """The consumer wants no more items. If its loop is closed, nothing can be sent, so nothing is done."""
        close, self._close = self._close, None
        if close is not None and not self._loop.is_closed():
            close()


class LocalSink:
    """Sends batches to a receiver on the same node. They are encoded all the same, so that no object is shared."""

    def __init__(self, receiver: StreamReceiver, turn: Turn, frame_bytes_max: int) -> None:
        self.frame_body_max = frame_bytes_max - HEADER_REST
        self._receiver = receiver
        self._turn = turn

    def send_items(self, body: bytes) -> None:
        self._receiver.take(body)

    def send_end(self) -> None:
        self._receiver.end()

    def send_failure(self, error: BaseException) -> None:
        host = self._turn.grain._inaho_host
        seen = as_seen_by_caller(
            error,
            identity=str(self._turn.grain.identity),
            authority=host.authority,
            bytes_max=self.frame_body_max,
            method=self._turn.method.name,
        )
        self._receiver.fail(seen)

    def expire(self) -> None:
        """The deadline of the stream has passed: fails it at both ends."""
        host = self._turn.grain._inaho_host
        identity = str(self._turn.grain.identity)
        self._receiver.fail(
            Timeout("the deadline passed during the stream", identity=identity, authority=host.authority)
        )
        self._turn.cancel("deadline")
