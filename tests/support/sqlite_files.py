"""A file of SQLite whose write lock another holds, and a storage whose thread is watched from within."""

# The thread's side is observed from within.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from inaho.config import StorageConfig
from inaho.storage import SqliteStorage
from inaho.storage.sqlite.session import AnyRequest, Outcome
from inaho.types import ClusterIdentity

CART = ClusterIdentity("Cart", "alice")
PATIENT = StorageConfig(busy_timeout_s=50.0)
"""For saves that wait for a lock of the test."""


def carts(count: int) -> list[ClusterIdentity]:
    return [ClusterIdentity("Cart", str(number)) for number in range(count)]


@contextmanager
def locked(path: Path) -> Generator[None]:
    """Holds the write lock of the file, as another process would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def begun(storage: SqliteStorage, first: Callable[[], object] = lambda: None) -> threading.Event:
    """Set when the writing thread has taken a batch; runs `first` there, then serves the batch as ever."""
    event = threading.Event()
    serve = storage._write_server.serve

    def observed(batch: Sequence[AnyRequest]) -> list[Outcome]:
        first()
        event.set()
        return serve(batch)

    storage._write_server.serve = observed  # type: ignore[method-assign]
    return event


class FileDamage:
    """Changes the rows of the file behind the back of who has it open, as a restored backup would."""

    TABLES = ("grain_states", "storage_mark", "logs", "log_chunks")

    def __init__(self, path: Path) -> None:
        self.path = path

    async def lose(self) -> None:
        await self.restore({})

    async def snapshot(self) -> Any:
        with closing(sqlite3.connect(self.path)) as other:
            return {table: other.execute(f"SELECT * FROM {table}").fetchall() for table in self._tables(other)}

    async def restore(self, snapshot: Any) -> None:
        with closing(sqlite3.connect(self.path)) as other, other:
            for table in self._tables(other):
                other.execute(f"DELETE FROM {table}")
                for row in snapshot.get(table, ()):
                    other.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)

    def _tables(self, other: sqlite3.Connection) -> list[str]:
        """Those that the file has: the logs are made with the first one."""
        found = {name for (name,) in other.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        return [table for table in self.TABLES if table in found]
