"""Where the state of grains outlives its process: the interface, memory, and SQLite."""

from __future__ import annotations

from inaho.storage.base import Storage, StoredState
from inaho.storage.memory import MemoryStorage
from inaho.storage.sqlite import SqliteStorage

__all__ = ["MemoryStorage", "SqliteStorage", "Storage", "StoredState"]
