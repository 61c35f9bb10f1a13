"""The DNS back end against dnsmasq: what it lists, and what it does while the server is stopped or gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from inaho.config import ProviderDescriptor, ProvisioningConfig
from inaho.errors import ProviderError, ProviderUnreachable
from inaho.providers.backends import make_provider
from inaho.providers.base import TopologyProvider
from support.dns_server import ZONE, DnsmasqServer

WAIT_S = 20.0


@asynccontextmanager
async def provider(url: str, timeout_s: float = 5.0) -> AsyncIterator[TopologyProvider]:
    made = make_provider(
        ProviderDescriptor(name="names", url=url), "shop", ProvisioningConfig(request_timeout_s=timeout_s)
    )
    try:
        yield made
    finally:
        await made.close()


async def addresses(of: TopologyProvider) -> list[str]:
    return sorted(member.authority for member in (await of.read()).members)


async def wait_for(of: TopologyProvider, expected: list[str]) -> None:
    async with asyncio.timeout(WAIT_S):
        while True:
            try:
                if await addresses(of) == expected:
                    return
            except ProviderError:
                pass  # the server is on its way
            await asyncio.sleep(0.05)


async def test_addresses_of_both_families(dnsmasq_server: DnsmasqServer) -> None:
    dnsmasq_server.set_addresses({"shop": ["10.0.0.1", "10.0.0.2", "fd00::5"], "other": ["10.0.0.9"]})
    async with provider(dnsmasq_server.url) as names:
        await names.check()
        await wait_for(names, ["10.0.0.1:7700", "10.0.0.2:7700", "[fd00::5]:7700"])
    async with provider(f"{dnsmasq_server.url}&types=aaaa") as names:
        assert await addresses(names) == ["[fd00::5]:7700"]


async def test_a_change_is_found_within_a_period(dnsmasq_server: DnsmasqServer) -> None:
    dnsmasq_server.set_addresses({"shop": ["10.0.0.1"]})
    async with provider(dnsmasq_server.url) as names:
        await wait_for(names, ["10.0.0.1:7700"])
        dnsmasq_server.set_addresses({"shop": ["10.0.0.1", "10.0.0.3"]})
        await wait_for(names, ["10.0.0.1:7700", "10.0.0.3:7700"])


async def test_a_name_that_is_not_published_has_no_member(dnsmasq_server: DnsmasqServer) -> None:
    dnsmasq_server.set_addresses({"other": ["10.0.0.9"]})
    async with provider(f"dns://absent.{ZONE}:7700?nameserver={dnsmasq_server.nameserver}") as names:
        await names.check()
        assert await addresses(names) == []


async def test_services(dnsmasq_server: DnsmasqServer) -> None:
    services = [("_inaho._tcp.shop", f"node-{number}.shop.{ZONE}", 7700 + number) for number in range(3)]
    dnsmasq_server.set_services(services)
    dnsmasq_server.kill()
    dnsmasq_server.start()
    async with provider(f"dns+srv://_inaho._tcp.shop.{ZONE}?nameserver={dnsmasq_server.nameserver}") as names:
        assert await addresses(names) == [f"node-{number}.shop.{ZONE}:{7700 + number}" for number in range(3)]


async def test_many_addresses_need_tcp(dnsmasq_server: DnsmasqServer) -> None:
    many = [f"10.1.{number // 250}.{number % 250 + 1}" for number in range(500)]
    dnsmasq_server.set_addresses({"many": many})
    async with provider(f"dns://many.{ZONE}:7700?nameserver={dnsmasq_server.nameserver}&period_s=1") as names:
        await wait_for(names, sorted(f"{address}:7700" for address in many))


async def test_the_next_server_is_asked_where_the_first_is_silent(dnsmasq_server: DnsmasqServer) -> None:
    dnsmasq_server.set_addresses({"shop": ["10.0.0.1"]})
    silent = DnsmasqServer()
    try:
        silent.start()
        silent.pause()
        nameservers = f"{silent.nameserver},{dnsmasq_server.nameserver}"
        async with provider(f"dns://shop.{ZONE}:7700?nameserver={nameservers}&period_s=1", timeout_s=4.0) as names:
            await wait_for(names, ["10.0.0.1:7700"])
    finally:
        silent.resume()
        silent.end()


@pytest.mark.parametrize("fault", ["pause", "kill"])
async def test_a_server_that_is_away_is_unreachable_and_found_again(dnsmasq_server: DnsmasqServer, fault: str) -> None:
    dnsmasq_server.set_addresses({"shop": ["10.0.0.1"]})
    async with provider(dnsmasq_server.url, timeout_s=0.3) as names:
        await wait_for(names, ["10.0.0.1:7700"])
        getattr(dnsmasq_server, fault)()
        try:
            with pytest.raises(ProviderUnreachable, match=rf"provider names: the DNS name shop\.{ZONE}"):
                await names.check()
        finally:
            if fault == "pause":
                dnsmasq_server.resume()
            else:
                dnsmasq_server.start()
        await wait_for(names, ["10.0.0.1:7700"])
