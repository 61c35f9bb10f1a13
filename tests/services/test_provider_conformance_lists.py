"""The providers that only list addresses pass what the conformance suite asks of every provider."""

from __future__ import annotations

import pytest

from inaho.core.provisioning.descriptor import parse_url
from inaho.providers.dns import DnsProvider
from inaho.providers.seeds import SeedsProvider
from inaho.providers.setup import ProviderSetup, Secrets
from inaho.testing.provider_conformance import LifeConformance
from support.dns_server import DnsmasqServer


def setup(url: str) -> ProviderSetup:
    return ProviderSetup("list", parse_url(url), "conformance", Secrets({}), 5.0)


class TestSeedsProvider(LifeConformance):
    @pytest.fixture
    def make_provider(self):
        return lambda host: SeedsProvider(setup("seeds://10.7.0.1:7700,10.7.0.2:7700"))


class TestDnsProvider(LifeConformance):
    @pytest.fixture
    def make_provider(self, dnsmasq_server: DnsmasqServer):
        dnsmasq_server.set_addresses({"shop": ["10.7.0.1", "10.7.0.2"]})
        return lambda host: DnsProvider(setup(dnsmasq_server.url))
