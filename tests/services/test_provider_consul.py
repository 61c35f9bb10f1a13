"""The Consul back end against a double of Consul: registrations, the watch, the record, permissions."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from inaho.config import SecretReference
from inaho.core.provisioning.founding import ClusterRecord
from inaho.core.provisioning.snapshot import checked
from inaho.errors import InvalidSnapshot, ProviderInvalid, ProviderUnreachable
from support.consul_clients import TTL_S, authorities, consul, member, until_listed, watching
from support.consul_servers import ConsulServer

pytestmark = pytest.mark.integration

POLICY = {"key_prefix": {"inaho/shop/": "write"}, "session_prefix": {"": "write"}}  # of docs/providers/consul.md
WRITERS = 20


@pytest.fixture
def server(consul_server: ConsulServer) -> ConsulServer:
    return consul_server


async def test_a_registration_comes_back_whole_and_goes(server: ConsulServer) -> None:
    whole = member(
        7700,
        incarnation=3,
        kinds=tuple(f"Kind{number:03}" * 20 for number in range(100)),  # far more than the metadata of a service takes
        weight=2.5,
        roles=("注文",),
        quarantined=("127.0.0.1:7701",),
    )
    async with consul(server) as provider:
        await provider.register(whole, TTL_S)
        assert (await provider.read()).members == (whole,)
        assert server.keys() == ["inaho/shop/members/127.0.0.1,7700"]
        (session,) = server.sessions()
        assert (session["TTL"], session["Behavior"], session["LockDelay"]) == ("15s", "delete", 0)
        assert session["NodeChecks"] == [] and session["Name"] == "inaho shop 127.0.0.1:7700"
        assert await provider.renew(whole, TTL_S)
        await provider.deregister()
        assert (await provider.read()).members == () and server.sessions() == []
        await provider.deregister()


@pytest.mark.parametrize(("ttl_s", "written"), [(1.0, "10s"), (15.2, "16s"), (1e6, "86400s")])
async def test_a_ttl_is_one_that_consul_takes(server: ConsulServer, ttl_s: float, written: str) -> None:
    async with consul(server) as provider:
        await provider.register(member(7700), ttl_s)
        assert [session["TTL"] for session in server.sessions()] == [written]


async def test_the_entry_of_another_process_is_replaced_and_then_left_alone(server: ConsulServer) -> None:
    former, later = member(7700, "former"), member(7700, "later")
    async with consul(server) as one, consul(server) as two:
        await one.register(former, TTL_S)
        assert not await two.renew(later, TTL_S)
        await two.register(later, TTL_S)
        assert not await one.renew(former, TTL_S)
        await one.deregister()
        assert (await one.read()).members == (later,)
        assert await two.renew(later, TTL_S)
        for session in server.sessions():
            if session["ID"] not in str(server.ask("GET", "/v1/kv/inaho/?recurse")):
                server.ask("PUT", f"/v1/session/destroy/{session['ID']}")  # the former one, as when it runs out
        assert (await two.read()).members == (later,)


async def test_an_entry_that_no_session_holds_is_written_again_or_removed(server: ConsulServer) -> None:
    mine = member(7700)
    key = f"/v1/kv/{server.key('members/127.0.0.1:7700')}"
    async with consul(server) as provider:
        await provider.register(mine, TTL_S)
        (session,) = server.sessions()
        text = server.ask("GET", f"{key}?raw")
        server.ask("PUT", f"{key}?release={session['ID']}", text)
        assert not await provider.renew(mine, TTL_S), "it would never run out"
        await provider.register(mine, TTL_S)
        assert await provider.renew(mine, TTL_S)
        session = max(server.sessions(), key=lambda each: int(each["CreateIndex"]))
        server.ask("PUT", f"{key}?release={session['ID']}", text)
        await provider.deregister()
        assert server.keys() == []


async def test_a_new_provider_object_renews_what_its_process_has_written(server: ConsulServer) -> None:
    async with consul(server) as one, consul(server) as two:
        await one.register(member(7700), TTL_S)
        assert await two.renew(member(7700), TTL_S)


async def test_the_watch_brings_joins_leaves_and_blocks(server: ConsulServer) -> None:
    async with consul(server) as one, consul(server) as two, watching(one) as watch:
        await two.register(member(7700), TTL_S)
        await until_listed(watch, ["127.0.0.1:7700"])
        await one.register(member(7701), TTL_S)
        await until_listed(watch, ["127.0.0.1:7700", "127.0.0.1:7701"])
        await two.deregister()
        await until_listed(watch, ["127.0.0.1:7701"])
        server.ask("PUT", f"/v1/kv/{server.key('blocked/127.0.0.1:7701')}", b"by hand")
        found = await anext(watch)
        assert found is not None and found.blocked_nodes == ("127.0.0.1:7701",)
        assert found == await one.read(), "the position too"


async def test_a_watch_that_is_empty_at_first(server: ConsulServer) -> None:
    async with consul(server) as provider:
        assert (await provider.read()).position != "0"
        async with watching(provider) as watch:
            await provider.register(member(7700), TTL_S)
            await until_listed(watch, ["127.0.0.1:7700"])


async def test_a_quiet_watch_says_that_nothing_has_changed(server: ConsulServer) -> None:
    async with consul(f"{server.url}?wait_s=1") as provider, watching(provider) as watch:
        assert await anext(watch) == await provider.read()


async def test_of_20_writers_of_the_record_one_wins_and_its_successor_too(server: ConsulServer) -> None:
    async def write(number: int, generation: int) -> bool:
        async with consul(server) as provider:
            record, token = await provider.read_record()
            assert (record.generation if record else 0) == generation - 1
            await together.wait()
            new = ClusterRecord("0" * 16, generation, f"127.0.0.1:{number}", f"node-{number}")
            return await provider.write_record(new, token)

    for generation in (1, 2):
        together = asyncio.Barrier(WRITERS)
        won = await asyncio.gather(*(write(7700 + number, generation) for number in range(WRITERS)))
        assert won.count(True) == 1
        async with consul(server) as provider:
            record, token = await provider.read_record()
            assert record and (record.generation, record.node_id) == (generation, f"node-{7700 + won.index(True)}")
            assert not await provider.write_record(record, "")
            assert not await provider.write_record(record, str(int(token) - 1))
    assert server.sessions() == [], "the record never expires"


async def test_a_cluster_sees_its_prefix_only(server: ConsulServer) -> None:
    async with consul(server) as shop, consul(f"{server.url}-2") as other:
        await shop.register(member(7700), TTL_S)
        await other.register(member(7701), TTL_S)
        assert await authorities(shop) == ["127.0.0.1:7700"]
        assert await authorities(other) == ["127.0.0.1:7701"]


async def test_the_entry_of_another_cluster_or_of_nobody_is_refused(server: ConsulServer) -> None:
    key = f"/v1/kv/{server.key('members/127.0.0.1:7701')}"
    async with consul(server) as provider:
        await provider.register(member(7700), TTL_S)
        server.ask("PUT", key, b'{"authority":"127.0.0.1:7701","node_id":"x","cluster":"till"}')
        found = await provider.read()
        with pytest.raises(InvalidSnapshot, match="the cluster 'till'"):
            checked(found.members, found.blocked_nodes, 1000, "shop")
        server.ask("PUT", key, b"hello")
        with pytest.raises(InvalidSnapshot, match=r"127\.0\.0\.1:7701"):
            await provider.read()


async def test_a_check_leaves_nothing_behind(server: ConsulServer) -> None:
    async with consul(server) as provider:
        await provider.check()
        assert server.keys() == [] and server.sessions() == []
        await provider.write_record(ClusterRecord("0" * 16, 1, "127.0.0.1:1", "a"), "")
        before = await provider.read_record()
        await provider.check()
        assert await provider.read_record() == before


async def test_the_policy_of_the_guide_is_enough(server: ConsulServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSUL_TOKEN", "the-token")
    server.control("tokens", tokens={"the-token": POLICY}, list_policy=True)
    async with consul(server, secrets={"token": SecretReference(env="CONSUL_TOKEN")}) as provider:
        await provider.check()
        await provider.register(member(7700), TTL_S)
        assert await provider.renew(member(7700), TTL_S)
        assert await provider.write_record(ClusterRecord("0" * 16, 1, "127.0.0.1:1", "a"), "")
        await provider.deregister()


@pytest.mark.parametrize(
    ("policy", "list_policy", "says"),
    [
        ({**POLICY, "key_prefix": {"inaho/": "read"}}, False, "key_prefix"),
        ({**POLICY, "key_prefix": {"inaho/": "read"}}, True, "refuses the token"),
        ({"session_prefix": {"": "write"}}, False, "refuses the token"),
        ({"key_prefix": {"inaho/": "write"}}, False, "session"),
        ({**POLICY, "key": {"inaho/shop/record": "deny"}}, False, "refuses the token"),
        ({**POLICY, "key_prefix": {"inaho/": "read", "inaho/shop/members/": "write"}}, False, "inaho/shop/record"),
    ],
)
async def test_a_check_finds_each_permission_that_is_missing(
    server: ConsulServer, tmp_path: Path, policy: dict[str, dict[str, str]], list_policy: bool, says: str
) -> None:
    (tmp_path / "token").write_text("the-token")
    server.control("tokens", tokens={"the-token": policy}, list_policy=list_policy)
    async with consul(server, secrets={"token": SecretReference(file=str(tmp_path / "token"))}) as provider:
        with pytest.raises(ProviderInvalid, match=says) as caught:
            await provider.check()
    assert "the-token" not in str(caught.value) and "c1" in caught.value.reason


async def test_a_list_that_lacks_entries_for_want_of_a_permission_is_no_list(server: ConsulServer) -> None:
    async with consul(server) as provider:
        await provider.register(member(7700), TTL_S)
        await provider.register(member(7701), TTL_S)
        hidden = {"key_prefix": {"inaho/": "read"}, "key": {server.key("members/127.0.0.1:7701"): "deny"}}
        server.control("tokens", tokens={"": hidden})
        with pytest.raises(ProviderInvalid, match="does not read all keys"):
            await provider.read()


async def test_an_unknown_secret_is_refused(server: ConsulServer) -> None:
    with pytest.raises(ProviderInvalid, match="unknown secret password; known are token"):
        async with consul(server, secrets={"password": SecretReference(env="HOME")}):
            pytest.fail("it was accepted")


async def test_requests_are_as_few_as_the_guide_says(server: ConsulServer) -> None:
    async with consul(server) as provider:
        counts: list[int] = []
        for act in (provider.register(member(7700), TTL_S), provider.renew(member(7700), TTL_S), provider.read()):
            before = sum(server.requests().values())
            await act
            counts.append(sum(server.requests().values()) - before)
    assert counts == [2, 2, 1]


async def test_after_close_nothing_is_asked(server: ConsulServer) -> None:
    async with consul(server) as provider:
        await provider.read()
        await provider.close()
        await provider.close()
        with pytest.raises(ProviderUnreachable, match="closed"):
            await provider.read()
