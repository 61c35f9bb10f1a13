"""The logs of SqliteStorage keep the contract, and share commits with saves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from inaho.config import StorageConfig
from inaho.storage import SqliteStorage, Storage
from inaho.testing.log_storage_conformance import LogStorageConformance
from inaho.testing.storage.loss import Damage
from support.sqlite_files import FileDamage


class TestSqliteLogs(LogStorageConformance):
    @pytest.fixture
    def damage(self, tmp_path: Path) -> Damage:
        return FileDamage(tmp_path / "state.db")

    @pytest.fixture
    def make_storage(self, tmp_path: Path) -> Callable[[], Storage]:
        config = StorageConfig(data_bytes_max=1 << 20)
        return lambda: SqliteStorage(tmp_path / "state.db", config=config)


class TestSmallQueue(LogStorageConformance):
    """The same with a queue and batches so small that everything waits for room."""

    histories = 10

    @pytest.fixture
    def make_storage(self, tmp_path: Path) -> Callable[[], Storage]:
        config = StorageConfig(
            data_bytes_max=1 << 20, queue_bytes_max=1 << 20, queue_requests_max=60, batch_requests_max=2
        )
        return lambda: SqliteStorage(tmp_path / "state.db", synchronous="normal", config=config)
