"""The Consul back end passes the conformance suite, against the double of Consul."""

from __future__ import annotations

import pytest

from inaho.testing.provider_conformance import ProviderConformance
from inaho.testing.provider_conformance.base import MakeProvider
from support.consul_servers import ConsulServer
from support.provider_back_ends.consul import ConsulBackEnd

pytestmark = pytest.mark.integration


class TestConsulProvider(ProviderConformance):
    @pytest.fixture
    def back_end(self, consul_server: ConsulServer, prefix: str) -> ConsulBackEnd:
        return ConsulBackEnd(consul_server, prefix)

    @pytest.fixture
    def make_provider(self, back_end: ConsulBackEnd) -> MakeProvider:
        return back_end.provider
