"""What one node publishes to one partition: gathers messages, and sends one batch after another to the keeper.

All messages that are published in one iteration of the event loop, or while a batch is on its way, are one batch. So a
program that publishes alone gets the shortest way, and one with many publishers few calls. There is one batch on its
way at a time, because order within the partition needs it: a second one could arrive before a repetition of the first.

A batch whose outcome is unknown is repeated with its number, at the next keeper too, and stored once. Each of its
messages has its own deadline. When the last of them has passed, the batch is given up, and its publishers are told that
it may be stored.
"""

from __future__ import annotations

import asyncio
from collections import deque
from copy import copy
from typing import TYPE_CHECKING, Final

import msgspec

from inaho.core.back_off import back_off_s
from inaho.core.rpc.retry import MOVING, RETRY_RULES, RetryRule
from inaho.errors import (
    ActivationFailed,
    InahoError,
    LogConflict,
    MessageTooLarge,
    NoSuchTopic,
    Overloaded,
    RemoteError,
    ShuttingDown,
    StorageFailed,
    Timeout,
    TopicFull,
    Unreachable,
)
from inaho.errors.inspection import describe
from inaho.runtime.topic_logs.keeper_messages import KEEPER, AppendBatch, NewMessage, keeper_key
from inaho.types import MemberStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from inaho.config import PubSubConfig
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.local.topology import Topology
    from inaho.runtime.topic_logs.keeper_messages import PartitionKeeper
    from inaho.runtime.topic_logs.topic_counts import TopicNumbers

__all__ = ["PartitionLane", "as_known", "may_pass"]

_FIRST_PAUSE_S: Final = 0.02
_PAUSE_MAX_S: Final = 1.0

_REFUSED: Final = frozenset(error.code for error in (MessageTooLarge, NoSuchTopic, TopicFull))
"""Errors of a keeper that has stored nothing: it raises them before it writes."""

OVERHEAD_BYTES: Final = 48
"""What a message takes in a batch beside its value, key and id."""

HEAD_BYTES: Final = 4096
"""What the name of the topic and the head of the call take in a frame, at most."""

STOPPED: Final = "this node has stopped before it was known that the message is stored"

AHEAD: Final = 2
"""Batches for which there is room: one is on its way, and one is gathered."""


CUT_OFF_S: Final = 0.25
"""With `when_cut_off="drop"` a message waits so long for another node to keep the log. A move takes less."""


def may_pass(error: InahoError) -> bool:
    """Whether it helps to wait: the keeper moves, its node or its storage is away, or it is busy."""
    if isinstance(error, StorageFailed):
        return error.code == StorageFailed.code  # not for one that is too large
    if isinstance(error, ActivationFailed | LogConflict | Overloaded):
        return True
    return RETRY_RULES.get(error.code, RetryRule.FINAL) is not RetryRule.FINAL


def as_known(error: Exception) -> InahoError:
    """What a keeper has raised: itself, or a report of a fault in the keeper, which nothing is known of."""
    return error if isinstance(error, InahoError) else RemoteError(describe(error))


class _Waiting(msgspec.Struct, eq=False):
    """A message whose publisher waits.

    Attributes:
        message: to store.
        stored: the publisher's future.
        deadline: loop seconds.
        size_bytes: of the message in a batch.
    """

    message: NewMessage
    stored: asyncio.Future[None]
    deadline: float
    size_bytes: int


class PartitionLane:
    """Publishes to one partition.

    Args:
        local: the node.
        topology: shows when a keeper has moved, or cannot be reached.
        keeper: of the partition.
        topic: its name.
        partition: its number.
        next_number: numbers of batches; they grow.
        numbers: of the topic.
        busy: it is in it while a message waits or is on its way.
        drop: `when_cut_off="drop"`: fails at once while the log cannot be reached.

    Attributes:
        topic: as given.
        sent: messages stored.
        repeated: batches that were sent again.
    """

    def __init__(
        self,
        local: LocalNode,
        topology: Topology,
        keeper: PartitionKeeper,
        topic: str,
        partition: int,
        next_number: Callable[[], int],
        numbers: TopicNumbers,
        busy: dict[PartitionLane, None],
        *,
        drop: bool,
    ) -> None:
        self.topic = topic
        self.sent = 0
        self.repeated = 0
        self._local = local
        self._topology = topology
        self._keeper = keeper
        self._key = keeper_key(topic, partition)
        self._drop = drop
        self._next_number = next_number
        self._numbers = numbers
        self._busy = busy
        config: PubSubConfig = local.config.pubsub
        self._messages_max = config.log_batch_messages_max
        self._bytes_max = min(config.log_batch_bytes_max, local.config.transport.frame_bytes_max - HEAD_BYTES)
        self._timeout_s = config.publish_timeout_s
        self._pending: deque[_Waiting] = deque()
        self._pending_bytes = 0
        self._batch: list[_Waiting] = []
        self._room: deque[asyncio.Future[None]] = deque()
        self._sender: asyncio.Task[None] | None = None
        self._limit: asyncio.Timeout | None = None
        """Of the attempt that runs; moved to the present to end it."""
        self._calling = False
        self._in_doubt = False
        self._last: InahoError | None = None
        self._home = ""
        """Authority of the member that kept the log when the last batch was stored, if messages are to be dropped."""

    async def sending(self) -> None:
        """Returns when no message waits or is on its way."""
        while (sender := self._sender) is not None:
            await asyncio.wait([sender])
            if self._sender is sender:  # it was cancelled before its first step
                self.close()

    def full(self) -> bool:
        """Whether a publisher must wait for room."""
        return bool(self._room) or self._pending_bytes >= AHEAD * self._bytes_max

    def put(self, message: NewMessage, size_bytes: int, now: float) -> asyncio.Future[None]:
        """Adds a message; the result is there when it is stored."""
        stored = self._local.loop.create_future()
        self._pending.append(_Waiting(message, stored, now + self._timeout_s, size_bytes))
        self._pending_bytes += size_bytes
        if self._sender is None:
            self._busy[self] = None
            self._sender = self._local.spawn(self._send_all(), name="inaho-publish", drives=True)
        return stored

    async def put_later(self, message: NewMessage, size_bytes: int) -> None:
        """As `put`, when there is room.

        Raises:
            Timeout: there was none in time. The message is not stored.
        """
        deadline = self._local.loop.time() + self._timeout_s
        while self.full():
            room = self._local.loop.create_future()
            self._room.append(room)
            try:
                async with asyncio.timeout_at(deadline):
                    await room
            except TimeoutError:
                raise self._timed_out(False) from None
            finally:
                if room in self._room:
                    self._room.remove(room)
                elif self._pending_bytes < AHEAD * self._bytes_max:
                    self._wake()  # this one has been woken, and may not use the room
            if self._pending_bytes < AHEAD * self._bytes_max:
                break
        if self._local.closing:  # not before: a node that leaves stores what its publishers wait for
            self._local.check_here()
        await self.put(message, size_bytes, self._local.loop.time())

    def _wake(self) -> None:
        """Lets the first publisher continue that waits for room."""
        while self._room:
            room = self._room.popleft()
            if not room.done():
                room.set_result(None)
                return

    # Sending.

    async def _send_all(self) -> None:
        try:
            while self._pending:
                self._batch = self._take()
                if self._batch:
                    await self._send(self._batch)
                self._batch = []
        except asyncio.CancelledError:  # the node stops
            self._fail(self._batch, ShuttingDown(STOPPED), True)
            raise
        finally:
            self._sender = None
            self._batch = []
            del self._busy[self]

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        size = 0
        pending = self._pending
        while pending and len(batch) < self._messages_max:
            size += pending[0].size_bytes
            if batch and size > self._bytes_max:
                break
            waiting = pending.popleft()
            self._pending_bytes -= waiting.size_bytes
            if not waiting.stored.done():
                batch.append(waiting)
        self._wake()
        return batch

    async def _send(self, waiting: list[_Waiting]) -> None:
        batch = AppendBatch(self._local.node_id, self._next_number(), [each.message for each in waiting])
        self._in_doubt = False
        self._last = None
        failed = 0
        while True:
            try:
                self._calling = True
                async with asyncio.timeout(None) as self._limit:
                    await self._keeper.append(batch)
            except TimeoutError as error:
                if not isinstance(error, InahoError):
                    return  # `tick` has given the batch up
                failure: InahoError = error
            except Exception as error:
                failure = as_known(error)
            else:
                if self._drop:
                    self._home = self._owner()
                self.sent += len(waiting)
                self._numbers.published += len(waiting)
                self._numbers.batches += 1
                for each in waiting:
                    if not each.stored.done():
                        each.stored.set_result(None)
                return
            finally:
                self._calling = False
                self._limit = None
            self._in_doubt = self._in_doubt or (failure.maybe_executed and failure.code not in _REFUSED)
            if not self._passes(failure):
                self._fail(waiting, failure, self._in_doubt)
                return
            self._last = failure
            del failure
            failed += 1
            self.repeated += 1
            await self._topology.wait(back_off_s(_FIRST_PAUSE_S, _PAUSE_MAX_S, failed))
            if all(each.stored.done() for each in waiting):
                return

    def _passes(self, error: InahoError) -> bool:
        """Whether the batch is to be sent again."""
        if self._local.closing:
            return False
        if self._drop:
            return error.code in MOVING
        return may_pass(error)

    def _fail(self, waiting: list[_Waiting], error: InahoError, maybe_executed: bool) -> None:
        for each in waiting:
            if not each.stored.done():
                own = copy(error)  # each publisher raises its own: raising adds to the traceback
                own.maybe_executed = maybe_executed
                each.stored.set_exception(own)

    # Time.

    def tick(self, now: float) -> None:
        """Ends the waiting of publishers whose time has passed, or whose log is cut off."""
        if self._drop and self._is_cut_off(now):
            reason = "the node that keeps the log cannot be reached, and the topic drops messages then"
            self._give_up(Unreachable(reason, identity=f"{KEEPER}/{self._key}"))
            return
        pending = self._pending
        while pending and pending[0].deadline <= now:
            late = pending.popleft()
            self._pending_bytes -= late.size_bytes
            self._fail([late], self._timed_out(False), False)
        late_ones = [each for each in self._batch if each.deadline <= now and not each.stored.done()]
        if late_ones:
            in_doubt = self._in_doubt or self._calling
            self._fail(late_ones, self._timed_out(in_doubt), in_doubt)
            if all(each.stored.done() for each in self._batch):
                self._end_attempt()
        self._wake()

    def close(self) -> None:
        """The node stops: whoever waits gets `ShuttingDown`."""
        while self._room:
            room = self._room.popleft()
            if not room.done():
                room.set_exception(ShuttingDown("this node has stopped before there was room for the message"))
        self._give_up(ShuttingDown(STOPPED))
        if self._sender is not None and self._sender.done():  # it was cancelled before its first step
            self._sender = None
            del self._busy[self]

    def _give_up(self, error: InahoError) -> None:
        self._fail(self._batch, error, self._in_doubt or self._calling)
        self._fail(list(self._pending), error, False)
        self._pending.clear()
        self._pending_bytes = 0
        self._end_attempt()
        self._wake()

    def _end_attempt(self) -> None:
        if self._limit is not None:
            self._limit.reschedule(self._local.loop.time())

    def _owner(self) -> str:
        try:
            return self._topology.lookup.owner(KEEPER, self._key).authority
        except InahoError:
            return ""  # nobody owns it for now: the next call says why

    def _is_cut_off(self, now: float) -> bool:
        """Whether messages wait because the node that has kept the log cannot be reached."""
        first = self._batch or self._pending
        if not first or first[0].deadline - self._timeout_s + CUT_OFF_S > now:
            return False
        member = self._topology.member(self._home)
        return member is not None and member.status is MemberStatus.UNREACHABLE

    def _timed_out(self, maybe_executed: bool) -> Timeout:
        why = "" if self._last is None else f": {describe(self._last)}"
        return Timeout(
            f"the message was not acknowledged within {self._timeout_s:g} s (pubsub.publish_timeout_s){why}",
            identity=f"{KEEPER}/{self._key}",
            maybe_executed=maybe_executed,
        )
