"""Calls of system actors: one given node is asked, whoever owns whatever.

A system actor is on every member under the same kind and key, so there is nothing to place, to look up or to retry
elsewhere: the caller names the node. All the rest is that of any call: connection, deadline, cancellation, errors.

Why not a reference as for grains: a reference follows its identity from node to node, which is the one thing that a
question to a node must not do.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inaho.runtime.method import GrainMethod
    from inaho.runtime.node import Node

__all__ = ["ask_system_actor"]


async def ask_system_actor(
    node: Node, authority: str, node_id: str, method: GrainMethod, key: str, arguments: tuple[Any, ...]
) -> Any:
    """Calls a system actor of that very node, within `rpc.timeout_s` once it is connected.

    Args:
        node: this node, a member or a client.
        authority: of the member that is asked.
        node_id: of its process; another one at the authority is not asked.
        method: of the system kind.
        key: of the one activation of that kind.
        arguments: positional and complete.

    Raises:
        Unreachable: it cannot be reached, or another process lives there now.
        Quarantined: nothing is sent to it.
        InahoError: as any call.
    """
    if node_id == node.node_id:
        return await getattr(node.hosts[method.kind].activations[key], method.name)(*arguments)
    connection = await node.peers.connect(authority, node_id)
    future: asyncio.Future[Any] = node.loop.create_future()
    now = node.loop.time()
    correlation = connection.call(method, key, arguments, future, now + node.timeout_s, now)
    try:
        return await future
    except asyncio.CancelledError:
        connection.cancel(correlation)
        raise
