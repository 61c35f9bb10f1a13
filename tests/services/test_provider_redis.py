"""The provider in Redis: when it keeps the record, permissions, a full memory, TLS, Redis Cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from inaho.config import SecretReference
from inaho.core.provisioning.founding import ClusterRecord
from inaho.errors import ProviderInvalid, ProviderStreamFailed, ProviderUnreachable
from inaho.testing.histories.grain_process import free_ports
from support.certificates import CertificateAuthority
from support.service_servers import PASSWORD, RedisNodes, RedisServer
from support.topology_servers import CLUSTER, RedisTopologyServer, TopologyProviders, member

pytestmark = pytest.mark.integration

TTL_S = 60.0
RECORD = ClusterRecord("0123456789abcdef", 1, "127.0.0.1:1", "node1")


@contextmanager
def started(server: RedisServer) -> Iterator[RedisServer]:
    """A further server, ended at the end. Its program is there, as another test server runs."""
    try:
        server.start()
        yield server
    finally:
        server.end()


@contextmanager
def configured(server: RedisServer, **settings: str) -> Iterator[None]:
    """Settings of the server for some time."""
    before = {name: server.ask("CONFIG", "GET", name.replace("_", "-")).split("\r\n")[4] for name in settings}
    for name, value in settings.items():
        assert "OK" in server.ask("CONFIG", "SET", name.replace("_", "-"), value)
    try:
        yield
    finally:
        for name, value in before.items():
            server.ask("CONFIG", "SET", name.replace("_", "-"), value)


async def test_without_a_flush_of_each_write_the_record_is_refused_and_registrations_go_on(
    redis_topology: RedisTopologyServer, providers: TopologyProviders
) -> None:
    provider = providers.make()
    for settings in ({"appendfsync": "everysec"}, {"appendfsync": "no"}, {"appendonly": "no"}):
        with configured(redis_topology, **settings):
            await provider.check()
            assert not provider.capabilities.record
            assert provider.capabilities.register
            for request in (provider.read_record(), provider.write_record(RECORD, "")):
                with pytest.raises(ProviderInvalid, match=r"cannot keep the record.*appendfsync always"):
                    await request
            await provider.register(member(1), TTL_S)
            assert (await provider.read()).members == (member(1),)
    await provider.check()
    assert provider.capabilities.record, "it can again"
    assert await provider.read_record() == (None, ""), "nothing was written meanwhile"


async def test_a_server_that_may_evict_the_record_is_refused_it(
    redis_topology: RedisTopologyServer, providers: TopologyProviders
) -> None:
    provider = providers.make()
    evicting = configured(redis_topology, maxmemory="100mb", maxmemory_policy="allkeys-lru")
    with evicting, pytest.raises(ProviderInvalid, match="noeviction"):
        await provider.write_record(RECORD, "")
    token = ""
    for limit, policy in (("100mb", "volatile-lru"), ("100mb", "noeviction"), ("0", "allkeys-lru")):
        with configured(redis_topology, maxmemory=limit, maxmemory_policy=policy):
            assert await provider.write_record(RECORD, token)
            _, token = await provider.read_record()
    assert provider.capabilities.record


async def test_with_replicas_there_is_no_record_and_none_for_a_while_after_they_left(
    redis_topology: RedisTopologyServer, providers: TopologyProviders
) -> None:
    with started(RedisTopologyServer("--masterauth", PASSWORD)) as replica:
        provider = providers.make()
        assert await provider.write_record(RECORD, "")
        _, token = await provider.read_record()
        replica.ask("REPLICAOF", "127.0.0.1", str(redis_topology.port))
        while "master_link_status:up" not in replica.ask("INFO", "replication"):
            pass
        with pytest.raises(ProviderInvalid, match="it has replicas"):
            await provider.write_record(RECORD, token)
        await provider.check()
        assert not provider.capabilities.record
        await provider.register(member(1), TTL_S)
        at_replica = providers.make(replica.url)
        with pytest.raises(ProviderUnreachable, match="read only replica"):
            await at_replica.check()
        with pytest.raises(ProviderUnreachable, match="read only replica"):
            await at_replica.register(member(2), TTL_S)
        with pytest.raises(ProviderInvalid, match="it is a replica"):
            await at_replica.read_record()
    while "connected_slaves:0" not in redis_topology.ask("INFO", "replication"):
        pass
    with pytest.raises(ProviderInvalid, match="had a replica a short time ago"):
        await provider.write_record(RECORD, token)
    redis_topology.kill()
    redis_topology.start()
    assert await provider.write_record(RECORD, token), "after a restart without replicas there is none to be promoted"


async def test_one_of_many_expired_registrations_is_not_renewed(
    redis_topology: RedisTopologyServer, providers: TopologyProviders
) -> None:
    """A renewal removes some that have expired, and this one is not among them."""
    provider = providers.make()
    await provider.register(member(1), TTL_S)
    script = "for i = 1, 200 do redis.call('ZADD', KEYS[1], 0, i) end return 1"
    redis_topology.ask("EVAL", script, "1", f"{{inaho/{CLUSTER}}}/expiry")
    redis_topology.expire(member(1).authority)
    assert await provider.renew(member(1), TTL_S) is False
    assert (await provider.read()).members == ()


async def test_a_full_memory_is_unreachable_until_there_is_room(
    redis_topology: RedisTopologyServer, providers: TopologyProviders
) -> None:
    provider = providers.make()
    await provider.register(member(1), TTL_S)
    with configured(redis_topology, maxmemory="1mb"):
        redis_topology.ask("CONFIG", "SET", "maxmemory", "1")
        for request in (
            provider.register(member(2), TTL_S),
            provider.write_record(RECORD, ""),
            provider.check(),
        ):
            with pytest.raises(ProviderUnreachable, match="maxmemory"):
                await request
        assert (await provider.read()).members == (member(1),)
        await provider.deregister()
    await provider.register(member(2), TTL_S)


@contextmanager
def user(server: RedisServer, *rules: str) -> Iterator[dict[str, SecretReference]]:
    """A user of the server with these rules, and its secrets."""
    file = server.folder / "clerk.secret"
    file.write_text("clerk")
    server.ask("ACL", "SETUSER", "clerk", "reset", "on", f">{PASSWORD}", *rules)
    try:
        yield {"username": SecretReference(file=str(file)), "password": SecretReference(file=str(_password(server)))}
    finally:
        server.ask("ACL", "DELUSER", "clerk")


def _password(server: RedisServer) -> Path:
    return server.folder / "password.secret"


GUIDE = Path(__file__).parents[2] / "docs" / "providers" / "redis.md"
RULES = next(line for line in GUIDE.read_text("utf-8").splitlines() if line.startswith("ACL SETUSER")).split()
ENOUGH = tuple(rule for rule in RULES if rule.startswith("+") and rule not in ("+info", "+config|get"))
KEYS = f"~{{inaho/{CLUSTER}}}/*"


async def test_the_permissions_of_the_guide_are_enough(
    redis_topology: RedisTopologyServer, providers: TopologyProviders
) -> None:
    assert RULES[:6] == ["ACL", "SETUSER", "inaho", "on", ">password", KEYS]
    with user(redis_topology, *RULES[5:]) as secrets:
        provider = providers.make(secrets=secrets)
        await provider.check()
        assert provider.capabilities.record
        await provider.register(member(1), TTL_S)
        assert await provider.renew(member(1), TTL_S)
        assert (await provider.read()).members == (member(1),)
        assert await provider.write_record(RECORD, "")
        await provider.deregister()


@pytest.mark.parametrize("rules", [(KEYS,), ("~other", *ENOUGH), (KEYS, *ENOUGH, "-zrem"), (KEYS, *ENOUGH, "-eval")])
async def test_a_missing_permission_is_found_by_the_check(
    redis_topology: RedisTopologyServer, providers: TopologyProviders, rules: tuple[str, ...]
) -> None:
    with user(redis_topology, *rules) as secrets:
        with pytest.raises(ProviderInvalid, match="permission") as caught:
            await providers.make(secrets=secrets).check()
        assert "clerk" not in caught.value.reason


@pytest.mark.parametrize("rules", [("+info",), ("+config|get",)])
async def test_who_may_not_ask_how_durable_the_server_is_has_no_record(
    redis_topology: RedisTopologyServer, providers: TopologyProviders, rules: tuple[str, ...]
) -> None:
    with user(redis_topology, KEYS, *ENOUGH, *rules) as secrets:
        provider = providers.make(secrets=secrets)
        await provider.check()
        assert not provider.capabilities.record
        with pytest.raises(ProviderInvalid, match="cannot be asked"):
            await provider.read_record()
        await provider.register(member(1), TTL_S)


async def test_keys_of_another_application_are_invalid(
    redis_topology: RedisTopologyServer, providers: TopologyProviders
) -> None:
    redis_topology.ask("SET", f"{{inaho/{CLUSTER}}}/members", "theirs")
    provider = providers.make()
    for request in (provider.check(), provider.register(member(1), TTL_S)):
        with pytest.raises(ProviderInvalid, match="another application"):
            await request


async def test_numbered_databases_do_not_meet(
    redis_topology: RedisTopologyServer, providers: TopologyProviders
) -> None:
    one, other = providers.make("?db=3"), providers.make()
    await one.register(member(1), TTL_S)
    assert (await other.read()).members == ()
    with pytest.raises((ProviderInvalid, ProviderStreamFailed, ProviderUnreachable), match="DB index"):
        await providers.make("?db=99").check()


async def test_the_certificate_of_the_server_is_verified(
    redis_topology: RedisTopologyServer, providers: TopologyProviders, tmp_path: Path
) -> None:
    theirs, other = CertificateAuthority(tmp_path, "theirs"), CertificateAuthority(tmp_path, "other")
    files, strange = theirs.issue("server", "127.0.0.1"), other.issue("client")
    (port,) = free_ports(1)
    settings = ("--tls-port", str(port), "--tls-cert-file", files.certificate, "--tls-key-file", files.private_key)
    settings += ("--tls-ca-cert-file", strange.authority_certificates)
    with started(RedisTopologyServer(*settings)):
        url, ca = f"rediss://127.0.0.1:{port}", f"?ca={files.authority_certificates}"
        for options in ("", f"?ca={strange.authority_certificates}"):
            with pytest.raises(ProviderInvalid, match="certificate of the server does not verify"):
                await providers.make(url + options).check()
        with pytest.raises((ProviderInvalid, ProviderUnreachable)):
            await providers.make(url + ca).check()
        provider = providers.make(f"{url}{ca}&cert={strange.certificate}&key={strange.private_key}")
        await provider.check()
        await provider.register(member(1), TTL_S)


async def test_one_server_of_a_redis_cluster_takes_registrations_and_no_record() -> None:
    server = RedisTopologyServer(clustered=True)
    with started(server):
        providers = TopologyProviders(server)
        provider = providers.make()
        await provider.check()
        assert not provider.capabilities.record
        await provider.register(member(1), TTL_S)
        assert (await provider.read()).members == (member(1),)
        with pytest.raises(ProviderInvalid, match="Redis Cluster"):
            await provider.write_record(RECORD, "")
        await providers.close()


async def test_a_server_that_has_not_the_slot_names_the_one_that_has(
    redis_topology: RedisTopologyServer, providers: TopologyProviders, redis_nodes: RedisNodes
) -> None:
    outcomes: list[str] = []
    for server in redis_nodes.servers[:-1]:
        try:
            await providers.make(f"redis://127.0.0.1:{server.port}").check()
            outcomes.append("serves")
        except ProviderInvalid as error:
            outcomes.append(error.reason.rpartition(" ")[2])
    serving = redis_nodes.servers[outcomes.index("serves")]
    assert sorted(outcomes) == sorted(["serves", *[f"127.0.0.1:{serving.port}"] * 2])


async def test_a_sentinel_is_no_server(redis_topology: RedisTopologyServer, providers: TopologyProviders) -> None:
    class Sentinel(RedisServer):
        def _command(self) -> list[str]:
            file = self.folder / "sentinel.conf"
            file.write_text(f"port {self.port}\nbind 127.0.0.1\nrequirepass {PASSWORD!r}\n")
            return [self._program, str(file), "--sentinel"]

    with started(Sentinel()) as sentinel, pytest.raises(ProviderInvalid, match="Sentinel"):
        await providers.make(f"redis://127.0.0.1:{sentinel.port}").check()
