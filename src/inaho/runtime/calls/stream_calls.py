"""Opens streams: retried like calls until the first items have arrived, and never after.

Streams have no order among each other or with calls: a streaming method runs beside the turns of its activation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from inaho.core.rpc.retry import Tries
from inaho.errors import InahoError
from inaho.runtime.calls.retrying import within
from inaho.runtime.grains.activation import Scope, Turn
from inaho.runtime.turns.streams import LocalSink, StreamProducer, StreamReceiver

if TYPE_CHECKING:
    from inaho.runtime.calls.request import Callee, Request
    from inaho.runtime.calls.resolver import Resolver
    from inaho.runtime.calls.retrying import Retrying
    from inaho.runtime.grains.method import GrainMethod
    from inaho.runtime.local.local_node import LocalNode
    from inaho.runtime.local.topology import Topology
    from inaho.runtime.turns.call_chain import CallChains

__all__ = ["StreamCalls"]


class StreamCalls:
    """Opens the streams that one node consumes.

    Args:
        local: this node.
        topology: of this node.
        chains: which turn waits for which.
        resolver: finds connections.
        retrying: decides about the next attempt.
    """

    def __init__(
        self, local: LocalNode, topology: Topology, chains: CallChains, resolver: Resolver, retrying: Retrying
    ) -> None:
        self._local = local
        self._topology = topology
        self._chains = chains
        self._resolver = resolver
        self._retrying = retrying

    async def open(
        self, callee: Callee, method: GrainMethod, arguments: tuple[Any, ...], scope: Scope | Turn | None
    ) -> tuple[StreamReceiver, list[Any]]:
        """Opens a stream and waits for its first items; until they arrive it is retried like a call."""
        await self._local.pauses.noticed()
        request = self._retrying.begin(callee, method, arguments, scope)
        tries = Tries()
        while True:
            receiver = StreamReceiver(method, request.key, self._local.loop)
            try:
                await self._open(receiver, request, again=tries.failed > 0)
                return receiver, await receiver.next_chunk()
            except InahoError as error:
                receiver.close()
                await self._topology.wait(self._retrying.judge(request, error, tries))
            except BaseException:
                receiver.close()
                raise

    async def _open(self, receiver: StreamReceiver, request: Request, *, again: bool) -> None:
        host, key, method = request.host, request.key, request.method
        arguments, deadline, scope = request.arguments, request.deadline, request.scope
        grain = host.activations.get(key)
        if grain is None:
            connection = self._resolver.next_connection(host, method) if host.spread else None
            if connection is None:
                connection = await within(deadline, self._resolver.reach(host, key, again=again))
            if connection is not None:
                flags, fields = self._retrying.fields(request, deadline, self._local.loop.time())
                connection.open_stream(method, key, arguments, receiver, deadline, flags, fields)
                return
            grain = host.activations.get(key)
            if grain is None:
                grain = host.activate(key)
        turn = Turn(method, grain, method.copy_arguments(arguments, key, host), None, 0, deadline)
        if scope is not None and scope.turn is not None:
            self._chains.extend(turn, scope.turn)
        transport = self._local.config.transport
        receiver.decode = method.bounded_result_decoder(transport.containers_max)
        sink = LocalSink(receiver, turn, transport.frame_bytes_max)
        producer = StreamProducer(turn, sink, self._local.config.rpc, self._local.loop)
        receiver.attach(producer.consumed, lambda: turn.cancel("caller"))
        limit = self._local.loop.call_at(deadline, sink.expire)
        host.streams.start(producer, done=limit.cancel)
