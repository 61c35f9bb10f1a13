"""The logs of MemoryStorage keep the contract, also behind a `FaultyStorage`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from inaho.config import StorageConfig
from inaho.storage import MemoryStorage, Storage
from inaho.testing.log_storage_conformance import LogStorageConformance
from inaho.testing.storage.faults import FaultyStorage, StorageFaults
from inaho.testing.storage.loss import Damage
from support.storages import MemoryDamage


class TestMemoryLogs(LogStorageConformance):
    @pytest.fixture
    def make_storage(self) -> Callable[[], Storage]:
        storage = MemoryStorage(StorageConfig(data_bytes_max=1 << 20))
        return lambda: storage

    @pytest.fixture
    def damage(self, storage: Storage) -> Damage:
        assert isinstance(storage, MemoryStorage)
        return MemoryDamage(storage)


class TestFaultyLogs(LogStorageConformance):
    """Without faults it is what is in it."""

    histories = 2
    faulty_histories = 2

    @pytest.fixture
    def make_storage(self) -> Callable[[], Storage]:
        storage = FaultyStorage(MemoryStorage(StorageConfig(data_bytes_max=1 << 20)), StorageFaults())
        return lambda: storage

    @pytest.fixture
    def damage(self, storage: Storage) -> Damage:
        assert isinstance(storage, FaultyStorage)
        return MemoryDamage(storage)
