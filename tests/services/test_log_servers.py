"""Logs of storages that are servers keep the contract, against real ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from inaho.config import StorageConfig
from inaho.storage import Storage
from inaho.storage.urls import storage_from_url
from inaho.testing.log_storage_conformance import LogStorageConformance
from inaho.testing.storage.loss import Damage
from support.service_servers import RedisServer, Server
from support.storage_damage import PostgresDamage, RedisDamage

CONFIG = StorageConfig(data_bytes_max=1 << 20, operation_timeout_s=30.0)


class TestRedisLogs(LogStorageConformance):
    histories = 5
    faulty_histories = 5

    @pytest.fixture
    def damage(self, redis_server: RedisServer) -> Damage:
        return RedisDamage(redis_server)

    @pytest.fixture
    def make_storage(self, redis_server: Server) -> Callable[[], Storage]:
        return lambda: storage_from_url(redis_server.url, CONFIG)


class TestRedisClusterLogs(LogStorageConformance):
    histories = 1
    faulty_histories = 1

    @pytest.fixture
    def damage(self, redis_cluster_server: RedisServer) -> Damage:
        return RedisDamage(redis_cluster_server)

    @pytest.fixture
    def make_storage(self, redis_cluster_server: Server) -> Callable[[], Storage]:
        return lambda: storage_from_url(redis_cluster_server.url, CONFIG)


class TestPostgresLogs(LogStorageConformance):
    histories = 5
    faulty_histories = 5

    @pytest.fixture
    def damage(self, postgres_server: Server) -> Damage:
        return PostgresDamage(postgres_server.url)

    @pytest.fixture
    def make_storage(self, postgres_server: Server) -> Callable[[], Storage]:
        return lambda: storage_from_url(f"{postgres_server.url}&synchronous_commit=off", CONFIG)
