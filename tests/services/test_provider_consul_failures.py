"""What the Consul back end does while Consul is away, silent, wrong or has forgotten."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from inaho.config import ProviderDescriptor, ProvisioningConfig, SecretReference
from inaho.core.provisioning.snapshot import ProviderMember
from inaho.errors import ProviderError, ProviderInvalid, ProviderStreamFailed, ProviderUnreachable
from inaho.providers.backends import make_provider
from inaho.providers.base import ProviderRead
from inaho.providers.stream import ProviderStream
from support.certificates import CertificateAuthority
from support.consul_clients import LIMIT_S, TTL_S, authorities, consul, member, until_listed, waits, watching
from support.consul_servers import SCALE, ConsulServer
from support.gate import Gate, Mode

pytestmark = pytest.mark.integration

ONE, TWO = "127.0.0.1:7700", "127.0.0.1:7701"
HURRIED_S = 0.3
"""The deadline of a request where the server does not answer."""


@pytest.fixture(scope="module")
def hurried_process() -> Iterator[ConsulServer]:
    server = ConsulServer(scale=SCALE)
    try:
        server.start()
        yield server
    finally:
        server.end()


@pytest.fixture
def hurried(hurried_process: ConsulServer) -> ConsulServer:
    """Its sessions end after a fraction of a second."""
    hurried_process.clear()
    return hurried_process


@pytest.fixture(params=["consul_server"])
def server(request: pytest.FixtureRequest) -> ConsulServer:
    """Without data and faults."""
    found: ConsulServer = request.getfixturevalue(request.param)
    return found


fast = pytest.mark.parametrize("server", ["hurried"], indirect=True)


async def test_killed_and_started_again_it_has_what_was_registered(server: ConsulServer) -> None:
    async with consul(server) as provider:
        await provider.register(member(7700), TTL_S)
        async with watching(provider) as watch:
            following = await waits(server, watch)
            server.kill()
            with pytest.raises(ProviderUnreachable, match="c1"):
                await following
        for asked in (provider.read(), provider.renew(member(7700), TTL_S), provider.check(), provider.read_record()):
            with pytest.raises(ProviderUnreachable, match=str(server.port)):
                await asked
        server.start()
        assert await provider.renew(member(7700), TTL_S)
        async with watching(provider) as watch:
            await provider.register(member(7701), TTL_S)
            await until_listed(watch, [ONE, TWO])


async def test_paused_it_costs_a_deadline_and_resumed_it_answers(server: ConsulServer) -> None:
    async with consul(server, timeout_s=HURRIED_S) as provider:
        await provider.register(member(7700), TTL_S)
        server.pause()
        try:
            with pytest.raises(ProviderUnreachable, match="no answer within"):
                await provider.read()
        finally:
            server.resume()
        assert await authorities(provider) == [ONE]


async def test_a_connection_that_is_cut_in_silence_is_given_up(server: ConsulServer) -> None:
    async with Gate.to_port(server.port) as gate:
        url = f"consul://127.0.0.1:{gate.port}/{server.prefix}?wait_s=1"
        async with consul(url, timeout_s=HURRIED_S) as provider, watching(provider) as watch:
            following = await waits(server, watch)
            gate.set(Mode.SILENT)
            for asked in (provider.read(), following):
                with pytest.raises(ProviderUnreachable, match="no answer within"):
                    await asked
            gate.set(Mode.PASS)
            assert await authorities(provider) == []


@fast
async def test_a_registration_that_nobody_renews_is_gone(server: ConsulServer) -> None:
    async with consul(server) as provider, watching(provider) as watch:
        await provider.register(member(7700), 10.0)
        await until_listed(watch, [ONE])
        await until_listed(watch, [])
        assert not await provider.renew(member(7700), 10.0)
        await provider.register(member(7700), 10.0)
        assert await authorities(provider) == [ONE], "no lock delay is in the way"


async def test_a_lock_delay_that_another_tool_has_left_is_told(server: ConsulServer) -> None:
    made = json.loads(server.ask("PUT", "/v1/session/create", b'{"LockDelay": "60s"}'))["ID"]
    locked = member(7790)  # the delay outlasts this test
    server.ask("PUT", f"/v1/kv/{server.key(f'members/{locked.authority}')}?acquire={made}", b"{}")
    server.ask("PUT", f"/v1/session/destroy/{made}")
    async with consul(server) as provider:
        with pytest.raises(ProviderStreamFailed, match=r"c1.*lock delay.*is written again"):
            await provider.register(locked, TTL_S)


async def test_a_registration_that_consul_drops_is_told_to_the_watch(server: ConsulServer) -> None:
    async with consul(server) as provider:
        await provider.register(member(7700), TTL_S)
        async with watching(provider) as watch:
            server.expire(ONE)
            await until_listed(watch, [])
        assert not await provider.renew(member(7700), TTL_S)


async def test_an_index_that_goes_back_ends_the_watch(server: ConsulServer) -> None:
    async with consul(server) as provider:
        await provider.register(member(7700), TTL_S)
        before = await provider.read()
        async with watching(provider) as watch:
            following = await waits(server, watch)
            server.lose_history()
            with pytest.raises(ProviderStreamFailed, match="went back"):
                await following
        after = await provider.read()
        assert after.members == before.members and int(after.position) < int(before.position)
        async with watching(provider) as watch:
            await provider.register(member(7701), TTL_S)
            await until_listed(watch, [ONE, TWO])


async def test_forgotten_tombstones_let_the_index_go_back(server: ConsulServer) -> None:
    async with consul(server) as provider:
        await provider.register(member(7700), TTL_S)
        await provider.register(member(7701), TTL_S)
        server.expire(TWO)
        position = (await provider.read()).position
        server.control("reap")
        server.control("watches", early_wakes=True)
        with pytest.raises(ProviderStreamFailed, match="went back"):
            await anext(provider.watch(position))


async def test_an_answer_of_the_watch_that_a_read_has_overtaken_is_read_again(server: ConsulServer) -> None:
    async with consul(server) as provider, watching(provider) as watch:
        await provider.register(member(7700), TTL_S)
        server.control("fault", path="GET /v1/kv", held=True, times=1)
        following = await waits(server, watch)
        await provider.register(member(7701), TTL_S)
        assert await authorities(provider) == [ONE, TWO]
        server.control("clear")
        assert await following is None, "the older list would take the second member away again"
        await until_listed(watch, [ONE, TWO])


async def test_an_index_of_0_is_taken_as_1(server: ConsulServer) -> None:
    async with consul(server) as provider:
        server.control("watches", index_zero=True)
        async with watching(provider) as watch:
            assert (await provider.read()).position == "1"
            await provider.register(member(7700), TTL_S)
            await until_listed(watch, [ONE])


async def test_early_wakes_bring_what_is_there_and_are_few(server: ConsulServer) -> None:
    async with consul(server) as provider:
        await provider.register(member(7700), TTL_S)
        known = await provider.read()
        async with watching(provider) as watch:
            following = await waits(server, watch)
            server.control("wake")
            assert await following == known
            before = sum(server.requests().values())
            server.control("watches", early_wakes=True)
            following = asyncio.create_task(anext(watch))
            assert await following == known
            following = asyncio.create_task(anext(watch))
            await provider.register(member(7701), TTL_S)
            asked = sum(server.requests().values()) - before - 2  # the registration takes two
            assert asked <= 2, "a query that returns at once is not sent again at once"
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_server_that_is_busy_or_has_no_leader_is_unreachable(server: ConsulServer, status: int) -> None:
    async with consul(server) as provider:
        server.control("fault", path="/v1/", status=status, times=4)
        for asked in (provider.read(), provider.register(member(7700), TTL_S), provider.check()):
            with pytest.raises(ProviderUnreachable, match=str(status)):
                await asked
        with pytest.raises(ProviderUnreachable, match=str(status)):
            await anext(provider.watch("7"))
        await provider.register(member(7700), TTL_S)
        assert await authorities(provider) == [ONE]


async def test_a_request_in_the_dark_has_a_deadline_and_a_slow_one_is_awaited(server: ConsulServer) -> None:
    async with consul(server, timeout_s=HURRIED_S) as provider:
        server.control("fault", path="PUT /v1/txn", silent=True, times=1)
        with pytest.raises(ProviderUnreachable, match="no answer within"):
            await provider.register(member(7700), TTL_S)
    async with consul(server) as provider:
        server.control("fault", path="GET /v1/kv", delay_s=0.2, times=1)
        assert await authorities(provider) == []


async def test_the_next_server_is_asked_when_one_is_away(server: ConsulServer) -> None:
    url = f"consul://127.0.0.1:1,127.0.0.1:{server.port}/{server.prefix}"
    async with consul(url) as provider:
        await provider.register(member(7700), TTL_S)
        assert await authorities(provider) == [ONE]


async def test_a_token_that_is_renewed_in_its_file_is_used_at_once(server: ConsulServer, tmp_path: Path) -> None:
    file = tmp_path / "token"
    policy = {"key_prefix": {"inaho/shop/": "write"}, "session_prefix": {"": "write"}}

    def allow(token: str) -> None:
        server.control("tokens", tokens={token: policy})

    def write(token: str) -> None:
        (tmp_path / "new").write_text(f"{token}\n")
        os.replace(tmp_path / "new", file)

    write("first")
    allow("first")
    async with consul(server, secrets={"token": SecretReference(file=str(file))}) as provider:
        await provider.register(member(7700), TTL_S)
        allow("second")
        for asked in (provider.read(), provider.renew(member(7700), TTL_S), provider.check()):
            with pytest.raises(ProviderInvalid, match="refuses the token") as caught:
                await asked
            assert "first" not in str(caught.value)
        write("second")
        assert await provider.renew(member(7700), TTL_S)
        file.unlink()
        with pytest.raises(ProviderInvalid, match="c1: secret token"):
            await provider.read()


async def test_a_certificate_is_verified(tmp_path: Path) -> None:
    issued = CertificateAuthority(tmp_path, "authority").issue("consul", "127.0.0.1")
    server = ConsulServer(certificate=issued.certificate, key=issued.private_key)
    try:
        server.start()
        async with consul(server) as provider:
            with pytest.raises(ProviderInvalid, match="certificate"):
                await provider.check()
        async with consul(f"{server.url}?ca={issued.authority_certificates}") as provider:
            await provider.check()
            await provider.register(member(7700), TTL_S)
            assert await authorities(provider) == [ONE]
    finally:
        server.end()


class Noting:
    """What a stream has told."""

    def __init__(self) -> None:
        self.listed: list[list[str]] = []
        self.failures: list[ProviderError] = []

    def read(self, provider: str, found: ProviderRead, took_s: float) -> None:
        self.listed.append(sorted(each.authority for each in found.members))

    def alive(self, provider: str) -> None:
        """Nothing to note."""

    def failed(self, provider: str, error: ProviderError) -> None:
        self.failures.append(error)

    def displaced(self, provider: str, member: ProviderMember) -> None:
        raise AssertionError((provider, member))

    async def until(self, listed: list[str]) -> None:
        """Returns when this was listed since the last call; what came before it is forgotten."""
        async with asyncio.timeout(LIMIT_S):
            while listed not in self.listed:
                await asyncio.sleep(0.01)
        del self.listed[: self.listed.index(listed) + 1]


async def test_a_stream_registers_again_after_a_lapse_and_after_a_kill(server: ConsulServer) -> None:
    config = ProvisioningConfig(
        read_period_s=0.3,
        read_pause_s=0.01,
        ttl_s=0.6,
        back_off_min_s=0.05,
        back_off_max_s=0.1,
        request_timeout_s=1.0,
        timeout_s=2.0,
    )
    noted = Noting()
    provider = make_provider(ProviderDescriptor(name="c1", url=server.url), "shop", config)
    stream = ProviderStream(provider, config, noted, lambda: 0.5, lambda: member(7700))
    running = asyncio.create_task(stream.run())
    try:
        await noted.until([ONE])
        (session,) = server.sessions()
        server.expire(ONE)
        async with asyncio.timeout(LIMIT_S):
            while server.sessions() in ([], [session]):
                await asyncio.sleep(0.05)
        server.pause()
        async with asyncio.timeout(LIMIT_S):
            while not noted.failures:
                await asyncio.sleep(0.01)
        server.resume()
        server.kill()
        noted.listed.clear()
        server.start()
        await noted.until([ONE])
        assert all(isinstance(failure, ProviderUnreachable) for failure in noted.failures)
        async with consul(server) as other:
            await other.register(member(7701), TTL_S)
            await noted.until([ONE, TWO])
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await provider.close()
