"""Opening streams: retried like calls until the first items have come, and never after.

Streams have no order among each other or with calls: a streaming method runs beside the turns of its activation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from inaho.core.rpc.retry import Tries
from inaho.errors import InahoError
from inaho.runtime.grains.turn import Scope, Turn
from inaho.runtime.turns.streams import LocalSink, StreamProducer, StreamReceiver

if TYPE_CHECKING:
    from inaho.runtime.calls.cluster_context import ClusterContext
    from inaho.runtime.calls.reference import Reference
    from inaho.runtime.grains.method import GrainMethod
    from inaho.runtime.node.node import Node

__all__ = ["StreamCalls"]


class StreamCalls:
    """Opens the streams that one node consumes.

    Args:
        node: this node.
        context: resolves, and decides on retries.
    """

    def __init__(self, node: Node, context: ClusterContext) -> None:
        self._node = node
        self._local = node.local
        self._topology = node.topology
        self._context = context

    async def open(
        self, reference: Reference, method: GrainMethod, arguments: tuple[Any, ...], scope: Scope | Turn | None
    ) -> tuple[StreamReceiver, list[Any]]:
        """Opens a stream and waits for its first items; until they come it is retried like a call."""
        deadline = self._context.deadline(reference, method, scope)
        tries = Tries()
        while True:
            receiver = StreamReceiver(method, reference._inaho_key, self._local.loop)
            try:
                await self._open(receiver, reference, method, arguments, scope, deadline, again=tries.failed > 0)
                return receiver, await receiver.next_chunk()
            except InahoError as error:
                receiver.close()
                await self._topology.wait(self._context.judge(reference, method, error, tries, deadline))
            except BaseException:
                receiver.close()
                raise

    async def _open(
        self,
        receiver: StreamReceiver,
        reference: Reference,
        method: GrainMethod,
        arguments: tuple[Any, ...],
        scope: Scope | Turn | None,
        deadline: float,
        *,
        again: bool,
    ) -> None:
        host, key = reference._inaho_host, reference._inaho_key
        grain = host.activations.get(key)
        if grain is None:
            connection = self._context.next_connection(host, method) if host.spread else None
            if connection is None:
                connection = await self._context.within(deadline, self._context.reach(host, key, again=again))
            if connection is not None:
                flags, fields = self._context.fields(scope, deadline, self._local.loop.time(), method)
                connection.open_stream(method, key, arguments, receiver, deadline, flags, fields)
                return
            grain = host.activations.get(key)
            if grain is None:
                grain = host.activate(key)
        turn = Turn(method, grain, method.copy_arguments(arguments, key, host), None, 0, deadline)
        if scope is not None and scope.turn is not None:
            self._node.runner.chains.extend(turn, scope.turn)
        transport = self._local.config.transport
        receiver.decode = method.bounded_result_decoder(transport.containers_max)
        sink = LocalSink(receiver, turn, transport.frame_bytes_max)
        producer = StreamProducer(turn, sink, self._local.config.rpc, self._local.loop)
        receiver.attach(producer.consumed, lambda: turn.cancel("caller"))
        limit = self._local.loop.call_at(deadline, sink.expire)
        host.streams.start(producer, done=limit.cancel)
