"""Storages of the state of grains: the interface, memory, SQLite, Redis, PostgreSQL.

`RedisStorage` is in `inaho.storage.redis` and `PostgresStorage` in `inaho.storage.postgres`: they need the extras of
those names. `inaho.storage.urls` makes any of them from a text.
"""

from __future__ import annotations

from inaho.storage.base import Storage, StoredState, StoredVersion
from inaho.storage.memory import MemoryStorage
from inaho.storage.sqlite import SqliteStorage

__all__ = ["MemoryStorage", "SqliteStorage", "Storage", "StoredState", "StoredVersion"]
