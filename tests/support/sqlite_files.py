"""A file of SQLite whose write lock another holds, and a storage whose thread is watched from within."""

# The thread's side is observed from within.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from inaho.config import StorageConfig
from inaho.storage import SqliteStorage
from inaho.storage.sqlite.session import Outcome, Request
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

    def observed(batch: Sequence[Request]) -> list[Outcome]:
        first()
        event.set()
        return serve(batch)

    storage._write_server.serve = observed  # type: ignore[method-assign]
    return event
