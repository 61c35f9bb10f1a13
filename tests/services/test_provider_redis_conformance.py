"""The provider in Redis passes the conformance suite."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from inaho.providers.base import TopologyProvider
from inaho.testing.provider_conformance import BackEnd, ProviderConformance
from support.topology_servers import RedisTopologyServer, TopologyProviders

pytestmark = pytest.mark.integration


class _Redis(BackEnd):
    def __init__(self, server: RedisTopologyServer, prefix: str) -> None:
        self._server = server
        self._prefix = prefix

    async def write_member(self, authority: str, text: str) -> None:
        self._server.write(authority, text, self._prefix)

    async def remove_member(self, authority: str) -> None:
        self._server.expire(authority, self._prefix)

    async def block(self, authority: str) -> None:
        self._server.block(authority, self._prefix)

    async def unblock(self, authority: str) -> None:
        self._server.unblock(authority, self._prefix)


class TestRedisProvider(ProviderConformance):
    ttl_s = 0.2

    @pytest.fixture
    def back_end(self, redis_topology: RedisTopologyServer, prefix: str) -> BackEnd:
        return _Redis(redis_topology, prefix)

    @pytest.fixture
    def make_provider(
        self, redis_topology: RedisTopologyServer, providers: TopologyProviders, prefix: str
    ) -> Callable[[int], TopologyProvider]:
        return lambda host: providers.make(f"{redis_topology.url}/{prefix}", timeout_s=5.0, cluster="conformance")
