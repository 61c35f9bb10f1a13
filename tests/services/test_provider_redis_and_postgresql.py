"""What the providers in Redis and in PostgreSQL have in common: registrations, blocks, and the record of a cluster."""

from __future__ import annotations

import asyncio
import traceback
from typing import TypeAlias

import pytest

from inaho.config import SecretReference
from inaho.core.provisioning.founding import ClusterRecord
from inaho.core.provisioning.snapshot import ProviderMember
from inaho.errors import InvalidSnapshot, ProviderInvalid
from inaho.providers.base import TopologyProvider
from support.topology_servers import CLUSTER, PostgresTopologyServer, RedisTopologyServer, TopologyProviders, member

pytestmark = pytest.mark.integration

Server: TypeAlias = RedisTopologyServer | PostgresTopologyServer

LIMIT_S = 20.0
TTL_S = 30.0


def record(generation: int, node: str = "node1") -> ClusterRecord:
    return ClusterRecord("0123456789abcdef", generation, "127.0.0.1:1", node)


async def members(provider: TopologyProvider) -> tuple[ProviderMember, ...]:
    return (await provider.read()).members


async def until_gone(provider: TopologyProvider, *authorities: str) -> None:
    async with asyncio.timeout(LIMIT_S):
        while {each.authority for each in await members(provider)} & set(authorities):
            await asyncio.sleep(0.02)


async def test_a_check_leaves_nothing_behind(topology_server: Server, providers: TopologyProviders) -> None:
    provider = providers.make()
    await provider.check()
    if isinstance(topology_server, RedisTopologyServer):
        assert "inaho" not in topology_server.ask("SCAN", "0")
    else:
        assert topology_server.execute("SELECT to_regclass('inaho_topology') IS NULL") == "t\n"


async def test_expired_registrations_are_removed(topology_server: Server, providers: TopologyProviders) -> None:
    provider = providers.make()
    for port in range(1, 31):
        await provider.register(member(port), 0.05)
    await until_gone(provider, *(member(port).authority for port in range(1, 31)))
    await provider.register(member(99), TTL_S)
    if isinstance(topology_server, RedisTopologyServer):
        stored = [
            topology_server.ask(word, f"{{inaho/{CLUSTER}}}/{key}")
            for word, key in (("HLEN", "members"), ("ZCARD", "expiry"))
        ]
        assert stored == [":1\r\n", ":1\r\n"]
    else:
        assert topology_server.execute("SELECT count(*) FROM inaho_topology") == "1\n"


async def test_clusters_with_prefixes_of_their_own_do_not_meet(
    topology_server: Server, providers: TopologyProviders
) -> None:
    one, other = providers.make(), providers.make(cluster="bakery")
    await one.register(member(1), TTL_S)
    await other.register(member(1, "theirs", cluster="bakery"), TTL_S)
    assert await one.write_record(record(1), "")
    assert await members(one) == (member(1),)
    assert await other.read_record() == (None, "")


async def test_of_twenty_writers_of_the_record_one_wins_each_generation(
    topology_server: Server, providers: TopologyProviders
) -> None:
    writers = [providers.make(timeout_s=LIMIT_S) for _ in range(20)]
    token = ""
    for generation in (1, 2, 3):
        won = await asyncio.gather(
            *(each.write_record(record(generation, f"n{number}"), token) for number, each in enumerate(writers))
        )
        assert won.count(True) == 1
        found = await asyncio.gather(*(each.read_record() for each in writers))
        assert len(set(found)) == 1
        written, token = found[0]
        assert written == record(generation, f"n{won.index(True)}")


async def test_a_token_is_of_one_version_only(topology_server: Server, providers: TopologyProviders) -> None:
    provider = providers.make()
    assert await provider.write_record(record(1), "")
    _, token = await provider.read_record()
    assert await provider.write_record(record(1), token), "the same record again is a new version"
    assert not await provider.write_record(record(2), token)
    if isinstance(topology_server, RedisTopologyServer):
        topology_server.ask("DEL", f"{{inaho/{CLUSTER}}}/record")
    else:
        topology_server.execute("DELETE FROM inaho_topology WHERE key = 'record'")
    assert not await provider.write_record(record(2), token), "the record is gone"
    assert await provider.write_record(record(1), "")
    assert not await provider.write_record(record(2), token), "a record that was written anew has a new version"


async def test_a_damaged_record_is_named(topology_server: Server, providers: TopologyProviders) -> None:
    provider = providers.make()
    await provider.write_record(record(1), "")
    if isinstance(topology_server, RedisTopologyServer):
        topology_server.ask("HSET", f"{{inaho/{CLUSTER}}}/record", "text", "{}")
    else:
        topology_server.execute("UPDATE inaho_topology SET value = '{}' WHERE key = 'record'")
    with pytest.raises(InvalidSnapshot, match="record"):
        await provider.read_record()


@pytest.mark.parametrize("names", [("password",), ("password", "username")])
async def test_refused_credentials_are_invalid_and_not_repeated(
    topology_server: Server, providers: TopologyProviders, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]
) -> None:
    for name in ("password", "username"):
        monkeypatch.setenv(f"GIVEN_{name}", f"mistaken-{name}")
    provider = providers.make(secrets={name: SecretReference(env=f"GIVEN_{name}") for name in names})
    with pytest.raises(ProviderInvalid, match="username and password") as caught:
        await provider.check()
    assert "mistaken" not in "".join(traceback.format_exception(caught.value))
    assert "mistaken" not in repr(provider)


async def test_a_missing_secret_is_named(topology_server: Server, providers: TopologyProviders) -> None:
    provider = providers.make(secrets={"password": SecretReference(file="/nonexistent/password")})
    with pytest.raises(ProviderInvalid, match=r"provider ours.*/nonexistent/password"):
        await provider.read()


@pytest.mark.parametrize("many", [50_001])
async def test_more_entries_than_can_be_members_are_refused(
    topology_server: Server, providers: TopologyProviders, many: int
) -> None:
    provider = providers.make(timeout_s=LIMIT_S)
    await provider.register(member(1), TTL_S)
    if isinstance(topology_server, RedisTopologyServer):
        script = f"for i = 1, {many} do redis.call('ZADD', KEYS[1], '+inf', i) end return 1"
        topology_server.ask("EVAL", script, "1", f"{{inaho/{CLUSTER}}}/expiry")
    else:
        topology_server.execute(
            "INSERT INTO inaho_topology (prefix, key, value) "
            f"SELECT '{CLUSTER}', 'members/' || i, '' FROM generate_series(1, {many}) AS i"
        )
    with pytest.raises(InvalidSnapshot, match="more than"):
        await provider.read()
    topology_server.clear()
    assert await members(provider) == ()
