"""The double of Consul follows the documented rules of Consul."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import test_utils

from support.consul_double.agent import Agent
from support.consul_double.durations import seconds
from support.consul_double.server import FILTERED, Double
from support.consul_double.store import Store

SCALE = 0.005
SHORT = {"TTL": "10s", "Behavior": "delete", "LockDelay": "0s", "NodeChecks": []}  # ends 0.1 s after a renewal
Client = test_utils.TestClient[Any, Any]


@pytest.fixture
async def consul() -> AsyncIterator[Client]:
    server = test_utils.TestServer(Double(None, SCALE).application())
    async with test_utils.TestClient(server) as client:
        yield client


async def put(consul: Client, path: str, body: object = None, token: str = "", status: int = 200) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
    async with consul.put(path, data=data, headers={"X-Consul-Token": token}) as answer:
        text = await answer.text()
        assert answer.status == status, text
        return json.loads(text) if answer.content_type == "application/json" else text


async def get(consul: Client, path: str, token: str = "") -> tuple[int, int, Any]:
    """Status, index, body."""
    async with consul.get(path, headers={"X-Consul-Token": token}) as answer:
        text = await answer.text()
        found = json.loads(text) if answer.content_type == "application/json" else text
        return answer.status, int(answer.headers.get("X-Consul-Index", -1)), found


async def session(consul: Client, **fields: object) -> str:
    identifier: str = (await put(consul, "/v1/session/create", {**SHORT, **fields}))["ID"]
    return identifier


def transaction(*operations: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"KV": operation} for operation in operations]


async def waits(consul: Client, path: str) -> asyncio.Task[tuple[int, int, Any]]:
    """A query that the server has received and that has not come back."""
    before = await received(consul)
    query = asyncio.create_task(get(consul, path))
    while await received(consul) == before:
        await asyncio.sleep(0)
    assert not query.done()
    return query


async def received(consul: Client) -> int:
    return sum((await get(consul, "/control/requests"))[2].values())


class Servers:
    """The state of the servers and an agent, with a clock that the test moves."""

    def __init__(self, file: Path | None = None) -> None:
        self.now = 100.0
        self.store = Store(file, 1.0, lambda: self.now, lambda: None)
        self.agent = Agent(self.store, 1.0, lambda: self.now)

    def session(self, **fields: object) -> str:
        return self.store.create_session({**SHORT, **fields}, "double")

    def advance(self, by_s: float) -> None:
        self.now += by_s
        self.store.end_due_sessions()
        self.agent.advance()

    def health(self, *, passing: bool) -> list[str]:
        return [each["Service"]["ID"] for each in self.agent.health("web", passing)[1]]


def test_durations_are_read_as_go_writes_them():
    assert [seconds(text) for text in ("10s", "1m30s", "15ms", "1.5h", "0")] == [10.0, 90.0, 0.015, 5400.0, 0.0]
    with pytest.raises(ValueError, match="invalid duration"):
        seconds("10")


async def test_a_key_has_its_index_and_a_list_the_highest_below_the_prefix(consul: Client):
    await put(consul, "/v1/kv/shop/a", b"1")
    await put(consul, "/v1/kv/shop/b", b"2")
    await put(consul, "/v1/kv/other", b"3")
    _, index_a, (entry,) = await get(consul, "/v1/kv/shop/a")
    assert base64.b64decode(entry["Value"]) == b"1" and entry["ModifyIndex"] == entry["CreateIndex"] == index_a
    assert "Session" not in entry
    _, index, entries = await get(consul, "/v1/kv/shop/?recurse")
    assert [each["Key"] for each in entries] == ["shop/a", "shop/b"] and index == index_a + 1
    await consul.delete("/v1/kv/shop/b")
    assert (await get(consul, "/v1/kv/shop/?recurse"))[1] == index + 2, "the tombstone keeps the index"
    await put(consul, "/control/reap")
    assert (await get(consul, "/v1/kv/shop/?recurse"))[1] == index_a, "without it the index is lower than before"
    assert (await get(consul, "/v1/kv/nothing/?recurse"))[::2] == (404, "")


async def test_a_write_that_changes_nothing_keeps_the_index(consul: Client):
    await put(consul, "/v1/kv/a", b"1")
    before = (await get(consul, "/v1/kv/a"))[1]
    await put(consul, "/v1/kv/a", b"1")
    assert (await get(consul, "/v1/kv/a"))[1] == before


async def test_compare_and_set(consul: Client):
    assert await put(consul, "/v1/kv/a?cas=0", b"1") is True
    assert await put(consul, "/v1/kv/a?cas=0", b"2") is False
    index = (await get(consul, "/v1/kv/a"))[1]
    assert await put(consul, f"/v1/kv/a?cas={index - 1}", b"2") is False
    assert await put(consul, f"/v1/kv/a?cas={index}", b"2") is True
    assert await put(consul, "/v1/kv/b?cas=77", b"2") is False
    assert "Conflicting" in await put(consul, "/v1/kv/a?cas=0&acquire=x", b"", status=400)


async def test_a_colon_in_a_key_is_refused_as_by_the_strictest_version(consul: Client):
    assert "invalid key name" in await put(consul, "/v1/kv/members/127.0.0.1:7700", b"", status=500)
    await put(consul, "/v1/kv/members/127.0.0.1,7700", b"")


async def test_a_blocking_query_returns_on_a_change_below_its_prefix_only(consul: Client):
    await put(consul, "/v1/kv/shop/a", b"1")
    index = (await get(consul, "/v1/kv/shop/?recurse"))[1]
    query = await waits(consul, f"/v1/kv/shop/?recurse&index={index}&wait=60s")
    await put(consul, "/v1/kv/other", b"1")
    await received(consul)
    assert not query.done()
    await put(consul, "/v1/kv/shop/b", b"1")
    assert (await query)[1] > index


async def test_a_blocking_query_returns_when_its_time_is_over_and_nothing_has_changed(consul: Client):
    await put(consul, "/v1/kv/a", b"1")
    index = (await get(consul, "/v1/kv/a"))[1]
    assert (await get(consul, f"/v1/kv/a?index={index}&wait=20ms"))[1] == index


async def test_an_index_that_is_passed_does_not_block_and_one_that_is_ahead_does(consul: Client):
    await put(consul, "/v1/kv/a", b"1")
    index = (await get(consul, "/v1/kv/a"))[1]
    assert (await get(consul, f"/v1/kv/a?index={index - 1}&wait=600s"))[1] == index
    ahead = await waits(consul, f"/v1/kv/a?index={index + 2}&wait=60s")
    for number in range(3):
        await received(consul)
        assert not ahead.done()
        await put(consul, "/v1/kv/a", b"new %d" % number)
    assert (await ahead)[1] == index + 3


async def test_faults_of_watches(consul: Client):
    for number in range(4):
        await put(consul, "/v1/kv/shop/b", b"%d" % number)
    index = (await get(consul, "/v1/kv/shop/?recurse"))[1]
    waiting = f"/v1/kv/shop/?recurse&index={index}&wait=60s"
    query = await waits(consul, waiting)
    await put(consul, "/control/wake")
    assert (await query)[1] == index, "woken early, without a change"
    await put(consul, "/control/watches", {"early_wakes": True, "index_zero": True})
    assert (await get(consul, waiting))[1] == 0
    await put(consul, "/control/clear")
    query = await waits(consul, waiting)
    await put(consul, "/control/rewind")
    status, lower, entries = await query
    assert status == 200 and lower < index and len(entries) == 1


async def test_a_session_is_renewed_and_destroyed(consul: Client):
    identifier = await session(consul, TTL="86400s")
    assert await put(consul, f"/v1/kv/a?acquire={identifier}", b"1") is True
    assert (await get(consul, "/v1/kv/a"))[2][0]["Session"] == identifier
    assert (await put(consul, f"/v1/session/renew/{identifier}"))[0]["TTL"] == "86400s"
    assert [each["ID"] for each in (await get(consul, "/v1/session/list"))[2]] == [identifier]
    assert await put(consul, f"/v1/session/destroy/{identifier}") is True
    assert (await get(consul, "/v1/kv/a"))[0] == 404
    assert "not found" in await put(consul, f"/v1/session/renew/{identifier}", status=404)
    assert await put(consul, f"/v1/session/destroy/{identifier}") is True


async def test_a_session_that_nobody_renews_ends(consul: Client):
    await put(consul, f"/v1/kv/a?acquire={await session(consul)}", b"1")
    while (await get(consul, "/v1/kv/a"))[0] != 404:
        await asyncio.sleep(0)


def test_a_session_ends_after_twice_its_ttl():
    servers = Servers()
    identifier = servers.session()
    assert servers.store.lock(servers.store.next_index(), "a", "MQ==", identifier)
    servers.advance(19.9)
    assert servers.store.renew_session(identifier)
    servers.advance(19.9)
    assert servers.store.get("a")[1]
    servers.advance(0.2)
    assert servers.store.get("a")[1] is None and servers.store.renew_session(identifier) is None


def test_a_session_that_releases_leaves_its_keys_and_its_lock_delay():
    servers = Servers()
    store = servers.store
    first, second = servers.session(Behavior="release", LockDelay="20s"), servers.session(TTL="")
    assert store.lock(11, "a", "MQ==", first)
    assert not store.lock(12, "a", "Mg==", second), "another session holds it"
    store.destroy_session(first)
    entry = store.get("a")[1]
    assert entry and entry.session == ""
    assert store.lock_delayed("a")
    servers.advance(20.1)
    assert not store.lock_delayed("a")
    assert store.lock(14, "a", "Mg==", second)
    entry = store.get("a")[1]
    assert entry and entry.lock_index == 2
    assert store.unlock(15, "a", "Mw==", second) and not store.unlock(16, "a", "NA==", second)


async def test_a_key_is_not_locked_in_its_lock_delay(consul: Client):
    first, second = await session(consul, LockDelay="60s"), await session(consul, TTL="")
    assert await put(consul, f"/v1/kv/a?acquire={first}", b"1") is True
    await put(consul, f"/v1/session/destroy/{first}")
    while not await put(consul, f"/v1/kv/a?acquire={second}", b"2"):
        await asyncio.sleep(0)
    assert await put(consul, f"/v1/kv/a?release={second}", b"3") is True


@pytest.mark.parametrize("ttl", ["9s", "86401s"])
async def test_the_ttl_of_a_session_has_bounds(consul: Client, ttl: str):
    assert "Invalid Session TTL" in await put(consul, "/v1/session/create", {"TTL": ttl}, status=500)


async def test_a_transaction_is_done_as_a_whole_or_not_at_all(consul: Client):
    first, second = await session(consul, TTL=""), await session(consul, TTL="")
    await put(consul, f"/v1/kv/a?acquire={first}", b"1")
    value = base64.b64encode(b"2").decode()
    lock = {"Verb": "lock", "Key": "a", "Session": second, "Value": value}
    failed = await put(
        consul, "/v1/txn", transaction({"Verb": "delete", "Key": "a"}, {**lock, "Session": "x"}), "", 409
    )
    assert failed["Errors"] == [{"OpIndex": 1, "What": 'invalid session "x"'}]
    assert (await get(consul, "/v1/kv/a"))[2][0]["Session"] == first
    assert "already held" in str(await put(consul, "/v1/txn", transaction(lock), "", 409))
    done = await put(consul, "/v1/txn", transaction({"Verb": "delete", "Key": "a"}, lock))
    assert [result["KV"]["Session"] for result in done["Results"]] == [second]
    await put(consul, f"/v1/session/destroy/{first}")
    assert base64.b64decode((await get(consul, "/v1/kv/a"))[2][0]["Value"]) == b"2", "the first holds it no more"
    stale = {"Verb": "delete-cas", "Key": "a", "Index": 1}
    assert "stale" in str(await put(consul, "/v1/txn", transaction(stale), "", 409))
    await put(consul, "/v1/txn", transaction({**stale, "Key": "nothing"}))


async def test_tokens(consul: Client):
    await put(consul, "/v1/kv/shop/a", b"1")
    await put(consul, "/v1/kv/other", b"1")
    rules = {"reader": {"key_prefix": {"shop/": "read"}}, "writer": {"key_prefix": {"shop/": "write"}}}
    await put(consul, "/control/tokens", {"tokens": rules})
    assert "ACL not found" in await put(consul, "/v1/kv/shop/a", b"2", "unknown", 403)
    assert "Permission denied" in await put(consul, "/v1/kv/shop/a", b"2", "reader", 403)
    await put(consul, "/v1/kv/shop/a", b"2", "writer")
    assert (await get(consul, "/v1/kv/other", "reader"))[0] == 403
    async with consul.get("/v1/kv/?recurse", headers={"X-Consul-Token": "reader"}) as answer:
        assert [entry["Key"] for entry in await answer.json()] == ["shop/a"]
        assert answer.headers[FILTERED] == "true"
    assert (await get(consul, "/v1/kv/shop/?recurse"))[::2] == (404, ""), "the anonymous token sees nothing"
    assert "Permission denied" in await put(consul, "/v1/session/create", SHORT, "writer", 403)
    denied = transaction({"Verb": "delete", "Key": "other"})
    assert "Permission denied" in str(await put(consul, "/v1/txn", denied, "writer", 409)), "409, not 403"
    await put(consul, "/control/tokens", {"tokens": rules, "list_policy": True})
    assert (await get(consul, "/v1/kv/shop/?recurse", "reader"))[0] == 403, "read is less than list"
    assert (await get(consul, "/v1/kv/shop/?recurse", "writer"))[0] == 200, "write is more"


def test_a_restart_keeps_keys_and_sessions_and_gives_sessions_their_time_again(tmp_path: Path):
    file = tmp_path / "state.json"
    servers = Servers(file)
    servers.store.lock(servers.store.next_index(), "a", "MQ==", servers.session())
    servers.agent.register({"Name": "web", "Port": 80})
    again = Servers(file)
    assert again.store.get("a") == servers.store.get("a")
    assert again.health(passing=False) == [], "the agent has no disk"
    again.advance(19.9)
    assert again.store.get("a")[1]
    again.advance(0.2)
    assert again.store.get("a")[1] is None


def test_a_service_with_a_ttl_check():
    servers = Servers()
    check = {"TTL": "20s", "DeregisterCriticalServiceAfter": "1s"}  # at least a minute
    servers.agent.register({"Name": "web", "ID": "web1", "Port": 80, "Check": check})
    assert servers.health(passing=True) == [], "critical until it is updated"
    before = servers.agent.health("web", True)[0]
    servers.agent.update_check("service:web1", "passing", "")
    assert servers.health(passing=True) == ["web1"] and servers.agent.health("web", True)[0] > before
    servers.advance(20.1)
    assert servers.health(passing=True) == [] and servers.health(passing=False) == ["web1"]
    servers.advance(59.0)
    assert servers.health(passing=False) == ["web1"]
    servers.advance(31.0)
    assert servers.health(passing=False) == []


async def test_a_change_of_health_ends_a_blocking_query(consul: Client):
    service = {"Name": "web", "ID": "web1", "Port": 80, "Check": {"TTL": "24h"}}
    await put(consul, "/v1/agent/service/register", service)
    passing = "/v1/health/service/web?passing=1"
    _, index, found = await get(consul, passing)
    assert found == []
    query = await waits(consul, f"{passing}&index={index}&wait=60s")
    await put(consul, "/v1/agent/check/update/service:web1", {"Status": "passing"})
    _, after, found = await query
    assert after > index and [each["Service"]["ID"] for each in found] == ["web1"]
    await put(consul, "/v1/agent/check/fail/service:web1")
    assert (await get(consul, passing))[2] == []
    assert "Unknown check" in await put(consul, "/v1/agent/check/pass/service:web2", status=404)


async def test_services_are_removed_and_lost(consul: Client):
    await put(consul, "/v1/agent/service/register", {"Name": "web", "Port": 80})
    await put(consul, "/v1/agent/service/register", {"Name": "db", "Port": 81})
    await put(consul, "/v1/agent/service/deregister/web")
    assert "Unknown service" in await put(consul, "/v1/agent/service/deregister/web", status=404)
    await put(consul, "/control/agent_restart")
    assert (await get(consul, "/v1/health/service/db"))[2] == []
    long = {"Name": "web", "Meta": {"kinds": "x" * 513}}
    assert "too long" in await put(consul, "/v1/agent/service/register", long, status=400)


async def test_faults_of_requests(consul: Client):
    await put(consul, "/control/fault", {"path": "PUT /v1/kv", "status": 429, "times": 2})
    await put(consul, "/v1/kv/a", b"1", status=429)
    assert (await get(consul, "/v1/kv/a"))[0] == 404, "a fault of another request"
    await put(consul, "/v1/kv/a", b"1", status=429)
    await put(consul, "/v1/kv/a", b"1")
    await put(consul, "/control/fault", {"path": "/v1/session", "status": 500})
    assert await put(consul, "/v1/session/create", SHORT, status=500) == "No cluster leader"
    await put(consul, "/control/fault", {"path": "/v1/kv", "silent": True})
    silent = await waits(consul, "/v1/kv/a")
    silent.cancel()
    await put(consul, "/control/clear")
    await put(consul, "/control/fault", {"path": "GET /v1/kv", "held": True})
    held = await waits(consul, "/v1/kv/a")
    await put(consul, "/v1/kv/a", b"2")
    await put(consul, "/control/clear")
    assert (await held)[2][0]["Value"] == base64.b64encode(b"1").decode()
    assert (await get(consul, "/v1/kv/a"))[0] == 200
