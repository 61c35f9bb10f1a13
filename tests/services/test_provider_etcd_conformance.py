"""The back end etcd passes the conformance suite, on a real server."""

from __future__ import annotations

import asyncio

import pytest

from inaho.config import ProviderDescriptor, ProvisioningConfig
from inaho.providers.backends import make_provider as make_from
from inaho.testing.provider_conformance import BackEnd, ProviderConformance
from support.etcd_server import EtcdServer

pytestmark = pytest.mark.integration


class EtcdBackEnd(BackEnd):
    """Access past the provider, as with `etcdctl`."""

    def __init__(self, server: EtcdServer, prefix: str) -> None:
        self._server = server
        self._prefix = prefix

    async def write_member(self, authority: str, text: str) -> None:
        await asyncio.to_thread(self._server.put, f"{self._prefix}/members/{authority}", text)

    async def remove_member(self, authority: str) -> None:
        await asyncio.to_thread(self._server.delete, f"{self._prefix}/members/{authority}")

    async def block(self, authority: str) -> None:
        await asyncio.to_thread(self._server.put, f"{self._prefix}/blocked/{authority}", "by the operator")

    async def unblock(self, authority: str) -> None:
        await asyncio.to_thread(self._server.delete, f"{self._prefix}/blocked/{authority}")

    async def expire(self, authority: str) -> None:
        await asyncio.to_thread(self._server.revoke, f"{self._prefix}/members/{authority}")

    async def lose_history(self) -> None:
        await asyncio.to_thread(self._server.compact)


class TestEtcdProvider(ProviderConformance):
    many = 2500

    @pytest.fixture
    def back_end(self, etcd_server: EtcdServer, prefix: str) -> EtcdBackEnd:
        return EtcdBackEnd(etcd_server, prefix)

    @pytest.fixture
    def make_provider(self, etcd_server: EtcdServer, prefix: str):
        descriptor = ProviderDescriptor(name="etcd", url=f"{etcd_server.url}/{prefix}")
        return lambda host: make_from(descriptor, "conformance", ProvisioningConfig())
