"""Servers that die, stop, refuse and come back: what was acknowledged is there, and what was not is told truthfully."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest

from inaho.config import StorageConfig
from inaho.errors import StateConflict, StorageFailed
from inaho.storage import Storage, StoredState
from inaho.storage.urls import storage_from_url
from inaho.types import ClusterIdentity
from support.service_servers import Server
from support.storages import LIMIT_S, SHORT, answered, names

pytestmark = pytest.mark.integration


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            await asyncio.sleep(0.005)


class Writer:
    """Saves one record again and again, as a grain does: after an unknown outcome it loads first.

    Attributes:
        acknowledged: the last version whose save returned.
        unknown: saves that failed with `maybe_executed`.
        refused: saves that failed without.
    """

    def __init__(self, storage: Storage, name: ClusterIdentity) -> None:
        self.acknowledged = 0
        self.unknown = 0
        self.refused = 0
        self.running = True
        self._storage = storage
        self._name = name

    @staticmethod
    def data(version: int) -> bytes:
        return f"state of version {version};".encode() * 10

    async def run(self) -> None:
        version = 0
        while self.running:
            try:
                version = await self._storage.save(
                    self._name, self.data(version + 1), expected_version=version, epoch=1
                )
            except StorageFailed as failure:
                self.unknown += failure.maybe_executed
                self.refused += not failure.maybe_executed
                await asyncio.sleep(0.01)
                stored = await answered(lambda: self._storage.load(self._name))
                found = 0 if stored is None else stored.version
                assert version <= found <= version + failure.maybe_executed
                version = found
            self.acknowledged = version


@pytest.fixture
async def short(server: Server) -> AsyncIterator[Storage]:
    """A storage that gives up soon."""
    async with storage_from_url(server.url, SHORT) as storage:
        yield storage


@pytest.mark.parametrize("server", ["redis", "redis_cluster", "postgres"], indirect=True)
async def test_kill_9_loses_nothing_acknowledged_and_the_storage_reconnects(server: Server) -> None:
    async with storage_from_url(server.url, StorageConfig()) as storage:
        keys = names(16)
        writers = [Writer(storage, key) for key in keys]
        async with asyncio.TaskGroup() as group:  # a writer that finds less than was acknowledged ends the test
            for writer in writers:
                group.create_task(writer.run())
            for _ in range(2):
                before = [writer.acknowledged for writer in writers]
                await until(
                    lambda known=before: all(  # type: ignore[misc]
                        writer.acknowledged > each + 3 for writer, each in zip(writers, known, strict=True)
                    )
                )
                failed = sum(writer.unknown + writer.refused for writer in writers)
                await asyncio.to_thread(server.kill)
                await until(lambda known=failed: sum(each.unknown + each.refused for each in writers) > known)  # type: ignore[misc]
                server.start()
            before = [writer.acknowledged for writer in writers]
            await until(lambda: all(each.acknowledged > known for each, known in zip(writers, before, strict=True)))
            for writer in writers:
                writer.running = False
        for key, writer in zip(keys, writers, strict=True):
            version = writer.acknowledged
            assert await storage.load(key) == StoredState(Writer.data(version), version, 1)


async def test_stopped_server_leaves_a_save_unknown_within_the_limit(server: Server, short: Storage) -> None:
    (name,) = names(1)
    assert await short.save(name, b"first", expected_version=0, epoch=1) == 1
    # The first use of a connection may leave the server a limit that is shorter, by what connecting took. The next one
    # lengthens it: before the pause, so that the save below begins with its own statement.
    assert await short.load(name) == StoredState(b"first", 1, 1)
    server.pause()
    try:
        begun = time.monotonic()
        with pytest.raises(StorageFailed, match="operation_timeout_s") as caught:
            await short.save(name, b"second", expected_version=1, epoch=1)
        assert caught.value.maybe_executed
        assert caught.value.identity == str(name)
        with pytest.raises(StorageFailed) as caught:
            await short.load(name)
        assert not caught.value.maybe_executed, "a load changes nothing"
        many = [short.save(each, b"x", expected_version=0, epoch=1) for each in names(200)]
        outcomes = await asyncio.gather(*many, return_exceptions=True)
        assert all(isinstance(each, StorageFailed) for each in outcomes)
        assert time.monotonic() - begun < 30.0
    finally:
        server.resume()
    stored = await answered(lambda: short.load(name))
    assert stored in (StoredState(b"first", 1, 1), StoredState(b"second", 2, 1))
    # What the server had received may still be carried out; the condition decides, and nothing is lost.
    async with asyncio.timeout(LIMIT_S):
        while True:
            try:
                version = await short.save(name, b"third", expected_version=stored.version, epoch=1)
                break
            except (StateConflict, StorageFailed):
                stored = await answered(lambda: short.load(name))
    assert await short.load(name) == StoredState(b"third", version, 1)


async def test_load_waits_for_an_abandoned_save(server: Server) -> None:
    async with storage_from_url(server.url, StorageConfig(operation_timeout_s=20.0)) as storage:
        name, other = names(2)
        await storage.load(name)
        server.pause()
        try:
            write = asyncio.ensure_future(storage.save(name, b"x", expected_version=0, epoch=1))
            for _ in range(10):
                await asyncio.sleep(0)
            write.cancel()
            await asyncio.wait([write])
            load = asyncio.ensure_future(storage.load(name))
            await asyncio.sleep(0)
        finally:
            server.resume()
        assert await storage.load(other) is None
        assert await load == StoredState(b"x", 1, 1)


async def test_dead_server_is_told_at_once_and_nothing_was_executed(server: Server, short: Storage) -> None:
    (name,) = names(1)
    assert await short.save(name, b"first", expected_version=0, epoch=1) == 1
    await asyncio.to_thread(server.kill)
    try:
        await asyncio.gather(*(short.load(name) for _ in range(4)), return_exceptions=True)  # the connections are gone
        with pytest.raises(StorageFailed) as caught:
            await short.save(name, b"second", expected_version=1, epoch=1)
        assert not caught.value.maybe_executed
        with pytest.raises(StorageFailed) as caught:
            await storage_from_url(server.url, SHORT).open()
        assert not caught.value.maybe_executed
        assert "s3cret" not in str(caught.value)
    finally:
        server.start()
    assert await answered(lambda: short.load(name)) == StoredState(b"first", 1, 1)
    assert await short.save(name, b"second", expected_version=1, epoch=1) == 2


async def test_conflicts_fail_alone(short: Storage) -> None:
    keys = names(60)
    await asyncio.gather(*(short.save(key, b"one", expected_version=0, epoch=2) for key in keys))
    writes = [
        short.save(key, b"two", expected_version=number % 2, epoch=2 if number % 3 else 1)
        for number, key in enumerate(keys)
    ]
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    for number, outcome in enumerate(outcomes):
        if number % 2 and number % 3:
            assert outcome == 2
        else:
            assert isinstance(outcome, StateConflict)
