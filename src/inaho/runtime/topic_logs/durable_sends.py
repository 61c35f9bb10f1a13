"""The sender's side of durable sends: gathers them, and hands them to the keepers of their partitions.

Sends to one partition that are made while a request to its keeper is under way go together in the next one. So the
order of a sender is kept even when a request is repeated, and many senders of one process share the cost of a call and
of an append. Why not one request each: they could overtake each other.
"""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Final

import msgspec

from inaho.core.pubsub.arguments import is_number, is_text
from inaho.core.pubsub.send_records import DurableSend, NewSend
from inaho.core.pubsub.stored_sends import DELAY_MAX_S
from inaho.errors import InvalidArguments, MessageTooLarge, Overloaded, ShuttingDown
from inaho.runtime.calls.sends import sent_method
from inaho.runtime.topic_logs.send_keeper import SendKeeper
from inaho.runtime.topic_logs.send_partition import partition_of
from inaho.wire.codec import DECODE_ERRORS

if TYPE_CHECKING:
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.topic_logs.send_calls import SendCalls

__all__ = ["DurableSends"]

ID_CHARS_MAX: Final = 200
"""Longest id of a send."""

SEND_BYTES: Final = 300
"""Bytes of a send in a request beside its arguments and key, at most."""

REQUEST_SENDS_MAX: Final = 256
"""Sends in one request."""


class _Waiting(msgspec.Struct, eq=False):
    """A send and who waits for it."""

    send: NewSend
    future: asyncio.Future[DurableSend]


class _Lane:
    """The sends of this node to one partition."""

    def __init__(self) -> None:
        self.waiting: deque[_Waiting] = deque()
        self.running = False


class DurableSends:
    """The durable sends of one node.

    Args:
        local: the node; `rpc.sends_max` bounds the sends under way.
        calls: to keepers.
    """

    def __init__(self, local: LocalNode, calls: SendCalls) -> None:
        self._local = local
        self._calls = calls
        self._lanes: dict[str, _Lane] = {}
        self._under_way = 0
        self._sequence = 0

    def keeper(self, partition: str) -> SendKeeper:
        """A reference to the keeper of that partition."""
        keeper: SendKeeper = self._calls.keeper(SendKeeper.inaho_kind, partition)
        return keeper

    def keeper_of(self, kind: str, key: str) -> SendKeeper:
        """A reference to the keeper of the sends to that grain."""
        return self.keeper(partition_of(kind, key, self._local.config.pubsub.send_partitions))

    @property
    def partitions(self) -> list[str]:
        """Keys of all keepers."""
        return [str(number) for number in range(self._local.config.pubsub.send_partitions)]

    def send(
        self,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        named: dict[str, Any],
        *,
        after_s: float,
        name: str,
    ) -> asyncio.Future[DurableSend]:
        """See `Cluster.send`: stores the call of `function` with `arguments` and `named`. `name` is its id."""
        reference, method = sent_method(function)
        host, key = reference._inaho_host, reference._inaho_key
        identity = f"{host.name}/{key}"
        self._local.check_here(identity)
        if not is_number(after_s, 0, DELAY_MAX_S - 1):
            raise InvalidArguments(f"after must be in 0..{DELAY_MAX_S:.0e} seconds, not {after_s!r}", identity=identity)
        if not is_text(name, ID_CHARS_MAX):
            raise InvalidArguments(
                f"the id of a send is text of at most {ID_CHARS_MAX} characters, not {name!r}", identity=identity
            )
        if self._under_way >= self._local.config.rpc.sends_max:
            raise Overloaded(f"{self._under_way} durable sends are under way (rpc.sends_max)", identity=identity)
        body = method.encode_arguments(key, method.bind(reference, arguments, named))
        size_max = self._local.config.pubsub.message_bytes_max
        if len(body) > size_max:
            raise MessageTooLarge(
                f"the arguments have {len(body)} bytes, and pubsub.message_bytes_max is {size_max}", identity=identity
            )
        try:
            method.bounded_arguments_decoder(method.arity, self._local.config.transport.containers_max)(body)
        except DECODE_ERRORS as error:
            raise method.invalid_arguments(error, key) from error
        new = NewSend(host.name, key, method.name, method.arity, body, float(after_s), name)
        return self._hand_over(new)

    def _hand_over(self, new: NewSend) -> asyncio.Future[DurableSend]:
        future: asyncio.Future[DurableSend] = self._local.loop.create_future()
        partition = partition_of(new.kind, new.key, self._local.config.pubsub.send_partitions)
        lane = self._lanes.get(partition)
        if lane is None:
            lane = self._lanes[partition] = _Lane()
        lane.waiting.append(_Waiting(new, future))
        self._under_way += 1
        if not lane.running:
            lane.running = True
            running = self._local.spawn(self._run(partition, lane), name="inaho-durable-sends")
            running.add_done_callback(lambda task: self._over(lane) if task.cancelled() else None)
        return future

    def _over(self, lane: _Lane) -> None:
        """The node stops, perhaps before the first step of the Task of the lane."""
        lane.running = False
        self._end(lane.waiting, ShuttingDown("the node stopped before the send was stored"))
        lane.waiting.clear()

    async def _run(self, partition: str, lane: _Lane) -> None:
        """One request after another, until nothing waits. The first step is in the next iteration of the loop."""
        keeper = self.keeper(partition)
        group: list[_Waiting] = []
        try:
            while lane.waiting:
                group = _next_group(lane.waiting, self._local.config.transport.frame_bytes_max // 2)
                sequence = self._sequence + 1
                self._sequence += len(group)
                try:
                    handles = await keeper.put(self._local.node_id, sequence, [each.send for each in group])
                except Exception as error:
                    self._end(group, error)
                else:
                    self._end(group, handles)
                group = []
        except asyncio.CancelledError:
            stopped = ShuttingDown("the node stopped before it was known that the send is stored", maybe_executed=True)
            self._end(group, stopped)
            raise
        finally:
            lane.running = False

    def _end(self, group: Collection[_Waiting], outcome: list[DurableSend] | Exception) -> None:
        self._under_way -= len(group)
        for index, each in enumerate(group):
            if each.future.done():  # the sender does not wait any more
                continue
            if isinstance(outcome, Exception):
                each.future.set_exception(copy.copy(outcome))
            else:
                each.future.set_result(outcome[index])


def _next_group(waiting: deque[_Waiting], bytes_max: int) -> list[_Waiting]:
    """The sends of the next request: at least one, and no further one beyond `bytes_max`."""
    group: list[_Waiting] = []
    size = 0
    while waiting and len(group) < REQUEST_SENDS_MAX:
        send = waiting[0].send
        size += len(send.body) + 4 * len(send.key) + SEND_BYTES
        if group and size > bytes_max:
            break
        group.append(waiting.popleft())
    return group
