"""The PostgreSQL back end passes the conformance suite, on a real server."""

from __future__ import annotations

import pytest

from inaho.testing.provider_conformance import ProviderConformance
from support.provider_back_ends.postgresql import PostgresBackEnd
from support.topology_servers import PostgresTopologyServer

pytestmark = pytest.mark.integration


class TestPostgresProvider(ProviderConformance):
    test_a_position_that_is_lost_ends_the_watch = None  # a table has no history

    ttl_s = 0.2

    @pytest.fixture
    def back_end(self, postgres_topology: PostgresTopologyServer, prefix: str) -> PostgresBackEnd:
        return PostgresBackEnd(postgres_topology, prefix)

    @pytest.fixture
    def make_provider(self, back_end: PostgresBackEnd):
        return back_end.provider
