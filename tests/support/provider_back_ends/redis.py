"""Redis, past its provider."""

from __future__ import annotations

from support.provider_back_ends.base import ServedBackEnd


class RedisBackEnd(ServedBackEnd):
    """A hash of members, one of blocked authorities, and a sorted set of expiries."""

    def url(self, host: int, port: int) -> str:
        self.secrets = self.server.secrets
        return f"redis://127.0.0.1:{port}/{self.prefix}"

    async def write_member(self, authority: str, text: str) -> None:
        self.server.ask("HSET", self._key("members"), authority, text)
        self.server.ask("ZADD", self._key("expiry"), "+inf", authority)

    async def remove_member(self, authority: str) -> None:
        self.server.ask("HDEL", self._key("members"), authority)
        self.server.ask("ZREM", self._key("expiry"), authority)

    async def block(self, authority: str) -> None:
        self.server.ask("HSET", self._key("blocked"), authority, "by an operator")

    async def unblock(self, authority: str) -> None:
        self.server.ask("HDEL", self._key("blocked"), authority)

    def _key(self, part: str) -> str:
        return f"{{{self.prefix}}}/{part}"
