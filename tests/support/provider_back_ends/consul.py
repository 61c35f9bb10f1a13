"""The double of Consul, past its provider, as with `consul kv`."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json

from support.consul_double.transactions import OPERATIONS_MAX
from support.consul_servers import ConsulServer
from support.provider_back_ends.base import ServedBackEnd

WAIT_S = 1
"""Of a blocking query. After a rewind Consul holds a query with an old index so long, and then shows the new one."""


class ConsulBackEnd(ServedBackEnd):
    """The keys of one prefix."""

    server: ConsulServer

    def url(self, host: int, port: int) -> str:
        del host
        return f"consul://127.0.0.1:{port}/{self.prefix}?wait_s={WAIT_S}"

    async def write_member(self, authority: str, text: str) -> None:
        await self._ask("PUT", "members", authority, text)

    async def write_members(self, texts: dict[str, str]) -> None:
        pairs = iter(texts.items())
        while some := list(itertools.islice(pairs, OPERATIONS_MAX)):
            operations = [
                {
                    "Verb": "set",
                    "Key": self._key("members", authority),
                    "Value": base64.b64encode(text.encode()).decode(),
                }
                for authority, text in some
            ]
            body = json.dumps([{"KV": operation} for operation in operations]).encode()
            await asyncio.to_thread(self.server.ask, "PUT", "/v1/txn", body)

    async def remove_member(self, authority: str) -> None:
        await self._ask("DELETE", "members", authority)

    async def block(self, authority: str) -> None:
        await self._ask("PUT", "blocked", authority, "by the operator")

    async def unblock(self, authority: str) -> None:
        await self._ask("DELETE", "blocked", authority)

    async def expire(self, authority: str) -> None:
        await asyncio.to_thread(self.server.control, f"expire?key={self._key('members', authority)}")

    async def lose_history(self) -> None:
        await asyncio.to_thread(self.server.lose_history)

    def _set(self, authority: str, text: str) -> dict[str, str]:
        value = base64.b64encode(text.encode()).decode()
        return {"Verb": "set", "Key": self._key("members", authority), "Value": value}

    def _key(self, folder: str, authority: str) -> str:
        return f"{self.prefix}/{folder}/{authority.replace(':', ',')}"

    async def _ask(self, method: str, folder: str, authority: str, text: str = "") -> None:
        await asyncio.to_thread(self.server.ask, method, f"/v1/kv/{self._key(folder, authority)}", text.encode())
