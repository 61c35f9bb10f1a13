"""Providers in Redis and PostgreSQL while their server is killed, stands still, or changes its password."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypeAlias

import pytest

from inaho.config import SecretReference
from inaho.core.provisioning.founding import ClusterRecord
from inaho.errors import ProviderInvalid, ProviderUnreachable
from support.gate import Gate
from support.service_servers import PASSWORD
from support.topology_servers import PostgresTopologyServer, RedisTopologyServer, TopologyProviders, member

pytestmark = pytest.mark.integration

Server: TypeAlias = RedisTopologyServer | PostgresTopologyServer

TTL_S = 60.0
SHORT_S = 0.5
RECORD = ClusterRecord("0123456789abcdef", 1, "127.0.0.1:1", "node1")


@pytest.fixture
async def gate(topology_server: Server) -> AsyncIterator[Gate]:
    async with Gate.to_port(topology_server.port) as gate:
        yield gate


async def test_a_killed_server_is_unreachable_and_forgets_nothing(
    topology_server: Server, providers: TopologyProviders
) -> None:
    provider = providers.make()
    await provider.register(member(1), TTL_S)
    assert await provider.write_record(RECORD, "")
    topology_server.kill()
    try:
        for request in (provider.read, provider.check, provider.read_record, provider.deregister):
            with pytest.raises(ProviderUnreachable, match="provider ours"):
                await request()
        with pytest.raises(ProviderUnreachable):
            await provider.renew(member(1), TTL_S)
    finally:
        topology_server.start()
    assert (await provider.read()).members == (member(1),)
    assert await provider.renew(member(1), TTL_S) is True
    assert (await provider.read_record())[0] == RECORD


async def test_a_write_of_the_record_that_a_still_server_does_later_overwrites_nothing(
    topology_server: Server, providers: TopologyProviders
) -> None:
    late, other = providers.make(timeout_s=SHORT_S), providers.make()
    assert await other.write_record(RECORD, "")
    _, token = await late.read_record()
    topology_server.pause()
    try:
        with pytest.raises(ProviderUnreachable):
            await late.write_record(ClusterRecord("f" * 16, 2, "127.0.0.1:9", "late"), token)
    finally:
        topology_server.resume()
    mine = ClusterRecord(RECORD.cluster_id, 2, "127.0.0.1:2", "node2")
    won = await other.write_record(mine, token)
    found, _ = await other.read_record()
    assert found is not None
    assert (found.node_id == "node2") is won, "one of both writes counts, and the answer says which"


@pytest.mark.parametrize("number", [1, 2, 3])
async def test_a_write_whose_answer_was_lost_is_sent_again_and_counts_once(
    topology_server: Server, providers: TopologyProviders, gate: Gate, number: int
) -> None:
    url = topology_server.url.replace(str(topology_server.port), str(gate.port))
    provider, other = providers.make(url), providers.make()
    await provider.register(member(1), TTL_S)
    gate.lose_answer(number)
    assert await provider.write_record(RECORD, "")
    _, token = await other.read_record()
    gate.lose_answer(number)
    assert await provider.write_record(RECORD, token)
    assert not await other.write_record(RECORD, token)
    gate.lose_answer(number)
    assert await provider.renew(member(1), TTL_S) is True


async def test_nobody_listens(topology_server: Server, providers: TopologyProviders, unused_tcp_port: int) -> None:
    provider = providers.make(topology_server.url.replace(str(topology_server.port), str(unused_tcp_port)))
    with pytest.raises(ProviderUnreachable, match=str(unused_tcp_port)):
        await provider.check()


async def test_a_password_that_was_renewed_is_read_again(
    topology_server: Server, providers: TopologyProviders, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text(PASSWORD)
    provider = providers.make(secrets=topology_server.secrets | {"password": SecretReference(file=str(file))})
    await provider.register(member(1), TTL_S)
    change_password(topology_server, PASSWORD, "renewed")
    try:
        with pytest.raises((ProviderInvalid, ProviderUnreachable)):
            await provider.read()
        with pytest.raises(ProviderInvalid, match="username and password"):
            await provider.read()
        file.write_text("renewed")
        assert (await provider.read()).members == (member(1),)
    finally:
        change_password(topology_server, "renewed", PASSWORD)


def change_password(server: Server, before: str, password: str) -> None:
    """Changes the password, and ends the connections that were made with the one before."""
    if isinstance(server, PostgresTopologyServer):
        server.execute(
            f"ALTER ROLE {server.USER} PASSWORD '{password}'",
            f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = '{server.USER}'",
        )
    else:
        server.ask("CONFIG", "SET", "requirepass", password, password=before)
        server.ask("CLIENT", "KILL", "TYPE", "normal", password=password)
