"""The provider for etcd passes the conformance suite, on a real server."""

from __future__ import annotations

import pytest

from inaho.providers.etcd import PAGE
from inaho.testing.provider_conformance import ProviderConformance
from inaho.testing.provider_conformance.base import MakeProvider
from support.etcd_server import EtcdServer
from support.provider_back_ends.etcd import EtcdBackEnd

pytestmark = pytest.mark.integration


class TestEtcdProvider(ProviderConformance):
    many = PAGE + 100  # more than one page

    @pytest.fixture
    def back_end(self, etcd_server: EtcdServer, prefix: str) -> EtcdBackEnd:
        return EtcdBackEnd(etcd_server, prefix)

    @pytest.fixture
    def make_provider(self, back_end: EtcdBackEnd) -> MakeProvider:
        return back_end.provider
