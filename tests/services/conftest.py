"""Fixtures of this folder: real servers, one of each for a process of the tests, ended whatever happens.

Where a service is not installed its tests skip with the reason, and fail where `CI=true` says that nothing may be
missing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

from support.dns_server import DnsmasqServer
from support.kubernetes_server import KubernetesServer
from support.service_servers import Missing, PostgresServer, RedisNodes, RedisServer, Server

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


@pytest.fixture(params=["redis", "postgres"])
def server(request: pytest.FixtureRequest) -> Server:
    """Each server that keeps what it has acknowledged."""
    found: Server = request.getfixturevalue(f"{request.param}_server")
    return found


@pytest.fixture(scope="session")
def dnsmasq_server() -> Iterator[DnsmasqServer]:
    """dnsmasq with one zone."""
    yield from running(DnsmasqServer)
