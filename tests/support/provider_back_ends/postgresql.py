"""PostgreSQL, past its provider."""

from __future__ import annotations

from inaho.core.provisioning.snapshot import ProviderMember
from support.provider_back_ends.base import ServedBackEnd

CHUNK = 100
"""Statements in one argument of psql."""


class PostgresBackEnd(ServedBackEnd):
    """A table with a prefix and a key, which the first node makes."""

    _made = False

    def url(self, host: int, port: int) -> str:
        self.secrets = self.server.secrets
        return f"postgresql://127.0.0.1:{port}/postgres?prefix={self.prefix}"

    async def write_member(self, authority: str, text: str) -> None:
        await self._write({f"members/{authority}": text})

    async def write_members(self, texts: dict[str, str]) -> None:
        await self._write({f"members/{authority}": text for authority, text in texts.items()})

    async def remove_member(self, authority: str) -> None:
        self._remove(f"members/{authority}")

    async def block(self, authority: str) -> None:
        await self._write({f"blocked/{authority}": "by an operator"})

    async def unblock(self, authority: str) -> None:
        self._remove(f"blocked/{authority}")

    async def _write(self, texts: dict[str, str]) -> None:
        if not self._made:
            provider = self.provider()
            await provider.register(ProviderMember("10.0.0.1:1", "first"), 60.0)
            await provider.deregister()
            await provider.close()
            self._made = True
        statements = [self._statement(key, text) for key, text in texts.items()]
        for begin in range(0, len(statements), CHUNK):
            self.server.execute(";".join(statements[begin : begin + CHUNK]))

    def _statement(self, key: str, text: str) -> str:
        return (
            f"INSERT INTO inaho_topology (prefix, key, value) VALUES ('{self.prefix}', '{key}', '{text}') "
            "ON CONFLICT (prefix, key) DO UPDATE SET value = EXCLUDED.value"
        )

    def _remove(self, key: str) -> None:
        self.server.execute(f"DELETE FROM inaho_topology WHERE prefix = '{self.prefix}' AND key = '{key}'")
