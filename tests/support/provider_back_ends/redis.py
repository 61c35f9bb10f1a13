"""Redis, past its provider."""

from __future__ import annotations

from support.provider_back_ends.base import ServedBackEnd
from support.topology_servers import RedisTopologyServer


class RedisBackEnd(ServedBackEnd):
    """A hash of members, one of blocked authorities, and a sorted set of expiries."""

    server: RedisTopologyServer

    def __init__(self, server: RedisTopologyServer, prefix: str) -> None:
        super().__init__(server, prefix)
        self.secrets = server.secrets

    def url(self, host: int, port: int) -> str:
        return f"redis://127.0.0.1:{port}/{self.prefix}"

    async def write_member(self, authority: str, text: str) -> None:
        self.server.write(authority, text, self.prefix)

    async def remove_member(self, authority: str) -> None:
        self.server.expire(authority, self.prefix)

    async def block(self, authority: str) -> None:
        self.server.block(authority, self.prefix)

    async def unblock(self, authority: str) -> None:
        self.server.unblock(authority, self.prefix)
