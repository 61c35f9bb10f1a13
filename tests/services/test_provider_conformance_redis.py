"""The Redis back end passes the conformance suite, on a real server."""

from __future__ import annotations

import pytest

from inaho.testing.provider_conformance import (
    HistoryConformance,
    LifeConformance,
    RecordConformance,
    RegistrationConformance,
)
from support.provider_back_ends.redis import RedisBackEnd
from support.topology_servers import RedisTopologyServer

pytestmark = pytest.mark.integration


class TestRedisProvider(RegistrationConformance, RecordConformance, HistoryConformance, LifeConformance):
    """There is no watch."""

    ttl_s = 0.2

    @pytest.fixture
    def back_end(self, redis_topology: RedisTopologyServer, prefix: str) -> RedisBackEnd:
        return RedisBackEnd(redis_topology, prefix)

    @pytest.fixture
    def make_provider(self, back_end: RedisBackEnd):
        return back_end.provider
