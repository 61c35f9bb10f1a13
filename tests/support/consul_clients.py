"""Consul providers for tests, and what tests do with them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, cast

from inaho.config import ProviderDescriptor, ProvisioningConfig, SecretReference
from inaho.core.provisioning.snapshot import ProviderMember
from inaho.providers.backends import make_provider
from inaho.providers.base import ProviderRead
from inaho.providers.consul import ConsulProvider
from support.consul_servers import ConsulServer

LIMIT_S = 20.0
TTL_S = 15.0


def member(port: int, node_id: str = "", **fields: Any) -> ProviderMember:
    """An entry of the cluster `shop`."""
    return ProviderMember(f"127.0.0.1:{port}", node_id=node_id or f"node-{port}", cluster="shop", **fields)


@asynccontextmanager
async def consul(
    server: ConsulServer | str, *, timeout_s: float = 5.0, secrets: Mapping[str, SecretReference] | None = None
) -> AsyncIterator[ConsulProvider]:
    """A provider of that server, or of that URL."""
    url = server if isinstance(server, str) else server.url
    made = make_provider(
        ProviderDescriptor(name="c1", url=url, secrets=secrets or {}),
        "shop",
        ProvisioningConfig(request_timeout_s=timeout_s),
    )
    provider = cast("ConsulProvider", made)
    try:
        yield provider
    finally:
        await provider.close()


async def authorities(provider: ConsulProvider) -> list[str]:
    """Whom it lists."""
    return sorted(found.authority for found in (await provider.read()).members)


@asynccontextmanager
async def watching(provider: ConsulProvider) -> AsyncIterator[AsyncGenerator[ProviderRead | None]]:
    """A watch from now on, that Consul has received: `until_listed` shows it."""
    position = (await provider.read()).position
    async with aclosing(provider.watch(position)) as watch:
        yield watch


async def until_listed(watch: AsyncGenerator[ProviderRead | None], expected: list[str]) -> ProviderRead:
    """The first read of the watch that lists exactly these."""
    async with asyncio.timeout(LIMIT_S):
        async for found in watch:
            if found is not None and sorted(each.authority for each in found.members) == expected:
                return found
    raise AssertionError("the watch has ended")


async def waits(server: ConsulServer, watch: AsyncGenerator[ProviderRead | None]) -> asyncio.Task[ProviderRead | None]:
    """The next read of a watch, whose query the server has received."""
    before = sum(server.requests().values())
    following = asyncio.create_task(anext(watch))
    async with asyncio.timeout(LIMIT_S):
        while sum(server.requests().values()) == before:
            await asyncio.sleep(0.01)
    assert not following.done()
    return following
