"""Storages that are servers keep the contract, against real ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from service_servers import Server

from inaho.config import StorageConfig
from inaho.storage import Storage
from inaho.storage.urls import storage_from_url
from inaho.testing.storage_conformance import StorageConformance

CONFIG = StorageConfig(data_bytes_max=1 << 20)


class TestRedisStorage(StorageConformance):
    @pytest.fixture
    def make_storage(self, redis_server: Server) -> Callable[[], Storage]:
        return lambda: storage_from_url(redis_server.url, CONFIG)


class TestRedisClusterStorage(StorageConformance):
    histories = 3

    @pytest.fixture
    def make_storage(self, redis_cluster_server: Server) -> Callable[[], Storage]:
        return lambda: storage_from_url(redis_cluster_server.url, CONFIG)


class TestPostgresStorage(StorageConformance):
    histories = 10

    @pytest.fixture
    def make_storage(self, postgres_server: Server) -> Callable[[], Storage]:
        return lambda: storage_from_url(postgres_server.url, CONFIG)


class TestSmallQueue(StorageConformance):
    """One connection and a queue so small that everything waits for room."""

    histories = 3

    @pytest.fixture
    def make_storage(self, server: Server) -> Callable[[], Storage]:
        config = StorageConfig(
            data_bytes_max=1 << 20,
            queue_bytes_max=1 << 20,
            queue_requests_max=60,
            batch_requests_max=20,
            connections_max=1,
        )
        return lambda: storage_from_url(server.url, config)
