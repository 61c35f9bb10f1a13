"""What Redis refuses or forgets is told truthfully: scripts, eviction, types, passwords and odd names."""

from __future__ import annotations

import pytest

from inaho.errors import StorageFailed
from inaho.storage import StoredState
from inaho.storage.urls import storage_from_url
from inaho.types import ClusterIdentity
from support.service_servers import RedisServer
from support.storages import SHORT, names

pytestmark = pytest.mark.integration


async def test_redis_learns_the_script_again(redis_server: RedisServer) -> None:
    async with storage_from_url(redis_server.url, SHORT) as storage:
        (name,) = names(1)
        await storage.save(name, b"x", expected_version=0, epoch=1)
        redis_server.ask("SCRIPT", "FLUSH")
        assert await storage.save(name, b"y", expected_version=1, epoch=1) == 2


async def test_redis_that_evicts_is_refused(redis_server: RedisServer) -> None:
    redis_server.ask("CONFIG", "SET", "maxmemory", "100mb", "maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(StorageFailed, match="noeviction"):
            await storage_from_url(redis_server.url, SHORT).open()
    finally:
        redis_server.ask("CONFIG", "SET", "maxmemory", "0", "maxmemory-policy", "noeviction")


async def test_redis_refusals_executed_nothing(redis_server: RedisServer) -> None:
    async with storage_from_url(redis_server.url, SHORT) as storage:
        (name,) = names(1)
        redis_server.ask("SET", f"inaho:{{{name}}}", "another application's")
        with pytest.raises(StorageFailed, match="WRONGTYPE") as caught:
            await storage.save(name, b"x", expected_version=0, epoch=1)
        assert not caught.value.maybe_executed
        assert caught.value.identity == str(name)


async def test_redis_refuses_a_wrong_password_without_repeating_it(redis_server: RedisServer) -> None:
    with pytest.raises(StorageFailed) as caught:
        await storage_from_url(f"redis://:mistaken@127.0.0.1:{redis_server.port}", SHORT).open()
    assert "mistaken" not in str(caught.value)


async def test_redis_kinds_with_odd_signs_do_not_meet(redis_server: RedisServer) -> None:
    one, other = ClusterIdentity("a/b{", "c}"), ClusterIdentity("a", "b{/c}")
    async with storage_from_url(redis_server.url, SHORT) as storage:
        await storage.save(one, b"1", expected_version=0, epoch=1)
        await storage.save(other, b"2", expected_version=0, epoch=1)
        assert await storage.load(one) == StoredState(b"1", 1, 1)
    assert redis_server.ask("EXISTS", "inaho:{a%2Fb%7B/c}}").startswith(":1")
