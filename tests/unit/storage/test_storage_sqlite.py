"""SqliteStorage keeps the contract, and counts what it commits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from inaho.config import StorageConfig
from inaho.errors import InvalidConfig, StateConflict
from inaho.storage import SqliteStorage, Storage
from inaho.testing.storage.loss import Damage
from inaho.testing.storage_conformance import StorageConformance
from support.sqlite_files import CART, FileDamage


class TestSqliteStorage(StorageConformance):
    @pytest.fixture
    def damage(self, tmp_path: Path) -> Damage:
        return FileDamage(tmp_path / "state.db")

    @pytest.fixture
    def make_storage(self, tmp_path: Path) -> Callable[[], Storage]:
        config = StorageConfig(data_bytes_max=1 << 20)
        return lambda: SqliteStorage(tmp_path / "state.db", config=config)


class TestSmallQueue(StorageConformance):
    """The same with a queue and batches so small that everything waits for room."""

    histories = 10

    @pytest.fixture
    def make_storage(self, tmp_path: Path) -> Callable[[], Storage]:
        config = StorageConfig(
            data_bytes_max=1 << 20, queue_bytes_max=1 << 20, queue_requests_max=60, batch_requests_max=2
        )
        return lambda: SqliteStorage(tmp_path / "state.db", synchronous="normal", config=config)


async def test_commit_of_conflicts_alone_is_not_counted(tmp_path: Path) -> None:
    async with SqliteStorage(tmp_path / "state.db") as storage:
        with pytest.raises(StateConflict):
            await storage.save(CART, b"x", expected_version=3, epoch=1)
        assert (storage.commits, storage.saves, storage.conflicts) == (0, 0, 1)


async def test_commits_are_counted_across_openings(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path / "state.db")
    for version in range(3):
        async with storage:
            await storage.save(CART, b"x", expected_version=version, epoch=1)
    assert (storage.commits, storage.saves) == (3, 3)


@pytest.mark.parametrize("path", ["", ":memory:"])
def test_path_that_is_no_file_is_refused(path: str) -> None:
    with pytest.raises(InvalidConfig, match="MemoryStorage"):
        SqliteStorage(path)


@pytest.mark.parametrize("path", ["a\0b", Path("a\0b")])
def test_path_that_no_file_can_have_is_refused(path: str | Path) -> None:
    with pytest.raises(InvalidConfig, match="NUL"):
        SqliteStorage(path)


def test_impossible_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="synchronous"):
        SqliteStorage(tmp_path / "x", synchronous="off")  # type: ignore[arg-type]
    config = StorageConfig(data_bytes_max=1_000_000_000, queue_bytes_max=1_000_000_000)
    with pytest.raises(InvalidConfig, match="data_bytes_max"):
        SqliteStorage(tmp_path / "x", config=config)
