"""Storages that are servers keep the contract, against real ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from inaho import Grain, Struct, join
from inaho.config import ClusterConfig, StorageConfig
from inaho.storage import Storage
from inaho.storage.urls import storage_from_url
from inaho.testing.storage.loss import Damage
from inaho.testing.storage_conformance import StorageConformance
from support.service_servers import RedisServer, Server
from support.storage_damage import PostgresDamage, RedisDamage

CONFIG = StorageConfig(data_bytes_max=1 << 20, operation_timeout_s=30.0)


class TestRedisStorage(StorageConformance):
    histories = 8
    faulty_histories = 10

    @pytest.fixture
    def damage(self, redis_server: RedisServer) -> Damage:
        return RedisDamage(redis_server)

    @pytest.fixture
    def make_storage(self, redis_server: Server) -> Callable[[], Storage]:
        return lambda: storage_from_url(redis_server.url, CONFIG)


class TestRedisClusterStorage(StorageConformance):
    histories = 1
    faulty_histories = 1

    @pytest.fixture
    def damage(self, redis_cluster_server: RedisServer) -> Damage:
        return RedisDamage(redis_cluster_server)

    @pytest.fixture
    def make_storage(self, redis_cluster_server: Server) -> Callable[[], Storage]:
        return lambda: storage_from_url(redis_cluster_server.url, CONFIG)


class TestPostgresStorage(StorageConformance):
    histories = 8
    faulty_histories = 8

    @pytest.fixture
    def damage(self, postgres_server: Server) -> Damage:
        return PostgresDamage(postgres_server.url)

    @pytest.fixture
    def make_storage(self, postgres_server: Server) -> Callable[[], Storage]:
        # What the DSN says beyond libpq's words is a setting.
        return lambda: storage_from_url(f"{postgres_server.url}&synchronous_commit=off", CONFIG)


class TestSmallQueue(StorageConformance):
    """One connection and a queue so small that everything waits for room."""

    histories = 2
    faulty_histories = 2

    @pytest.fixture
    def make_storage(self, redis_server: Server) -> Callable[[], Storage]:
        config = StorageConfig(
            data_bytes_max=1 << 20,
            queue_bytes_max=1 << 20,
            queue_requests_max=60,
            batch_requests_max=20,
            connections_max=1,
            operation_timeout_s=30.0,
        )
        return lambda: storage_from_url(redis_server.url, config)


class Tally(Struct):
    total: int = 0


class Till(Grain[Tally]):
    async def add(self, amount: int) -> int:
        self.state.total += amount
        await self.save()
        return self.state.total


async def test_grains_go_on_with_what_their_last_process_has_saved(server: Server, tmp_path: Path) -> None:
    config = ClusterConfig(data_dir=str(tmp_path))
    for expected in (5, 10):
        async with join("127.0.0.1:0", grains=[Till], storage=server.url, config=config) as cluster:
            assert await cluster.grain(Till, "front").add(5) == expected
