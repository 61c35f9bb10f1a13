"""Calls of system actors: one given node is asked, whoever owns whatever.

A system actor is on every member under the same kind and key, so there is nothing to place, to look up or to retry
elsewhere: the caller names the node. All the rest is that of any call: connection, deadline, cancellation, errors.

Why not a reference as for grains: a reference follows its identity from node to node, which is the one thing that a
question to a node must not do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from inaho.runtime.connections.outgoing import STREAM_TIMEOUT_S
from inaho.runtime.turns.streams import StreamReceiver

if TYPE_CHECKING:
    from inaho.runtime.grains.method import GrainMethod
    from inaho.runtime.node.node import Node

__all__ = ["ask_system_actor", "stream_system_actor"]


async def ask_system_actor(
    node: Node,
    authority: str,
    node_id: str,
    method: GrainMethod,
    key: str,
    arguments: tuple[Any, ...],
    *,
    timeout_s: float | None = None,
) -> Any:
    """Calls a system actor of that very node.

    Args:
        node: this node, a member or a client.
        authority: of the member that is asked.
        node_id: of its process; another one at the authority is not asked.
        method: of the system kind.
        key: of the one activation of that kind.
        arguments: positional and complete.
        timeout_s: for the answer, once it is connected; `rpc.timeout_s` unless given. Not longer than the method's.

    Raises:
        Unreachable: it cannot be reached, or another process lives there now.
        Quarantined: nothing is sent to it.
        InahoError: as any call.
    """
    if node_id == node.local.node_id:
        return await getattr(node.hosts[method.kind].activations[key], method.name)(*arguments)
    connection = await node.peers.connect(authority, node_id)
    future: asyncio.Future[Any] = node.local.loop.create_future()
    now = node.local.loop.time()
    deadline = now + (timeout_s or node.local.timeout_s)
    correlation = connection.call(method, key, arguments, future, deadline, now)
    try:
        return await future
    except asyncio.CancelledError:
        connection.cancel(correlation)
        raise


async def stream_system_actor(
    node: Node, authority: str, node_id: str, method: GrainMethod, key: str, arguments: tuple[Any, ...]
) -> AsyncGenerator[Any]:
    """Opens a stream of a system actor of that very node; it lasts until one of the two ends it.

    Args:
        node, authority, node_id, method, key, arguments: as for `ask_system_actor`.

    Raises:
        InahoError: as `ask_system_actor`, and when the node is gone.
    """
    if node_id == node.local.node_id:
        async with aclosing(getattr(node.hosts[method.kind].activations[key], method.name)(*arguments)) as items:
            async for item in items:
                yield item
        return
    connection = await node.peers.connect(authority, node_id)
    receiver = StreamReceiver(method, key, node.local.loop)
    connection.open_stream(method, key, arguments, receiver, node.local.loop.time() + STREAM_TIMEOUT_S, 0, b"")
    try:
        while chunk := await receiver.next_chunk():
            for item in chunk:
                yield item
            receiver.acknowledge(len(chunk))
    finally:
        receiver.close()
