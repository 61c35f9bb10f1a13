"""The other members of `event_loop_stalls.py`: one process that answers for a thousand authorities.

It binds all addresses of the loopback network. Who connects to 127.1.2.3 talks to the member of that address, whose
node id follows from it. Behind all of them is one real node, which hosts the same kinds, holds no activation, and is
told every topology by a line on its standard input: it answers what a member with nothing to hand over answers.
"""

from __future__ import annotations

import asyncio
import base64
import sys
from typing import Any

import inaho
from inaho import ClusterConfig, Grain
from inaho.runtime.connections.handshake import HandshakeProtocol
from inaho.types import TopologySnapshot
from inaho.wire.codec import decoder
from inaho.wire.handshake import NONCE_BYTES, Handshake, HandshakeConfig

_decode = decoder(TopologySnapshot)


class Everywhere(Grain):
    async def touch(self) -> int:
        return 1


def kind(number: int, *, placed: bool) -> type[Any]:
    """One of the kinds: of a role of its own, so that each has other hosts."""
    options: dict[str, Any] = {"placement": "least_loaded"} if placed else {}

    async def touch(self: Any) -> int:
        return 1

    namespace = {"touch": touch, "__module__": __name__, "__qualname__": f"Kind{number}"}
    return type(Grain)(f"Kind{number}", (Grain,), namespace, **options)


KINDS: tuple[type[Any], ...] = (Everywhere, *(kind(number, placed=number >= 7) for number in range(1, 10)))


def kinds_of(number: int) -> tuple[str, ...]:
    """Kinds that the member of that number hosts: nine in ten, each member others."""
    left_out = number % len(KINDS)
    return tuple(sorted(each.inaho_kind.name for at, each in enumerate(KINDS) if not at or at != left_out))


def face_id(address: str) -> str:
    """Node id of the member at an address."""
    return "".join(f"{int(part):04x}" for part in address.split("."))


class Face(asyncio.Protocol):
    """An accepted connection until it is known to which member it was made."""

    def __init__(self, node: Any) -> None:
        self._node = node

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        address, port = transport.get_extra_info("sockname")[:2]
        node = self._node
        local = HandshakeConfig(
            cluster=node.local.config.name, node_id=face_id(address), authority=f"{address}:{port}", incarnation=1
        )
        handshake = HandshakeProtocol(
            Handshake("acceptor", local, node.local.entropy.token(NONCE_BYTES)),
            timeout_s=node.local.config.transport.handshake_timeout_s,
            established=node.acceptor._accepted,
            failed=node.acceptor._refused,
        )
        transport.set_protocol(handshake)
        handshake.connection_made(transport)


async def main() -> None:
    config = ClusterConfig(authority="127.0.0.1:0")
    async with inaho.join(config=config, grains=KINDS, storage="memory") as cluster:
        node: Any = cluster._node
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Face(node), "0.0.0.0", 0, backlog=2_048)
        print(server.sockets[0].getsockname()[1], flush=True)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            snapshot = _decode(base64.b64decode(line))
            node.topology.snapshot = snapshot
            node.topology.lookup.update_topology(snapshot)
            node.topology.wake()
            print("told", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
