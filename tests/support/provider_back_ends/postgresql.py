"""PostgreSQL, past its provider."""

from __future__ import annotations

from support.provider_back_ends.base import ServedBackEnd
from support.topology_servers import PostgresTopologyServer

CHUNK = 100
"""Statements in one argument of psql."""


class PostgresBackEnd(ServedBackEnd):
    """A table with a prefix and a key."""

    server: PostgresTopologyServer

    def __init__(self, server: PostgresTopologyServer, prefix: str) -> None:
        super().__init__(server, prefix)
        self.secrets = server.secrets
        server.create_table()

    def url(self, host: int, port: int) -> str:
        return f"postgresql://127.0.0.1:{port}/postgres?prefix={self.prefix}"

    async def write_member(self, authority: str, text: str) -> None:
        self.server.write(authority, text, self.prefix)

    async def write_members(self, texts: dict[str, str]) -> None:
        statements = [
            f"INSERT INTO inaho_topology (prefix, key, value) VALUES ('{self.prefix}', 'members/{authority}', '{text}')"
            for authority, text in texts.items()
        ]
        for begin in range(0, len(statements), CHUNK):
            self.server.execute(";".join(statements[begin : begin + CHUNK]))

    async def remove_member(self, authority: str) -> None:
        self.server.expire(authority, self.prefix)

    async def block(self, authority: str) -> None:
        self.server.block(authority, self.prefix)

    async def unblock(self, authority: str) -> None:
        self.server.unblock(authority, self.prefix)
