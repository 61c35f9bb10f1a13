"""Fixtures of this folder: real servers, one of each for a process of the tests, ended whatever happens.

Where a service is not installed its tests skip with the reason, and fail where `CI=true` says that nothing may be
missing.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TypeVar

import pytest

from support.consul_servers import ConsulServer
from support.dns_server import DnsmasqServer
from support.etcd_server import EtcdServer
from support.gate import Gate
from support.kubernetes_server import KubernetesServer
from support.provider_back_ends.base import ServedBackEnd
from support.provider_back_ends.servers import SERVERS
from support.service_servers import Missing, PostgresServer, RedisNodes, RedisServer, Server
from support.topology_servers import PostgresTopologyServer, RedisTopologyServer, TopologyProviders

Running = TypeVar("Running", bound="Server | RedisNodes")


def running(make: Callable[[], Running]) -> Iterator[Running]:
    """A server for as long as the generator lives."""
    try:
        server = make()
    except Missing as missing:
        if os.environ.get("CI") == "true":
            pytest.fail(str(missing))
        pytest.skip(str(missing))
    try:
        server.start()
        yield server
    finally:
        server.end()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Server]:
    """Redis."""
    yield from running(RedisServer)


@pytest.fixture(scope="session")
def redis_cluster_server() -> Iterator[Server]:
    """A Redis Cluster of one node."""
    yield from running(lambda: RedisServer(clustered=True))


@pytest.fixture(scope="module")
def redis_nodes() -> Iterator[RedisNodes]:
    """A Redis Cluster of three primaries, and a replica of the first."""
    yield from running(lambda: RedisNodes(3))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """PostgreSQL."""
    yield from running(PostgresServer)


@pytest.fixture(scope="session")
def kubernetes_process() -> Iterator[KubernetesServer]:
    """The double of the Kubernetes API server."""
    yield from running(KubernetesServer)


@pytest.fixture
def kubernetes_server(kubernetes_process: KubernetesServer) -> KubernetesServer:
    """The double, empty and without faults."""
    if not kubernetes_process.runs:
        kubernetes_process.start()
    kubernetes_process.order("reset")
    return kubernetes_process


@pytest.fixture(scope="session")
def _consul() -> Iterator[ConsulServer]:
    yield from running(ConsulServer)


@pytest.fixture
def consul_server(_consul: ConsulServer) -> ConsulServer:
    """The double of Consul, empty and without faults."""
    _consul.clear()
    return _consul


@pytest.fixture(scope="session")
def _redis_topology() -> Iterator[RedisTopologyServer]:
    yield from running(RedisTopologyServer)


@pytest.fixture
def redis_topology(_redis_topology: RedisTopologyServer) -> RedisTopologyServer:
    """Redis for providers, empty."""
    _redis_topology.clear()
    return _redis_topology


@pytest.fixture(scope="session")
def _postgres_topology() -> Iterator[PostgresTopologyServer]:
    yield from running(PostgresTopologyServer)


@pytest.fixture
def postgres_topology(_postgres_topology: PostgresTopologyServer) -> PostgresTopologyServer:
    """PostgreSQL for providers, without a table."""
    _postgres_topology.clear()
    return _postgres_topology


@pytest.fixture(params=["redis", "postgres"])
def topology_server(request: pytest.FixtureRequest) -> RedisTopologyServer | PostgresTopologyServer:
    """Each of these servers."""
    found: RedisTopologyServer | PostgresTopologyServer = request.getfixturevalue(f"{request.param}_topology")
    return found


@pytest.fixture
async def providers(request: pytest.FixtureRequest) -> AsyncIterator[TopologyProviders]:
    """Makes providers of the server that the test uses, and closes them at its end."""
    names = [each for each in request.fixturenames if each.endswith("topology") or each == "topology_server"]
    made = TopologyProviders(request.getfixturevalue(names[0]))
    yield made
    await made.close()


@pytest.fixture(scope="session")
def etcd_server() -> Iterator[Server]:
    """etcd."""
    yield from running(EtcdServer)


@pytest.fixture(params=["redis", "postgres"])
def server(request: pytest.FixtureRequest) -> Server:
    """Each server that keeps what it has acknowledged."""
    found: Server = request.getfixturevalue(f"{request.param}_server")
    return found


@pytest.fixture(scope="session")
def dnsmasq_server() -> Iterator[DnsmasqServer]:
    """dnsmasq with one zone."""
    yield from running(DnsmasqServer)


@pytest.fixture(params=SERVERS)
def served_back_end(request: pytest.FixtureRequest) -> ServedBackEnd:
    """Each back end of providers that has a server, at a prefix of its own."""
    kind, server = SERVERS[request.param]
    return kind(request.getfixturevalue(server), f"test-{secrets.token_hex(6)}")


@pytest.fixture
async def gate(served_back_end: ServedBackEnd) -> AsyncIterator[Gate]:
    """A gate in front of that server."""
    async with Gate.to_port(served_back_end.port) as gate:
        yield gate
