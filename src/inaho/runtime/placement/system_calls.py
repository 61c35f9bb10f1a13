"""Calls a system actor on one given node.

A system actor is on every member under the same kind and key, so there is nothing to place, to look up or to retry
elsewhere: the caller names the node. Connection, deadline, cancellation and errors are those of any call.

Why not a reference as for grains: a reference follows its identity from node to node, but these requests are for one
node.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from inaho.runtime.connections.outgoing import STREAM_TIMEOUT_S
from inaho.runtime.turns.streams import StreamReceiver

if TYPE_CHECKING:
    from inaho.runtime.activation.kind_host import KindHost
    from inaho.runtime.connections.outgoing import Outgoing
    from inaho.runtime.connections.peers import Peers
    from inaho.runtime.grains.grain import Grain
    from inaho.runtime.grains.method import GrainMethod
    from inaho.runtime.local.local_node import LocalNode

__all__ = ["NodePlace", "SystemCalls"]

Answer = TypeVar("Answer")
Item = TypeVar("Item")


class NodePlace(Protocol):
    """One process of the cluster: a `Member`, a `Pid`, a `PreviousOwner`."""

    @property
    def authority(self) -> str:
        """`host:port`."""
        ...

    @property
    def node_id(self) -> str:
        """Of the process; another process at the authority is not called."""
        ...


class SystemCalls:
    """Calls one system actor, on any node.

    Args:
        local: this node, a member or a client.
        peers: gives the connections.
        hosts: kinds of this node, by name.
        actor: class of the system actor.
        key: of its one activation on each node.
    """

    def __init__(
        self, local: LocalNode, peers: Peers, hosts: Mapping[str, KindHost], actor: type[Grain[Any]], key: str
    ) -> None:
        self._local = local
        self._peers = peers
        self._hosts = hosts
        self._kind = actor.inaho_kind
        self._key = key

    async def ask(
        self,
        place: NodePlace,
        function: Callable[..., Coroutine[Any, Any, Answer]],
        *arguments: Any,
        timeout_s: float | None = None,
    ) -> Answer:
        """Calls the actor of that node.

        Args:
            place: the node.
            function: method of the actor's class.
            arguments: positional and complete.
            timeout_s: for the answer, once connected; `rpc.timeout_s` unless given. At most the limit of the method.

        Returns:
            What the method returned.

        Raises:
            Unreachable: the node cannot be reached, or another process is there now.
            Quarantined: nothing is sent to it.
            InahoError: as any call.
        """
        if place.node_id == self._local.node_id:
            own: Answer = await self._here(function)(*arguments)
            return own
        connection = await self._peers.connect(place.authority, place.node_id)
        future, correlation = self.send(connection, function, *arguments, within_s=timeout_s or self._local.timeout_s)
        try:
            answer: Answer = await future
        except asyncio.CancelledError:
            connection.cancel(correlation)
            raise
        return answer

    def send(
        self, connection: Outgoing, function: Callable[..., Any], *arguments: Any, within_s: float
    ) -> tuple[asyncio.Future[Any], int]:
        """Sends a call on that connection, in this step of the loop.

        Args:
            connection: open.
            function, arguments: as for `ask`.
            within_s: until the deadline of the call, seconds.

        Returns:
            The future of its answer, and its correlation for `connection.cancel`.

        Raises:
            InahoError: the connection takes no call.
        """
        future: asyncio.Future[Any] = self._local.loop.create_future()
        now = self._local.loop.time()
        return future, connection.call(self._method(function), self._key, arguments, future, now + within_s, now)

    async def stream(
        self, place: NodePlace, function: Callable[..., AsyncIterator[Item]], *arguments: Any
    ) -> AsyncGenerator[Item]:
        """Opens a stream of the actor of that node; it lasts until one of the two ends it.

        Args:
            place, function, arguments: as for `ask`.

        Raises:
            InahoError: as `ask`, and when the node is gone.
        """
        if place.node_id == self._local.node_id:
            async with aclosing(self._here(function)(*arguments)) as items:
                async for item in items:
                    yield item
            return
        connection = await self._peers.connect(place.authority, place.node_id)
        method = self._method(function)
        receiver = StreamReceiver(method, self._key, self._local.loop)
        deadline = self._local.loop.time() + STREAM_TIMEOUT_S
        connection.open_stream(method, self._key, arguments, receiver, deadline, 0, b"")
        try:
            while chunk := await receiver.next_chunk():
                for item in chunk:
                    yield item
                receiver.acknowledge(len(chunk))
        finally:
            receiver.close()

    def _method(self, function: Callable[..., Any]) -> GrainMethod:
        return self._kind.methods[function.__name__]

    def _here(self, function: Callable[..., Any]) -> Any:
        return getattr(self._hosts[self._kind.name].activations[self._key], function.__name__)
