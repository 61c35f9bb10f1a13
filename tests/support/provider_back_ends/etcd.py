"""etcd past its provider, as with `etcdctl`."""

from __future__ import annotations

import asyncio

from support.etcd_server import EtcdServer
from support.provider_back_ends.base import ServedBackEnd


class EtcdBackEnd(ServedBackEnd):
    """The keys under a prefix."""

    server: EtcdServer

    def url(self, host: int, port: int) -> str:
        return f"etcd://127.0.0.1:{port}/{self.prefix}"

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
