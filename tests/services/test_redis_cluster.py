"""Redis Cluster while its parts die, stand still and change hands: only whom it concerns notices."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from itertools import count

import pytest
from redis.crc import key_slot

from inaho.config import StorageConfig
from inaho.errors import InvalidConfig, StorageFailed
from inaho.storage import Storage, StoredState, StoredVersion
from inaho.storage.redis import RedisStorage
from inaho.storage.urls import storage_from_url
from inaho.types import ClusterIdentity
from support.service_servers import RedisNode, RedisNodes

pytestmark = pytest.mark.integration

LIMIT_S = 50.0  # less than pytest allows a test, which would not say what was waited for

_kinds = count(1)


def slot_of(name: ClusterIdentity) -> int:
    return key_slot(f"inaho:{{{name}}}".encode())


def names(number: int, *, first: int, last: int = 16383) -> list[ClusterIdentity]:
    """Identities that no other test has used, in these slots."""
    kind = f"Clustered{next(_kinds)}"
    found = (name for key in count() if first <= slot_of(name := ClusterIdentity(kind, str(key))) <= last)
    return [next(found) for _ in range(number)]


def replicated(server: RedisNode) -> int:
    """Up to where in the stream of writes the server is."""
    lines = server.ask("INFO", "replication").splitlines()
    return next(int(line.partition(":")[2]) for line in lines if line.startswith("master_repl_offset:"))


@pytest.fixture
async def storage(redis_nodes: RedisNodes) -> AsyncIterator[Storage]:
    await asyncio.to_thread(redis_nodes.settle)
    # Less than the servers take to replace one that stands still: what waited behind it would fail, and be noticed.
    async with storage_from_url(redis_nodes.url, StorageConfig(operation_timeout_s=3.5)) as storage:
        yield storage


class Savers:
    """Saves each identity again and again; `failed` counts by whether it may have been executed."""

    def __init__(self, storage: Storage, identities: list[ClusterIdentity]) -> None:
        self.storage = storage
        self.saved: Counter[ClusterIdentity] = Counter()
        self.failed: Counter[bool] = Counter()
        self._tasks = [asyncio.ensure_future(self._save(identity)) for identity in identities]

    async def _save(self, identity: ClusterIdentity) -> None:
        while True:
            version = self.saved[identity]
            try:
                self.saved[identity] = await self.storage.save(
                    identity, b"%d" % version, expected_version=version, epoch=1
                )
            except StorageFailed as failure:
                self.failed[failure.maybe_executed] += 1
                await asyncio.sleep(0)  # one that is closed refuses at once, and who closes it must have a turn

    async def progress(self, saves: int = 20) -> None:
        """Returns when each has been saved so many more times."""
        goal = {identity: self.saved[identity] + saves for identity in self.saved}
        async with asyncio.timeout(LIMIT_S):
            while not self.saved >= Counter(goal):
                await asyncio.wait(self._tasks, timeout=0.005)
                assert not any(task.done() for task in self._tasks)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)


async def test_keys_of_a_slot_on_the_move_are_found(redis_nodes: RedisNodes, storage: Storage):
    """Keys that are at the source still, and those that are to be made at the target (ASK)."""
    (old,) = names(1, first=0)
    slot = slot_of(old)
    (new,) = names(1, first=slot, last=slot)
    await asyncio.gather(*(storage.load(name) for name in names(50, first=0)))  # all lanes are connected
    assert await storage.save(old, b"old", expected_version=0, epoch=1) == 1
    source = redis_nodes.primary(slot)
    target = next(each for each in redis_nodes.servers[:3] if each is not source)
    target.ask("CLUSTER", "SETSLOT", str(slot), "IMPORTING", source.identifier)
    source.ask("CLUSTER", "SETSLOT", str(slot), "MIGRATING", target.identifier)
    for version in range(4):
        stored = StoredState(b"new", version, 1) if version else None
        answers = await asyncio.gather(storage.load(old), *(storage.load(new) for _ in range(20)))
        assert answers == [StoredState(b"old", 1, 1)] + [stored] * 20
        assert await storage.save(new, b"new", expected_version=version, epoch=1) == version + 1
    redis_nodes.migrate(f"inaho:{{{old}}}", source, target)
    assert await storage.save(old, b"moved", expected_version=1, epoch=1) == 2
    for key in source.keys_in(slot):  # the mark of the slot: who has keys does not give it away
        redis_nodes.migrate(key, source, target)
    for server in (target, source):
        server.ask("CLUSTER", "SETSLOT", str(slot), "NODE", target.identifier)
    assert await storage.load(old) == StoredState(b"moved", 2, 1)
    assert await storage.load(new) == StoredState(b"new", 4, 1)


async def test_a_log_whose_slot_moves_goes_on(redis_nodes: RedisNodes, storage: Storage):
    logs = storage.log
    assert logs is not None
    name = next(name for key in count() if key_slot((name := f"moving-{key}/0").encode()) <= 5000)
    slot = key_slot(name.encode())
    await logs.open_log(name, epoch=1)
    await logs.append(name, [b"0"], offset=0, epoch=1)
    source = redis_nodes.primary(slot)
    target = next(each for each in redis_nodes.servers[:3] if each is not source)
    target.ask("CLUSTER", "SETSLOT", str(slot), "IMPORTING", source.identifier)
    source.ask("CLUSTER", "SETSLOT", str(slot), "MIGRATING", target.identifier)
    await logs.append(name, [b"1"], offset=1, epoch=1)
    redis_nodes.migrate(f"inaho:{{{name}}}:log", source, target)
    with pytest.raises(StorageFailed) as caught:  # its keys are apart for a moment
        await logs.append(name, [b"apart"], offset=2, epoch=1)
    assert not caught.value.maybe_executed
    redis_nodes.migrate(f"inaho:{{{name}}}:chunks", source, target)
    await logs.append(name, [b"2"], offset=2, epoch=1)  # the mark of the slot is still at the source
    for key in source.keys_in(slot):
        redis_nodes.migrate(key, source, target)
    for server in (target, source):
        server.ask("CLUSTER", "SETSLOT", str(slot), "NODE", target.identifier)
    await logs.append(name, [b"3"], offset=3, epoch=1)
    assert [record.data for record in await logs.read(name, 0, records_max=10)] == [b"0", b"1", b"2", b"3"]


async def test_slots_that_change_hands_fail_nobody(redis_nodes: RedisNodes, storage: Storage):
    savers = Savers(storage, names(20, first=8000))
    await savers.progress(1)
    moving = names(12, first=0, last=500)
    staying = names(12, first=8000)
    for name in staying:
        await storage.save(name, b"x", expected_version=0, epoch=4)
    mixed = [name for pair in zip(moving, staying, strict=True) for name in pair]
    assert await storage.versions(mixed) == [None, StoredVersion(1, 4)] * 12
    for name in moving:
        source = redis_nodes.primary(slot_of(name))
        target = next(each for each in redis_nodes.servers[:3] if each is not source)
        await asyncio.to_thread(redis_nodes.move, slot_of(name), target)
        assert await storage.versions(mixed) == [None, StoredVersion(1, 4)] * 12
        assert await storage.load(name) is None
    await savers.progress()
    await savers.stop()
    assert not savers.failed


async def test_a_dead_server_concerns_its_own_keys_only_and_nothing_of_them_was_executed(
    redis_nodes: RedisNodes, storage: Storage
):
    victim = redis_nodes.servers[2]
    theirs = [name for name in names(200, first=0) if redis_nodes.primary(slot_of(name)) is victim][:10]
    savers = Savers(storage, [name for name in names(60, first=0) if redis_nodes.primary(slot_of(name)) is not victim])
    await savers.progress(1)
    for name in theirs:
        await storage.save(name, b"first", expected_version=0, epoch=1)
    await asyncio.to_thread(victim.kill)
    try:
        await savers.progress()
        await asyncio.gather(*(storage.load(name) for name in theirs), return_exceptions=True)  # connections are gone
        for name in theirs:
            with pytest.raises(StorageFailed) as caught:
                await storage.save(name, b"second", expected_version=1, epoch=1)
            assert not caught.value.maybe_executed
        await savers.progress()
        assert not savers.failed
    finally:
        await savers.stop()
        victim.start()
    await asyncio.to_thread(redis_nodes.settle)
    async with asyncio.timeout(LIMIT_S):
        while True:
            try:
                assert await storage.load(theirs[0]) == StoredState(b"first", 1, 1)
                break
            except StorageFailed:
                await asyncio.sleep(0.02)
    await storage.close()
    for server in redis_nodes.servers:
        clients = server.ask("CLIENT", "LIST", "TYPE", "normal")
        assert not any(f"cmd={command}" in clients for command in ("hmget", "evalsha", "info", "cluster|slots"))
    await storage.open()


async def test_a_server_that_stands_still_is_replaced_and_holds_up_nobody_else(
    redis_nodes: RedisNodes, storage: Storage
):
    victim = redis_nodes.primary(0)
    (replica,) = (each for each in redis_nodes.servers if "role:slave" in each.ask("INFO", "replication"))
    assert f"master_port:{victim.port}" in replica.ask("INFO", "replication")
    theirs = names(10, first=0, last=0)
    savers = Savers(storage, [name for name in names(60, first=0) if redis_nodes.primary(slot_of(name)) is not victim])
    await savers.progress(1)
    for name in theirs:
        await storage.save(name, b"first", expected_version=0, epoch=1)
    written = replicated(victim)
    await asyncio.to_thread(redis_nodes.wait, lambda: replicated(replica) >= written)
    victim.pause()
    try:
        await savers.progress()
        async with asyncio.timeout(LIMIT_S):
            for name in theirs:
                while True:
                    try:
                        assert await storage.load(name) == StoredState(b"first", 1, 1)
                        break
                    except StorageFailed:
                        await asyncio.sleep(0.02)
        await savers.progress()
        assert not savers.failed
    finally:
        await savers.stop()
        victim.resume()


@pytest.mark.parametrize(
    "url", ["redis+cluster://127.0.0.1/1", "redis+cluster:///x", "redis+cluster://", "redis://127.0.0.1/shop"]
)
def test_a_database_that_there_is_not_is_refused(url: str):
    with pytest.raises(InvalidConfig):
        RedisStorage(url)


async def test_answers_stay_bytes_whatever_the_url_says(redis_nodes: RedisNodes):
    (name,) = names(1, first=0)
    async with storage_from_url(f"{redis_nodes.url}?decode_responses=true") as storage:
        await storage.save(name, b"\xff\xfe", expected_version=0, epoch=1)
        assert await storage.load(name) == StoredState(b"\xff\xfe", 1, 1)
