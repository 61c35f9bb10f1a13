"""Connections to Redis that end while nobody uses them, or in the middle of a command, alone and in a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from itertools import count
from urllib.parse import urlsplit

import pytest

from inaho.config import StorageConfig
from inaho.errors import StorageFailed
from inaho.storage import Storage, StoredState, StoredVersion
from inaho.storage.urls import storage_from_url
from inaho.types import ClusterIdentity
from support.service_servers import RedisServer

pytestmark = pytest.mark.integration

LIMIT_S = 30.0
CONFIG = StorageConfig(operation_timeout_s=10.0, connections_max=4, batch_requests_max=4)

_kinds = count(1)


def names(number: int) -> list[ClusterIdentity]:
    """Identities that no other test has used."""
    kind = f"Idle{next(_kinds)}"
    return [ClusterIdentity(kind, str(each)) for each in range(number)]


@pytest.fixture(params=["redis_server", "redis_cluster_server"])
def redis(request: pytest.FixtureRequest) -> RedisServer:
    found: RedisServer = request.getfixturevalue(request.param)
    return found


@pytest.fixture
async def storage(redis: RedisServer) -> AsyncIterator[Storage]:
    async with storage_from_url(redis.url, CONFIG) as storage:
        yield storage


async def connect_all(storage: Storage) -> list[ClusterIdentity]:
    """Saves some records so that every connection is made and idle; gives their identities."""
    known = names(40)
    await asyncio.gather(*(storage.save(name, b"first", expected_version=0, epoch=1) for name in known))
    return known


async def without_clients(redis: RedisServer) -> None:
    """Returns when the server has closed every idle connection but its own."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            clients = await asyncio.to_thread(redis.ask, "CLIENT", "LIST", "TYPE", "normal")
            if clients.count("addr=") <= 2 and not any(f"cmd={each}" in clients for each in ("evalsha", "hmget")):
                return
            await asyncio.sleep(0.05)


async def all_first_calls_succeed(storage: Storage, known: list[ClusterIdentity]) -> None:
    """Saves, loads and reads of versions at once: the first use of each connection since it was closed."""
    outcomes = await asyncio.gather(
        *(storage.save(name, b"second", expected_version=1, epoch=1) for name in known[::2]),
        *(storage.load(name) for name in known[1::2]),
        *(storage.versions(known[1::2]) for _ in range(4)),
    )
    half = len(known) // 2
    versions = [StoredVersion(1, 1)] * half
    assert outcomes == [2] * half + [StoredState(b"first", 1, 1)] * half + [versions] * 4


async def test_after_a_restart_every_first_call_succeeds(redis: RedisServer, storage: Storage) -> None:
    known = await connect_all(storage)
    redis.kill()
    redis.start()
    await all_first_calls_succeed(storage, known)


async def test_after_a_restart_every_save_succeeds_although_the_loop_has_not_seen_the_end(
    redis: RedisServer, storage: Storage
) -> None:
    """The calls are made in the turn of the loop in which the server comes back: nothing was read meanwhile."""
    known = await connect_all(storage)
    saves = [storage.save(name, b"second", expected_version=1, epoch=1) for name in known]
    redis.kill()
    redis.start()
    assert await asyncio.gather(*saves) == [2] * len(known)


@pytest.fixture
def short_idle_time(redis: RedisServer) -> AsyncIterator[None]:
    redis.ask("CONFIG", "SET", "timeout", "1")
    yield
    redis.ask("CONFIG", "SET", "timeout", "0")


@pytest.mark.usefixtures("short_idle_time")
async def test_connections_closed_for_their_silence_are_not_used(redis: RedisServer, storage: Storage) -> None:
    known = await connect_all(storage)
    await without_clients(redis)
    await all_first_calls_succeed(storage, known)


async def test_connections_that_an_operator_closed_are_not_used(redis: RedisServer, storage: Storage) -> None:
    known = await connect_all(storage)
    redis.ask("CLIENT", "KILL", "TYPE", "normal")
    await all_first_calls_succeed(storage, known)


class Cutter:
    """A way to a server that is cut once, when `word` passes: before it arrives, or before it is answered.

    Attributes:
        word: which request is cut; empty: none.
        delivers: whether the request arrives before the way is cut.
        cuts: how often it was cut.
    """

    def __init__(self, port: int) -> None:
        self.word = b""
        self.delivers = False
        self.cuts = 0
        self._port = port
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Cutter:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", self._port)
        answers = asyncio.ensure_future(self._copy(back, writer, lambda _: False))
        try:
            await self._copy(reader, forth, self._cuts)
        finally:
            answers.cancel()
            writer.close()
            forth.close()

    def _cuts(self, data: bytes) -> bool:
        if not self.word or self.word not in data:
            return False
        self.word = b""
        self.cuts += 1
        return True

    async def _copy(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, cuts: Callable[[bytes], bool]
    ) -> None:
        while data := await source.read(1 << 16):
            cut = cuts(data)
            if not cut or self.delivers:
                target.write(data)
                await target.drain()
            if cut:
                return


@pytest.fixture
async def cut(redis_server: RedisServer) -> AsyncIterator[tuple[Cutter, Storage]]:
    async with Cutter(redis_server.port) as cutter:
        netloc = urlsplit(redis_server.url).netloc
        url = redis_server.url.replace(netloc, netloc.replace(str(redis_server.port), str(cutter.port)))
        async with storage_from_url(url, CONFIG) as storage:
            yield cutter, storage


@pytest.mark.parametrize("delivers", [False, True])
async def test_reads_are_repeated_when_the_connection_ends_before_the_answer(
    cut: tuple[Cutter, Storage], delivers: bool
) -> None:
    cutter, storage = cut
    cutter.delivers = delivers
    (name,) = names(1)
    await storage.save(name, b"first", expected_version=0, epoch=1)
    cutter.word = b"HMGET"
    assert await storage.load(name) == StoredState(b"first", 1, 1)
    cutter.word = b"HMGET"
    assert await storage.versions([name]) == [StoredVersion(1, 1)]
    assert cutter.cuts == 2


@pytest.mark.parametrize("delivers", [False, True])
async def test_a_save_that_was_sent_is_never_repeated(cut: tuple[Cutter, Storage], delivers: bool) -> None:
    cutter, storage = cut
    cutter.delivers = delivers
    first, second = names(2)
    await storage.save(first, b"first", expected_version=0, epoch=1)
    cutter.word = b"EVALSHA"
    outcomes = await asyncio.gather(
        storage.save(first, b"second", expected_version=1, epoch=1), storage.load(second), return_exceptions=True
    )
    assert isinstance(outcomes[0], StorageFailed)
    assert outcomes[0].maybe_executed
    assert outcomes[1] is None  # it travelled with the save, and was repeated
    assert cutter.cuts == 1
    async with asyncio.timeout(LIMIT_S):  # the server may carry it out after its connection has ended
        while (await storage.load(first)) != StoredState(b"second" if delivers else b"first", 1 + delivers, 1):
            await asyncio.sleep(0.01)
