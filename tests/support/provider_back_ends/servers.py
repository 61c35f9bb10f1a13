"""All back ends with a server, and the faults that each of them can have."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from support.gate import Gate, Mode
from support.provider_back_ends.base import ServedBackEnd
from support.provider_back_ends.consul import ConsulBackEnd
from support.provider_back_ends.etcd import EtcdBackEnd
from support.provider_back_ends.kubernetes import KubernetesBackEnd
from support.provider_back_ends.postgresql import PostgresBackEnd
from support.provider_back_ends.redis import RedisBackEnd

SERVERS: Final[dict[str, tuple[type[ServedBackEnd], str]]] = {
    "consul": (ConsulBackEnd, "consul_server"),
    "etcd": (EtcdBackEnd, "etcd_server"),
    "kubernetes": (KubernetesBackEnd, "kubernetes_server"),
    "postgresql": (PostgresBackEnd, "postgres_topology"),
    "redis": (RedisBackEnd, "redis_topology"),
}
"""By back end its class and the fixture of its server."""

FAULTS: Final = ("killed", "paused", "silent", "hangs up", "garbage")


@asynccontextmanager
async def fault(name: str, back_end: ServedBackEnd, gate: Gate) -> AsyncIterator[None]:
    """The fault for as long as the context is open."""
    server = back_end.process
    if name == "killed":
        server.kill()
    elif name == "paused":
        server.pause()
    else:
        gate.set(Mode(name))
    try:
        yield
    finally:
        if name == "killed":
            server.start()
        elif name == "paused":
            server.resume()
        gate.set(Mode.PASS)
