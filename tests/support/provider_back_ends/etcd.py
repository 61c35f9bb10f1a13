"""etcd past its provider, as with `etcdctl`."""

from __future__ import annotations

import asyncio

from inaho.config import ProviderDescriptor, ProvisioningConfig
from inaho.providers.backends import make_provider
from inaho.providers.base import TopologyProvider
from support.etcd_server import EtcdServer
from support.provider_back_ends.base import CLUSTER, TIMEOUT_S, ServedBackEnd


class EtcdBackEnd(ServedBackEnd):
    """The keys under a prefix."""

    server: EtcdServer

    def url(self, host: int, port: int) -> str:
        return f"etcd://127.0.0.1:{port}/{self.prefix}"

    def provider_of(self, url: str, timeout_s: float = TIMEOUT_S) -> TopologyProvider:
        """A provider of any URL, with the secrets of this one."""
        descriptor = ProviderDescriptor(name="ours", url=url, secrets=self.secrets)
        return make_provider(descriptor, CLUSTER, ProvisioningConfig(request_timeout_s=timeout_s))

    def entry_of(self, authority: str) -> str:
        return f"{self.prefix}/members/{authority}"

    async def write_member(self, authority: str, text: str) -> None:
        await asyncio.to_thread(self.server.put, self.entry_of(authority), text)

    async def remove_member(self, authority: str) -> None:
        await asyncio.to_thread(self.server.delete, self.entry_of(authority))

    async def block(self, authority: str) -> None:
        await asyncio.to_thread(self.server.put, f"{self.prefix}/blocked/{authority}", "by the operator")

    async def unblock(self, authority: str) -> None:
        await asyncio.to_thread(self.server.delete, f"{self.prefix}/blocked/{authority}")

    async def expire(self, authority: str) -> None:
        await asyncio.to_thread(self.server.revoke, self.entry_of(authority))

    async def lose_history(self) -> None:
        await asyncio.to_thread(self.server.compact)
